//! Hands on the buttons while the box starts, in virtual time.

use super::*;
use crate::front_panel::Edge;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

const NONE: [bool; 4] = [false; 4];
const BOTH: [bool; 4] = [false, true, true, false];
const SOFTER: [bool; 4] = [false, true, false, false];
const ALL: [bool; 4] = [true; 4];
const WITH_MUTE: [bool; 4] = [true, true, true, false];

/// A millisecond, and what four buttons or lamps are from then on.
type Change = (i64, [bool; 4]);

/// Pins on which hands do something; they can break.
struct Pins {
    hands: Vec<Change>,
    breaks: i64,
    now: Rc<Cell<Time>>,
    lit: Rc<RefCell<Vec<Change>>>,
}

impl Pins {
    fn millis(&self) -> i64 {
        self.now.get().0 / 1_000_000
    }
}

impl Chip for Pins {
    fn wait(&mut self, longest: Duration) -> Result<Option<Edge>, String> {
        self.now.set(self.now.get() + longest);
        if self.millis() >= self.breaks { Err("the pins are gone".to_owned()) } else { Ok(None) }
    }

    fn is_down(&self, button: Button) -> bool {
        let before = self.hands.iter().rfind(|(at, _)| *at <= self.millis());
        before.is_some_and(|(_, down)| down[button as usize])
    }

    fn light(&mut self, lit: [bool; 4]) {
        self.lit.borrow_mut().push((self.millis(), lit));
    }
}

/// What became of a start.
struct Start {
    wish: Wish,
    /// How many milliseconds it took.
    took: i64,
    lit: Vec<Change>,
}

fn start_with(settings: &Panel, hands: &[Change], breaks: i64) -> Start {
    let (now, lit) = (Rc::new(Cell::new(Time(0))), Rc::default());
    let (pins_now, pins_lit) = (Rc::clone(&now), Rc::clone(&lit));
    let take = |_: &Panel| Ok(Pins { hands: hands.to_vec(), breaks, now: pins_now, lit: pins_lit });
    let wish = wish(settings, take, &|| now.get());
    Start { wish, took: now.get().0 / 1_000_000, lit: lit.take() }
}

fn start(hands: &[Change]) -> Start {
    start_with(&there(), hands, i64::MAX)
}

fn there() -> Panel {
    Panel { enabled: Some(true), ..Panel::default() }
}

#[test]
fn both_held_for_three_seconds_and_let_go_of_is_a_wish() {
    let start = start(&[(0, BOTH), (3_200, SOFTER), (3_280, NONE)]);
    assert_eq!(start.wish, Wish::Reset);
    assert_eq!(start.lit, [(3_000, ALL), (3_250, NONE)], "all lamps say: let go");
    assert_eq!(start.took, 3_250);
}

#[test]
fn an_ordinary_start_does_not_wait() {
    for down in [NONE, SOFTER, [false, false, true, false], [true, false, false, false], WITH_MUTE, ALL] {
        let start = start(&[(0, down), (1, BOTH), (9_000, NONE)]);
        assert_eq!((start.wish, start.took, start.lit.len()), (Wish::None, 0, 0), "{down:?}");
    }
}

#[test]
fn let_go_of_early_it_is_none() {
    let start = start(&[(0, BOTH), (2_990, NONE)]);
    assert_eq!((start.wish, start.took), (Wish::None, 3_040));
    let one_finger = self::start(&[(0, BOTH), (1_500, SOFTER), (4_000, NONE)]);
    assert_eq!((one_finger.wish, one_finger.took), (Wish::None, 1_550));
}

#[test]
fn contacts_bounce() {
    let blinks = |at: i64| [(at, SOFTER), (at + 10, BOTH), (at + 20, NONE), (at + 40, BOTH)];
    let mut hands = vec![(0, BOTH)];
    hands.extend([500, 1_000, 2_980, 3_900].into_iter().flat_map(blinks));
    hands.extend([(4_000, NONE), (4_020, BOTH), (4_040, NONE)]);
    let start = start(&hands);
    assert_eq!((start.wish, start.took), (Wish::Reset, 4_090));
}

#[test]
fn another_button_takes_it_back() {
    let start = start(&[(0, BOTH), (5_000, WITH_MUTE), (6_000, BOTH), (7_000, NONE)]);
    assert_eq!((start.wish, start.took), (Wish::None, 5_050));
}

#[test]
fn what_never_lets_go_is_no_finger() {
    let start = start(&[(0, BOTH)]);
    assert_eq!((start.wish, start.took), (Wish::Stuck, 30_000));
    assert_eq!(start.lit.last(), Some(&(30_000, NONE)));
}

#[test]
fn a_box_without_a_panel_or_with_broken_pins_starts_without() {
    let hands = [(0, BOTH), (4_000, NONE)];
    let off = Panel { enabled: Some(false), ..Panel::default() };
    let start = start_with(&off, &hands, i64::MAX);
    assert_eq!((start.wish, start.took), (Wish::None, 0));
    let breaks = start_with(&there(), &hands, 3_500);
    assert_eq!((breaks.wish, breaks.took), (Wish::None, 3_500));
    let missing = |_: &Panel| -> Result<Pins, String> { Err("no GPIO here".to_owned()) };
    assert_eq!(wish(&there(), missing, &|| Time(0)), Wish::None);
}

#[test]
fn the_pins_are_those_of_the_settings() {
    let settings = Panel { volume_up: 16, ..there() };
    let taken = Cell::new(0);
    let take = |settings: &Panel| -> Result<Pins, String> {
        taken.set(settings.volume_up);
        Err("enough".to_owned())
    };
    wish(&settings, take, &|| Time(0));
    assert_eq!(taken.get(), 16);
}
