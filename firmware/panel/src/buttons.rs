//! Presses out of what a button's contact does: debounce, short and long, twice, held, both volume buttons.
//!
//! Before it come the levels of four pins, each with the moment at which it was seen; after it comes [`super::Panel`],
//! which knows what a press means. A contact bounces for a few milliseconds (Ganssle, "A Guide to Debouncing", 2008:
//! 1.6 ms on average, 6.2 ms at most for ordinary push buttons), so a level counts once it has been steady for 8 ms.
//! A button that is down when the box starts counts only after it has been up: its pin may be wired to ground.

use proto::units::Time;
use std::collections::VecDeque;
use std::time::Duration;

/// The buttons of the panel, from left to right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Button {
    /// Silence; long: leave the session and come back.
    Mute,
    /// Softer.
    Down,
    /// Louder.
    Up,
    /// The next page; very long: power off.
    Page,
}

impl Button {
    /// All of them.
    pub const ALL: [Button; 4] = [Button::Mute, Button::Down, Button::Up, Button::Page];

    /// How long it must be held for a long press.
    fn long(self) -> Duration {
        match self {
            Button::Page => Duration::from_secs(3),
            Button::Mute | Button::Down | Button::Up => Duration::from_millis(800),
        }
    }

    /// The other of the two volume buttons.
    fn twin(self) -> Option<Button> {
        match self {
            Button::Down => Some(Button::Up),
            Button::Up => Some(Button::Down),
            Button::Mute | Button::Page => None,
        }
    }
}

/// What a finger did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Press {
    /// The button went down. One of the others follows.
    Begins(Button),
    /// It was pressed and let go of. Volume buttons say so while they are still down.
    Short(Button),
    /// The same, within half a second of the press before.
    Double(Button),
    /// It is being held: 0.8 s, the page button 3 s.
    Long(Button),
    /// A volume button is being held still.
    Again(Button),
    /// Both volume buttons went down together.
    Both,
}

/// How long a level must be steady to count.
const STEADY: Duration = Duration::from_millis(8);

/// Both volume buttons within this time are one press; a single one waits as long before it acts.
const TOGETHER: Duration = Duration::from_millis(80);

/// Two presses that begin within this time are a double press.
const TWICE: Duration = Duration::from_millis(500);

/// When a volume button that is held repeats for the first time, and how often after that.
const FIRST_AGAIN: Duration = Duration::from_millis(500);
const EVERY_AGAIN: Duration = Duration::from_millis(100);

/// How often it repeats at most: more than the whole range, so that only a stuck button notices.
const MOST_AGAIN: u32 = 90;

/// What became of a press.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The button is up.
    Up,
    /// It is down, and nothing was said yet but that it began.
    Fresh,
    /// A volume button is down and has acted; so often it has repeated, and then it does so again.
    Held { times: u32, next: Time },
    /// It is down, and nothing more comes of it.
    Spent,
}

/// One contact.
#[derive(Clone, Copy, Debug)]
struct Contact {
    /// The level as it was seen last, and since when it is so.
    seen: (bool, Time),
    /// The level that counts; none until the button was up once.
    down: Option<bool>,
    stage: Stage,
    /// When the last press began, and whether it is the second of two.
    began: Time,
    twice: bool,
    /// When the last press began that may be the first of two.
    first: Option<Time>,
}

/// The four buttons.
#[derive(Debug)]
pub struct Buttons {
    contacts: [Contact; 4],
    presses: VecDeque<Press>,
}

impl Buttons {
    /// Buttons of which nothing is known yet.
    pub fn new(now: Time) -> Buttons {
        let (stage, seen) = (Stage::Up, (false, now));
        let contact = Contact { seen, down: None, stage, began: now, twice: false, first: None };
        Buttons { contacts: [contact; 4], presses: VecDeque::new() }
    }

    /// A button's contact was seen at `now`: `down` if it is closed. May be told the same again.
    pub fn handle_level(&mut self, now: Time, button: Button, down: bool) {
        self.advance(now);
        let contact = &mut self.contacts[button as usize];
        if contact.seen.0 != down {
            contact.seen = (down, now);
        }
    }

    /// The next press, if one has happened by `now`.
    pub fn poll(&mut self, now: Time) -> Option<Press> {
        self.advance(now);
        self.presses.pop_front()
    }

    /// When [`Buttons::poll`] has something to say without any further level.
    pub fn deadline(&self) -> Option<Time> {
        Button::ALL.into_iter().filter_map(|button| self.contacts[button as usize].deadline(button)).min()
    }

    /// How long the page button has been held, while its long press is still to come.
    pub fn holding(&self, now: Time) -> Option<Duration> {
        let page = &self.contacts[Button::Page as usize];
        (page.stage == Stage::Fresh).then(|| now.since(page.began))
    }

    /// Whether the button is down, or has not been up since the start.
    pub fn is_down(&self, button: Button) -> bool {
        self.contacts[button as usize].down != Some(false)
    }

    fn advance(&mut self, now: Time) {
        for button in Button::ALL {
            let contact = &mut self.contacts[button as usize];
            let (down, since) = contact.seen;
            if now.since(since) >= STEADY && contact.down != Some(down) {
                match (contact.down, down) {
                    // Held from the start: it may be a wire to ground.
                    (None, true) => {}
                    (None, false) => contact.down = Some(false),
                    (Some(_), true) => self.press(button, since),
                    (Some(_), false) => self.release(button),
                }
            }
        }
        Button::ALL.into_iter().for_each(|button| self.hold(button, now));
    }

    fn press(&mut self, button: Button, began: Time) {
        let twin = button.twin().map(|twin| twin as usize).filter(|twin| {
            let twin = &self.contacts[*twin];
            twin.stage == Stage::Fresh && began.since(twin.began) <= TOGETHER
        });
        let contact = &mut self.contacts[button as usize];
        contact.down = Some(true);
        contact.began = began;
        contact.twice = contact.first.is_some_and(|first| began.since(first) <= TWICE);
        contact.first = Some(began).filter(|_| !contact.twice); // a third press is not the second of another two
        contact.stage = if twin.is_some() { Stage::Spent } else { Stage::Fresh };
        self.presses.push_back(Press::Begins(button));
        if let Some(twin) = twin {
            self.contacts[twin].stage = Stage::Spent;
            self.presses.push_back(Press::Both);
        }
    }

    fn release(&mut self, button: Button) {
        if self.contacts[button as usize].stage == Stage::Fresh {
            self.short(button);
        }
        let contact = &mut self.contacts[button as usize];
        contact.down = Some(false);
        contact.stage = Stage::Up;
    }

    fn short(&mut self, button: Button) {
        let twice = self.contacts[button as usize].twice;
        self.presses.push_back(if twice { Press::Double(button) } else { Press::Short(button) });
    }

    fn hold(&mut self, button: Button, now: Time) {
        let contact = &mut self.contacts[button as usize];
        let held = now.since(contact.began);
        match contact.stage {
            _ if !contact.seen.0 => {} // let go of, though that does not count yet
            Stage::Fresh if button.twin().is_some() && held >= TOGETHER + STEADY => {
                contact.stage = Stage::Held { times: 0, next: contact.began + FIRST_AGAIN };
                self.short(button);
            }
            Stage::Fresh if button.twin().is_none() && held >= button.long() => {
                contact.stage = Stage::Spent;
                self.presses.push_back(Press::Long(button));
            }
            Stage::Held { times, next } if now >= next => {
                contact.stage = match times + 1 {
                    MOST_AGAIN => Stage::Spent,
                    times => Stage::Held { times, next: now + EVERY_AGAIN },
                };
                self.presses.push_back(Press::Again(button));
            }
            Stage::Up | Stage::Fresh | Stage::Held { .. } | Stage::Spent => {}
        }
    }
}

impl Contact {
    fn deadline(&self, button: Button) -> Option<Time> {
        let (down, since) = self.seen;
        let counts = self.down == Some(down) || (self.down.is_none() && down);
        let steady = (!counts).then(|| since + STEADY);
        let held = match self.stage {
            _ if !down => None,
            Stage::Fresh if button.twin().is_some() => Some(self.began + TOGETHER + STEADY),
            Stage::Fresh => Some(self.began + button.long()),
            Stage::Held { next, .. } => Some(next),
            Stage::Up | Stage::Spent => None,
        };
        steady.into_iter().chain(held).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The four buttons in virtual time, with all that was pressed since the last look.
    struct Hand {
        buttons: Buttons,
        now: Time,
    }

    impl Hand {
        /// Buttons that have been up for a while.
        fn new() -> Hand {
            let mut hand = Hand { buttons: Buttons::new(Time(0)), now: Time(0) };
            assert_eq!(hand.wait(1_000), []);
            hand
        }

        /// So many milliseconds pass; the buttons are asked when they wish to be, and only then.
        fn wait(&mut self, milliseconds: u64) -> Vec<Press> {
            let end = self.now + Duration::from_millis(milliseconds);
            let mut presses = Vec::new();
            loop {
                presses.extend(std::iter::from_fn(|| self.buttons.poll(self.now)));
                match self.buttons.deadline() {
                    Some(deadline) if deadline <= end => {
                        assert!(deadline > self.now, "a deadline that does not pass");
                        self.now = deadline;
                    }
                    _ => break,
                }
            }
            self.now = end;
            presses
        }

        fn level(&mut self, button: Button, down: bool) {
            self.buttons.handle_level(self.now, button, down);
        }

        fn hold(&mut self, button: Button, milliseconds: u64) -> Vec<Press> {
            self.level(button, true);
            let mut presses = self.wait(milliseconds);
            self.level(button, false);
            presses.extend(self.wait(20));
            presses
        }
    }

    #[test]
    fn five_milliseconds_of_bounce_are_one_press() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut hand = Hand::new();
            let mut presses = Vec::new();
            for down in [true, false] {
                let quiet = hand.now + Duration::from_millis(5);
                while hand.now < quiet {
                    let level = random.bool();
                    hand.level(Button::Mute, level);
                    hand.now = hand.now + Duration::from_micros(random.u64(20..1_500));
                }
                hand.level(Button::Mute, down);
                presses.extend(hand.wait(100));
            }
            assert_eq!(presses, [Press::Begins(Button::Mute), Press::Short(Button::Mute)], "seed {seed}");
        }
    }

    #[test]
    fn a_spark_is_no_press_and_a_quick_finger_is_one() {
        let mut hand = Hand::new();
        assert_eq!(hand.hold(Button::Page, 4), []);
        assert_eq!(hand.hold(Button::Page, 15).len(), 2);
        // Seen late, but with the moments at which it happened: the display was being written meanwhile.
        let mut hand = Hand::new();
        let began = hand.now;
        hand.buttons.handle_level(began + Duration::from_millis(10), Button::Page, true);
        hand.buttons.handle_level(began + Duration::from_millis(60), Button::Page, false);
        assert_eq!(hand.wait(200), [Press::Begins(Button::Page), Press::Short(Button::Page)]);
    }

    #[test]
    fn short_twice_and_long_are_told_apart() {
        use Press::{Begins, Double, Long, Short};
        let mut hand = Hand::new();
        for button in [Button::Mute, Button::Page] {
            assert_eq!(hand.hold(button, 100), [Begins(button), Short(button)]);
            assert_eq!(hand.hold(button, 100), [Begins(button), Double(button)]);
            assert_eq!(hand.hold(button, 100), [Begins(button), Short(button)], "the third is a first again");
            hand.wait(600);
            let long = button.long().as_millis() as u64;
            assert_eq!(hand.hold(button, long - 1), [Begins(button), Short(button)]);
            assert_eq!(hand.hold(button, long + 500), [Begins(button), Long(button)]);
            hand.wait(600);
        }
    }

    #[test]
    fn a_volume_button_that_is_held_repeats() {
        let mut hand = Hand::new();
        let up = Button::Up;
        assert_eq!(hand.hold(up, 30), [Press::Begins(up), Press::Short(up)]);
        hand.wait(600);
        let presses = hand.hold(up, 1_050);
        assert_eq!(presses[..2], [Press::Begins(up), Press::Short(up)]);
        assert_eq!(presses[2..], [Press::Again(up); 6], "at 0.5 s, and each tenth after it");
        let presses = hand.hold(up, 60_000);
        assert!(presses.len() < 100, "a button that is stuck stops by itself");
    }

    #[test]
    fn both_volume_buttons_are_neither_of_them() {
        for (first, second) in [(Button::Up, Button::Down), (Button::Down, Button::Up)] {
            for apart in [0, 1, 40, 79] {
                let mut hand = Hand::new();
                hand.level(first, true);
                let mut presses = hand.wait(apart);
                hand.level(second, true);
                presses.extend(hand.wait(2_000));
                hand.level(first, false);
                presses.extend(hand.wait(90));
                hand.level(second, false);
                presses.extend(hand.wait(90));
                presses.retain(|press| !matches!(press, Press::Begins(_)));
                assert_eq!(presses, [Press::Both], "{apart} ms apart");
            }
            let mut hand = Hand::new();
            hand.level(first, true);
            hand.wait(120);
            hand.level(second, true);
            let presses = hand.wait(120);
            assert_eq!(presses, [Press::Begins(second), Press::Short(second)], "one after the other");
        }
    }

    #[test]
    fn a_button_that_is_wired_to_ground_is_never_pressed() {
        let mut hand = Hand { buttons: Buttons::new(Time(0)), now: Time(0) };
        hand.level(Button::Page, true);
        assert_eq!(hand.wait(60_000), []);
        assert!(hand.buttons.is_down(Button::Page));
        hand.level(Button::Page, false);
        assert_eq!(hand.wait(100), [], "and letting go of it is no press");
        assert_eq!(hand.hold(Button::Page, 100).len(), 2);
    }

    #[test]
    fn whatever_the_contacts_do_time_goes_on() {
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut hand = Hand::new();
            for _ in 0..500 {
                let button = Button::ALL[random.usize(..4)];
                let down = random.bool();
                hand.level(button, down);
                let presses = hand.wait(random.u64(0..300));
                assert!(presses.len() <= 8, "seed {seed}: {presses:?}");
            }
        }
    }
}
