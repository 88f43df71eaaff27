//! The panel on a bus and a chip that are made of memory: what goes over the wires, and what happens when it cannot.

use super::*;
use crate::config::Chip as DisplayChip;
use ::panel::{Brightness, HEIGHT, PAGES, Picture, WIDTH};
use embedded_hal::i2c::{ErrorKind, ErrorType, Operation};
use proto::control::PeerStatus;
use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

/// Columns of the memory of the larger chip.
const COLUMNS: usize = 132;

/// Everything behind the wires, in virtual time.
struct World {
    now: Time,
    /// What was written, the address in front.
    writes: Vec<Vec<u8>>,
    /// When something was.
    written: BTreeSet<i64>,
    /// The display's memory, and where the next byte goes.
    memory: [[u8; COLUMNS]; PAGES],
    page: usize,
    column: usize,
    on: bool,
    /// The cable is in; how many writes it still holds if it breaks.
    plugged: bool,
    breaks_after: Option<usize>,
    opened: usize,
    /// The pins can be taken.
    pins: bool,
    edges: VecDeque<(Time, Button, bool)>,
    down: [bool; 4],
    lit: [bool; 4],
}

#[derive(Clone)]
struct Fake(Rc<RefCell<World>>);

impl Fake {
    fn new() -> Fake {
        Fake(Rc::new(RefCell::new(World {
            now: Time(0),
            writes: Vec::new(),
            written: BTreeSet::new(),
            memory: [[0xa5; COLUMNS]; PAGES], // as it comes up: anything
            page: 0,
            column: 0,
            on: false,
            plugged: true,
            breaks_after: None,
            opened: 0,
            pins: true,
            edges: VecDeque::new(),
            down: [false; 4],
            lit: [false; 4],
        })))
    }

    /// What a display shows whose first column in memory is `first`.
    fn shows(&self, first: usize) -> Vec<Vec<u8>> {
        self.0.borrow().memory.iter().map(|page| page[first..first + WIDTH].to_vec()).collect()
    }

    /// What was written since this was asked last, without the address.
    fn told(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.0.borrow_mut().writes)
    }

    fn unplug(&self) {
        let mut world = self.0.borrow_mut();
        (world.plugged, world.on) = (false, false);
        world.memory = [[0x5a; COLUMNS]; PAGES];
    }
}

impl World {
    fn write(&mut self, bytes: &[u8]) -> Result<(), ErrorKind> {
        if let Some(left) = &mut self.breaks_after {
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => (self.plugged, self.breaks_after) = (false, None),
            }
        }
        if !self.plugged {
            return Err(ErrorKind::NoAcknowledge(embedded_hal::i2c::NoAcknowledgeSource::Address));
        }
        self.writes.push(bytes.to_vec());
        self.written.insert(self.now.0);
        match bytes {
            [0x40, data @ ..] => {
                for byte in data {
                    self.memory[self.page][self.column] = *byte;
                    self.column += 1;
                }
            }
            [0x00, 0x81 | 0x20 | 0xa8 | 0xd3 | 0xd5 | 0xd9 | 0xda | 0xdb | 0x8d, _] => {}
            [0x00, commands @ ..] => commands.iter().for_each(|command| self.obey(*command)),
            other => panic!("neither commands nor data: {other:?}"),
        }
        Ok(())
    }

    fn obey(&mut self, command: u8) {
        match command {
            0x00..=0x0f => self.column = self.column & 0xf0 | usize::from(command),
            0x10..=0x1f => self.column = self.column & 0x0f | usize::from(command & 0x0f) << 4,
            0xb0..=0xb7 => self.page = usize::from(command & 7),
            0xae | 0xaf => self.on = command & 1 == 1,
            0x40 | 0xa0 | 0xa1 | 0xa4 | 0xa6 | 0xc0 | 0xc8 | 0x2e => {}
            other => panic!("a command that was not expected: {other:#04x}"),
        }
    }
}

impl ErrorType for Fake {
    type Error = ErrorKind;
}

impl I2c for Fake {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), ErrorKind> {
        assert_eq!(address, 0x3c);
        for operation in operations {
            match operation {
                Operation::Write(bytes) => self.0.borrow_mut().write(bytes)?,
                Operation::Read(_) => panic!("nothing is read"),
            }
        }
        Ok(())
    }
}

impl Wiring for Fake {
    type Bus = Fake;
    type Chip = Fake;

    fn bus(&mut self, _: &Settings) -> Result<Fake, String> {
        self.0.borrow_mut().opened += 1;
        Ok(self.clone())
    }

    fn chip(&mut self, _: &Settings) -> Result<Fake, String> {
        if self.0.borrow().pins { Ok(self.clone()) } else { Err("no GPIO here".to_owned()) }
    }

    fn pause(&mut self, longest: Duration) {
        let mut world = self.0.borrow_mut();
        world.now = world.now + longest;
    }
}

impl Chip for Fake {
    fn wait(&mut self, longest: Duration) -> Result<Option<Edge>, String> {
        let mut world = self.0.borrow_mut();
        if !world.pins {
            return Err("the pins are gone".to_owned());
        }
        let end = world.now + longest;
        match world.edges.front().copied() {
            Some((at, button, down)) if at <= end => {
                world.edges.pop_front();
                let now = world.now.max(at);
                world.now = now;
                world.down[button as usize] = down;
                Ok(Some(Edge { button, down, ago: now.since(at) }))
            }
            _ => {
                world.now = end;
                Ok(None)
            }
        }
    }

    fn is_down(&self, button: Button) -> bool {
        self.0.borrow().down[button as usize]
    }

    fn light(&mut self, lit: [bool; 4]) {
        self.0.borrow_mut().lit = lit;
    }
}

/// Lets so much time pass, with a status each tenth of a second.
fn pass(
    fake: &Fake,
    works: &mut Works<Fake>,
    time: Duration,
    status: &mut dyn FnMut(Time) -> Status,
) -> Vec<Command> {
    let end = fake.0.borrow().now + time;
    let mut wishes = Vec::new();
    let mut told = i64::MIN;
    loop {
        let clock = fake.0.clone();
        works.wait(&move || clock.borrow().now);
        let now = fake.0.borrow().now;
        if now > end {
            return wishes;
        }
        let news = now.0 / 100_000_000 > told;
        told = now.0 / 100_000_000;
        let status = news.then(|| status(now));
        wishes.extend(works.step(now, status));
    }
}

fn works(fake: &Fake) -> Works<Fake> {
    Works::new(fake.clone(), Settings::default(), fake.0.borrow().now)
}

/// A box whose meters never stand still.
fn lively(now: Time) -> Status {
    let level = -30.0 + 20.0 * (now.0 as f32 / 7e8).sin();
    let peer = PeerStatus { name: "Porto".into(), connected: true, level_db: level, ..Default::default() };
    let machine = proto::control::Machine { plays: true, ..Default::default() };
    Status {
        in_session: true,
        level_db: level,
        peak_db: level,
        peers: vec![peer],
        machine,
        ..Default::default()
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn pages(picture: &Picture) -> Vec<Vec<u8>> {
    picture.pages().iter().map(|page| page.to_vec()).collect()
}

#[test]
fn the_display_is_told_what_it_is_and_then_a_whole_picture() {
    let fake = Fake::new();
    let mut screen = Screen::start(fake.clone(), &Settings::default()).unwrap();
    // SSD1306 datasheet, section 9 and the application note's flow chart: off, clock, multiplex ratio, offset,
    // start line, charge pump, addressing by pages, COM pins, turned as it is mounted, brightness, VCOMH, on.
    let expected: [&[u8]; 18] = [
        &[0xae],
        &[0xd5, 0x80],
        &[0xa8, 0x3f],
        &[0xd3, 0x00],
        &[0x40],
        &[0x8d, 0x14],
        &[0x20, 0x02],
        &[0xda, 0x12],
        &[0xa1],
        &[0xc8],
        &[0xd9, 0x21],
        &[0x81, 0x5f],
        &[0xdb, 0x40],
        &[0xa4],
        &[0xa6],
        &[0x2e],
        &[0xaf],
        &[],
    ];
    let told = fake.told();
    let commands: Vec<&[u8]> = told.iter().map(|write| write.strip_prefix(&[0x00]).unwrap()).collect();
    assert_eq!(commands, expected[..17]);
    let picture = Panel::new(Time(0)).draw(Time(0));
    screen.show(&picture, Brightness::Full).unwrap();
    assert_eq!(fake.shows(0), pages(&picture));
    let told = fake.told();
    assert_eq!(told[..2], [vec![0x00, 0xd9, 0x21], vec![0x00, 0x81, 0x9f]], "bright");
    assert_eq!(told[2..4], [vec![0x00, 0xb0], vec![0x00, 0x00, 0x10]], "the first page, the first column");
    let data: usize = told.iter().filter(|write| write[0] == 0x40).map(|write| write.len() - 1).sum();
    assert_eq!(data, WIDTH * HEIGHT / 8);
    assert!(fake.0.borrow().on);
}

#[test]
fn only_what_has_changed_is_sent() {
    let fake = Fake::new();
    let mut panel = Panel::new(Time(0));
    panel.handle_status(Time(0), lively(Time(0)));
    let mut screen = Screen::start(fake.clone(), &Settings::default()).unwrap();
    screen.show(&panel.draw(Time(0)), Brightness::Full).unwrap();
    fake.told();
    screen.show(&panel.draw(Time(0)), Brightness::Full).unwrap();
    assert_eq!(fake.told(), Vec::<Vec<u8>>::new(), "the same picture costs nothing");
    screen.show(&panel.draw(Time(0)), Brightness::Dim).unwrap();
    assert_eq!(fake.told(), [vec![0x00, 0xd9, 0x11], vec![0x00, 0x81, 0x00]], "dimmed, and nothing else");
    // Our own meter moves by a few points: its page alone, from the first column that differs to the last.
    panel.handle_status(Time(0), Status { level_db: -20.0, ..lively(Time(0)) });
    let picture = panel.draw(Time(0));
    screen.show(&picture, Brightness::Dim).unwrap();
    let told = fake.told();
    assert_eq!(told[0], [0x00, 0xb1]);
    assert!(told.iter().skip(1).all(|write| write[0] == 0x40 || write[1] & 0xe0 == 0), "one page: {told:?}");
    let data: usize = told.iter().filter(|write| write[0] == 0x40).map(|write| write.len() - 1).sum();
    assert!((1..40).contains(&data), "{data} bytes for a few points");
    assert_eq!(fake.shows(0), pages(&picture));
}

#[test]
fn an_sh1106_is_written_from_its_third_column_on_and_a_rotated_one_is_turned_by_its_chip() {
    let fake = Fake::new();
    let settings = Settings { chip: DisplayChip::Sh1106, rotated: true, ..Settings::default() };
    let mut screen = Screen::start(fake.clone(), &settings).unwrap();
    let told = fake.told();
    assert!(told.contains(&vec![0x00, 0xa0]) && told.contains(&vec![0x00, 0xc0]), "{told:?}");
    let picture = Panel::new(Time(0)).draw(Time(0));
    screen.show(&picture, Brightness::Full).unwrap();
    assert_eq!(fake.shows(2), pages(&picture));
    assert_eq!(fake.told()[3], [0x00, 0x02, 0x10]);
}

#[test]
fn at_most_fifteen_pictures_a_second() {
    let fake = Fake::new();
    let mut works = works(&fake);
    pass(&fake, &mut works, 10 * SECOND, &mut lively);
    let pictures = fake.0.borrow().written.len();
    assert!((100..=151).contains(&pictures), "{pictures} in 10 s, the meters never stand still");
}

#[test]
fn a_bus_that_fails_for_a_while_is_found_again() {
    for holds in [0, 1, 2, 3, 10, 30, 31, 32, 100] {
        let fake = Fake::new();
        let mut works = works(&fake);
        pass(&fake, &mut works, SECOND, &mut lively);
        assert_eq!(fake.0.borrow().opened, 1);
        fake.0.borrow_mut().breaks_after = Some(holds);
        pass(&fake, &mut works, 15 * SECOND, &mut lively);
        assert!(!fake.0.borrow().plugged && fake.0.borrow().opened <= 9, "{} looks", fake.0.borrow().opened);
        fake.unplug();
        fake.0.borrow_mut().plugged = true;
        // The buttons are no worse for it.
        let now = fake.0.borrow().now;
        let press =
            [(1, true), (60, false)].map(|(ms, down)| (now + Duration::from_millis(ms), Button::Mute, down));
        fake.0.borrow_mut().edges.extend(press);
        let wishes = pass(&fake, &mut works, 3 * SECOND, &mut |_| lively(now));
        assert_eq!(wishes, [Command::Mute { peer: None, on: true }]);
        assert!(fake.0.borrow().on);
        let shown = works.screen.found.as_ref().and_then(Screen::shown).expect("it is back");
        assert_eq!(fake.shows(0), pages(shown), "after {holds} writes");
    }
}

#[test]
fn a_display_that_lost_its_power_unnoticed_comes_back() {
    let fake = Fake::new();
    let mut works = works(&fake);
    let still = lively(Time(0));
    pass(&fake, &mut works, 5 * SECOND, &mut |_| still.clone());
    fake.unplug();
    fake.0.borrow_mut().plugged = true;
    pass(&fake, &mut works, 31 * SECOND, &mut |_| still.clone());
    assert!(fake.0.borrow().on);
    let shown = works.screen.found.as_ref().and_then(Screen::shown).unwrap();
    assert_eq!(fake.shows(0), pages(shown));
}

#[test]
fn presses_become_wishes_and_lamps_follow_the_status() {
    let fake = Fake::new();
    let mut works = works(&fake);
    pass(&fake, &mut works, SECOND, &mut lively);
    assert_eq!(fake.0.borrow().lit, [true, true, true, false]);
    let now = fake.0.borrow().now;
    let at = |ms, button, down| (now + Duration::from_millis(ms), button, down);
    // A press of 100 ms whose contact bounces for 5 ms at both ends.
    let bounces = [0, 1, 3, 4, 5].map(|ms| at(100 + ms, Button::Up, ms % 2 == 1));
    let ends = [0, 2, 5].map(|ms| at(200 + ms, Button::Up, ms == 2));
    fake.0.borrow_mut().edges.extend(bounces.into_iter().chain(ends));
    let wishes = pass(&fake, &mut works, SECOND, &mut lively);
    assert_eq!(wishes, [Command::Gain { db: 1.0 }]);
    let mut alone = |now| Status { peers: Vec::new(), messages: vec!["no sound card".into()], ..lively(now) };
    pass(&fake, &mut works, SECOND, &mut alone);
    assert!(fake.0.borrow().lit[3]);
    works.end();
    assert_eq!((fake.0.borrow().lit, fake.0.borrow().on), ([false; 4], false), "dark at the end");
}

#[test]
fn pins_that_are_missing_or_go_cost_nothing_but_themselves() {
    let fake = Fake::new();
    fake.0.borrow_mut().pins = false;
    let mut works = works(&fake);
    pass(&fake, &mut works, 5 * SECOND, &mut lively);
    let shown = works.screen.found.as_ref().and_then(Screen::shown).unwrap();
    assert_eq!(fake.shows(0), pages(shown), "it is drawn all the same");
    fake.0.borrow_mut().pins = true;
    pass(&fake, &mut works, 5 * SECOND, &mut lively);
    assert!(fake.0.borrow().lit[0]);
    fake.0.borrow_mut().pins = false;
    pass(&fake, &mut works, 5 * SECOND, &mut lively);
    assert!(works.chip.found.is_none() && works.chip.told);
    fake.0.borrow_mut().pins = true;
    pass(&fake, &mut works, 5 * SECOND, &mut lively);
    assert!(works.chip.found.is_some() && !works.chip.told);
}

#[test]
fn a_button_that_is_wired_to_ground_is_no_press() {
    let fake = Fake::new();
    fake.0.borrow_mut().down = [true; 4];
    let mut works = works(&fake);
    assert_eq!(pass(&fake, &mut works, 60 * SECOND, &mut lively), []);
    assert!(works.looked_for_stuck);
}

#[tokio::test]
async fn where_there_is_no_panel_it_ends_as_it_began() {
    let (door, inside) = crate::door::door();
    attend(Settings { enabled: Some(false), ..Settings::default() }, door.clone()).await;
    // The real parts, looked for where they are not: bus 250 exists nowhere.
    let settings = Settings { enabled: Some(true), bus: 250, ..Settings::default() };
    let attended = tokio::spawn(attend(settings, door));
    inside.show(lively(Time(0)));
    tokio::task::yield_now().await;
    drop(inside);
    attended.await.unwrap();
}

#[tokio::test]
async fn a_box_that_ends_leaves_a_dark_panel() {
    let (wishes, mut wished) = mpsc::channel(1);
    let settings = Settings { enabled: Some(true), bus: 250, ..Settings::default() };
    let front_panel = FrontPanel::start(&settings, wishes).unwrap();
    front_panel.show(Arc::new(lively(Time(0))));
    drop(front_panel);
    assert_eq!(wished.recv().await, None, "its thread has ended");
}
