//! Every order of calls, with the power going after every single write: all states that a box can come into are
//! visited, not a sample of them.
//!
//! The world has the two slots with what is in them, the firmware (`[all]` when the power comes, `[tryboot]` when it was
//! told to try), RAUC at work, a person with an editor, and a data partition that may be lost.

use super::*;
use crate::system::slots::autoboot::Autoboot;
use std::collections::{HashSet, VecDeque};

/// What is in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd)]
enum Content {
    /// Nothing, half of something, or a kernel that does not come up: the watchdog resets the board.
    Dead,
    /// It starts, and the gate finds it wanting.
    Sick,
    /// It starts and is healthy.
    Healthy,
}

/// What the box does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// It is reset. The firmware was told to try, or was not: after a loss of power it is not.
    Reset { told: bool },
    /// The kernel runs; the start has not been decided yet.
    Starting(Slot),
    /// It runs. RAUC writes into the other slot, or does not.
    On { slot: Slot, installs: bool },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    autoboot: Autoboot,
    memory: Memory,
    content: [Content; 2],
    phase: Phase,
}

impl World {
    fn new() -> World {
        let shipped = include_bytes!("../../../../../../image/setup/autoboot.txt");
        World {
            autoboot: Autoboot::decode(shipped).unwrap(),
            memory: Memory::default(),
            content: [Content::Healthy, Content::Dead],
            phase: Phase::Reset { told: false },
        }
    }

    fn in_slot(&self, slot: Slot) -> Content {
        self.content[slot as usize]
    }

    fn with(&self, change: impl FnOnce(&mut World)) -> World {
        let mut world = self.clone();
        change(&mut world);
        world
    }

    /// How the box sees itself.
    fn slots(&self) -> Slots {
        let committed = self.autoboot.committed();
        let running = match self.phase {
            Phase::Reset { .. } => committed,
            Phase::Starting(slot) | Phase::On { slot, .. } => slot,
        };
        let differ = self.autoboot.tried() != committed;
        Slots { running, committed, differ, memory: self.memory.clone() }
    }

    fn write(&self, write: &Write) -> World {
        self.with(|world| match write {
            Write::Memory(memory) => world.memory = Memory::decode(&memory.encode()).unwrap(),
            Write::Commit(slot) => world.autoboot = world.autoboot.with_committed(*slot),
        })
    }

    fn write_all(&self, writes: &[Write]) -> World {
        writes.iter().fold(self.clone(), |world, write| world.write(write))
    }

    /// All that may become of it if the power goes before, between and after the writes.
    fn cut(&self, writes: &[Write]) -> Vec<World> {
        (0..=writes.len()).map(|done| self.write_all(&writes[..done]).reset(false)).collect()
    }

    fn reset(&self, told: bool) -> World {
        self.with(|world| world.phase = Phase::Reset { told })
    }

    /// What the gate writes in this slot, and whether it resets the box then.
    fn gate(&self, slot: Slot) -> (Vec<Write>, bool) {
        let slots = self.slots();
        match self.in_slot(slot) {
            Content::Healthy => (slots.found_healthy().unwrap_or_default(), false),
            _ => (slots.found_wanting("it is sick"), slots.on_trial()),
        }
    }

    /// Everything that can happen next.
    fn next(&self) -> Vec<World> {
        match self.phase {
            Phase::Reset { told } => vec![self.firmware(told)],
            Phase::Starting(slot) => self.starts(slot),
            Phase::On { slot, installs } => self.runs(slot, installs),
        }
    }

    fn firmware(&self, told: bool) -> World {
        let slot = if told { self.autoboot.tried() } else { self.autoboot.committed() };
        match self.in_slot(slot) {
            Content::Dead => {
                assert!(told, "the committed slot does not start: {self:?}");
                self.reset(false)
            }
            _ => self.with(|world| world.phase = Phase::Starting(slot)),
        }
    }

    fn starts(&self, slot: Slot) -> Vec<World> {
        let slots = self.slots();
        let start = slots.start(None);
        self.judge_start(&slots, &start);
        let write = [Write::Memory(start.memory)];
        let mut next = self.cut(&write);
        next.push(match start.try_it {
            true => self.write_all(&write).reset(true),
            false => self.write_all(&write).with(|world| world.phase = Phase::On { slot, installs: false }),
        });
        next
    }

    fn judge_start(&self, slots: &Slots, start: &Start) {
        if let Some(waits) = slots.staged() {
            let tries = slots.memory.trial.as_ref().unwrap().tries;
            assert_eq!(start.try_it, tries < TRIES, "a lost arming is offered again, a few times: {self:?}");
            assert_eq!(slots.primary(), waits);
        }
        if start.try_it {
            let trial = start.memory.trial.as_ref().unwrap();
            assert!(!slots.on_trial() && trial.slot == slots.committed.other() && !trial.started);
            assert!(start.memory != slots.memory, "a restart without a write would never end: {self:?}");
            let was_good = slots.memory.of(trial.slot).state == Some(State::Good);
            assert!(was_good || slots.staged().is_some(), "what has failed is not tried again: {self:?}");
        }
        let ended = slots.memory.trial.as_ref().is_some_and(|trial| trial.started && !slots.on_trial());
        assert!(!ended || start.memory.trial.as_ref().is_none_or(|trial| !trial.started), "{self:?}");
    }

    fn runs(&self, slot: Slot, installs: bool) -> Vec<World> {
        let slots = self.slots();
        let mut next = vec![self.reset(false)];
        let mut call = |writes: &[Write]| {
            next.extend(self.cut(writes));
            next.push(self.write_all(writes));
        };
        for other in Slot::BOTH {
            call(&self.twice(|slots| Ok(slots.set_primary(other))));
            for state in [State::Good, State::Bad] {
                call(&self.twice(|slots| slots.set_state(other, state)));
            }
        }
        let (writes, resets) = self.gate(slot);
        next.extend(self.cut(&writes));
        let judged = self.write_all(&writes);
        next.push(if resets { judged.reset(false) } else { judged });
        if let Ok(memory) = slots.arm() {
            next.extend(self.cut(&[Write::Memory(memory.clone())]));
            next.push(self.write(&Write::Memory(memory)).reset(true));
        }
        next.extend(self.rauc(slot, installs));
        next.extend(self.misfortunes(slot));
        next
    }

    /// A call that is made twice does what it does once; what it may not touch it does not.
    fn twice(&self, call: impl Fn(&Slots) -> Result<Vec<Write>, Refusal>) -> Vec<Write> {
        let slots = self.slots();
        let writes = call(&slots).unwrap_or_default();
        let once = self.write_all(&writes);
        let again = call(&once.slots()).unwrap_or_default();
        assert_eq!(once.write_all(&again), once, "{writes:?}, then {again:?}: {self:?}");
        for write in &writes {
            if let Write::Commit(slot) = write {
                let runs = *slot == slots.running && (slots.on_trial() || *slot == slots.committed);
                assert!(runs, "only what runs is committed: {self:?}");
            }
        }
        if let Some(last) = writes.last() {
            assert!(matches!(last, Write::Memory(_)), "what is remembered comes last: {self:?}");
        }
        writes
    }

    /// RAUC marks the slot bad before it writes, and makes it primary when it has written.
    fn rauc(&self, slot: Slot, installs: bool) -> Vec<World> {
        let (slots, target) = (self.slots(), slot.other());
        if !installs {
            let Ok(writes) = slots.set_state(target, State::Bad) else { return Vec::new() };
            let begun = self.write_all(&writes).with(|world| {
                world.content[target as usize] = Content::Dead;
                world.phase = Phase::On { slot, installs: true };
            });
            assert_eq!(begun.slots().staged(), None, "half a slot is staged: {self:?}");
            return vec![begun];
        }
        let done = [Content::Dead, Content::Sick, Content::Healthy].into_iter().flat_map(|content| {
            let written = self.with(|world| {
                world.content[target as usize] = content;
                world.phase = Phase::On { slot, installs: false };
            });
            let writes = written.slots().set_primary(target);
            let mut next = written.cut(&writes);
            next.push(written.write_all(&writes));
            next
        });
        done.collect()
    }

    /// The committed slot rots, the memory is lost, a person edits the file.
    fn misfortunes(&self, slot: Slot) -> Vec<World> {
        let committed = self.autoboot.committed();
        let mut next = vec![self.with(|world| world.memory = Memory::default())];
        if slot == committed {
            next.push(self.with(|world| world.content[slot as usize] = Content::Sick));
        }
        // A person swaps the digits, or only one of them, to start something that starts.
        let other = committed.other();
        if self.in_slot(other) != Content::Dead {
            let swapped = self.autoboot.with_committed(other);
            let one = String::from_utf8(swapped.bytes().to_vec()).unwrap();
            let digits = [char::from(committed.digit()), char::from(other.digit())];
            let one = one.replace(&format!("={}", digits[0]), &format!("={}", digits[1]));
            for autoboot in [swapped, Autoboot::decode(one.as_bytes()).unwrap()] {
                next.push(self.reset(false).with(|world| world.autoboot = autoboot));
            }
        }
        next
    }

    /// Left alone, the box comes to rest: the slots that were started on the way, and the last state.
    fn settle(&self) -> (Vec<Slot>, World) {
        let (mut started, mut world) = (Vec::new(), self.clone());
        for _ in 0..60 {
            world = match world.phase {
                Phase::Reset { told } => world.firmware(told),
                Phase::Starting(slot) => {
                    started.push(slot);
                    world.starts(slot).pop().unwrap() // without a cut
                }
                Phase::On { slot, .. } => {
                    let (writes, resets) = world.gate(slot);
                    let judged = world.write_all(&writes);
                    if !resets {
                        return (started, judged);
                    }
                    judged.reset(false)
                }
            };
        }
        panic!("it restarts for ever: {self:?}");
    }
}

#[test]
fn whatever_is_called_and_whenever_the_power_goes_some_slot_starts() {
    let first = World::new();
    let mut seen: HashSet<World> = HashSet::from([first.clone()]);
    let mut to_visit = VecDeque::from([first]);
    while let Some(world) = to_visit.pop_front() {
        let committed = world.autoboot.committed();
        assert!(world.in_slot(committed) != Content::Dead, "half a slot is committed: {world:?}");
        for slot in Slot::BOTH {
            let good = world.memory.of(slot).state == Some(State::Good);
            assert!(!good || world.in_slot(slot) != Content::Dead, "half a slot counts as good: {world:?}");
        }
        let (_, rest) = world.reset(false).settle();
        assert!(!rest.slots().on_trial(), "a trial that nobody ends: {world:?}");
        // Healthy and committed is never left but for what was staged.
        if world.in_slot(committed) == Content::Healthy && world.memory.trial.is_none() {
            let gives_way = world.memory.of(committed).failing >= FAILING;
            assert!(gives_way || rest.autoboot.committed() == committed, "{world:?}");
        }
        if let Some(staged) = world.slots().staged().filter(|_| matches!(world.phase, Phase::On { .. })) {
            let tries = world.memory.trial.as_ref().unwrap().tries;
            let (started, rest) = world.reset(false).settle();
            let starts = tries < TRIES && world.in_slot(staged) != Content::Dead;
            assert_eq!(started.contains(&staged), starts, "{world:?}");
            let healthy = starts && world.in_slot(staged) == Content::Healthy;
            assert!(!healthy || rest.autoboot.committed() == staged, "{world:?}");
        }
        for next in world.next() {
            if seen.insert(next.clone()) {
                to_visit.push_back(next);
            }
        }
    }
    println!("{} states", seen.len());
    assert!(seen.len() > 10_000, "{} states are too few", seen.len());
    assert!(seen.iter().any(|world| world.autoboot.committed() == Slot::B && world.memory.trial.is_none()));
}

/// A box that runs slot A with 1.0.0 and has 1.1.0 in B, which has this in it.
fn updated(content: Content) -> World {
    let mut world = World::new();
    world.phase = Phase::On { slot: Slot::A, installs: false };
    world.content[1] = content;
    world.memory = world.slots().start(Some("1.0.0")).memory;
    world.memory.b.version = Some("1.1.0".to_owned());
    let writes = world.slots().set_primary(Slot::B);
    world.write_all(&writes)
}

/// Restarts into the trial as the box does.
fn restart(world: &World) -> World {
    let memory = world.slots().arm().unwrap();
    world.write(&Write::Memory(memory)).reset(true)
}

#[test]
fn a_good_update_is_tried_and_committed() {
    let world = updated(Content::Healthy);
    assert_eq!((world.slots().primary(), world.slots().staged()), (Slot::B, Some(Slot::B)));
    assert_eq!(world.autoboot.committed(), Slot::A, "staging commits nothing");
    let (started, world) = restart(&world).settle();
    assert_eq!((started, world.autoboot.committed()), (vec![Slot::B], Slot::B));
    let slots = world.slots();
    assert_eq!((slots.primary(), slots.is_good(Slot::B), slots.failure()), (Slot::B, true, None));
}

#[test]
fn the_reason_of_a_fall_back_is_told_once_and_stands_until_the_next_update() {
    let sick = updated(Content::Sick);
    let (_, world) = restart(&sick).settle();
    let told = "1.1.0 failed: it is sick, running 1.0.0";
    assert_eq!(world.slots().running, Slot::A);
    let version = Some("1.0.0");
    let old = Slots { memory: Memory { failed: None, ..sick.memory.clone() }, ..sick.slots() };
    let wanting = Slots { running: Slot::B, ..old };
    let Some(Write::Memory(memory)) = wanting.found_wanting("it is sick").pop() else { panic!("no write") };
    let back = Slots { running: Slot::A, memory, ..wanting };
    let first = back.start(version);
    assert_eq!(first.said.as_deref(), Some(told));
    let later = Slots { memory: first.memory, ..back };
    assert_eq!((later.start(version).said, later.failure().as_deref()), (None, Some(told)));
    let again = later.set_state(Slot::B, State::Bad).unwrap();
    assert!(matches!(&again[..], [Write::Memory(memory)] if memory.failed.is_none()));
}

#[test]
fn a_kernel_that_does_not_come_up_is_told_after_three_tries() {
    let (started, world) = restart(&updated(Content::Dead)).settle();
    assert_eq!(started, [Slot::A; TRIES as usize], "the firmware fell back each time");
    assert_eq!(world.memory.failed.as_ref().unwrap().reason, "it did not start");
    assert!(!world.slots().is_good(Slot::B) && world.slots().staged().is_none());
}

#[test]
fn a_trial_that_is_cut_off_is_not_tried_again() {
    let world = restart(&updated(Content::Healthy));
    let world = world.firmware(true); // it starts
    let world = world.starts(Slot::B).pop().unwrap(); // and says so
    let (started, world) = world.reset(false).settle(); // and the power goes
    assert_eq!((started, world.autoboot.committed()), (vec![Slot::A], Slot::A));
    assert_eq!(world.memory.failed.unwrap().reason, "it stopped before it was found healthy");
}

#[test]
fn three_failing_starts_lead_to_the_other_slot_if_it_was_ever_good() {
    for good in [true, false] {
        let mut world = updated(Content::Healthy);
        let writes = world.slots().set_primary(Slot::A); // nothing is staged
        world = world.write_all(&writes);
        world.memory.b.state = good.then_some(State::Good);
        world.memory.a.failing = 0;
        world.content[0] = Content::Sick;
        let mut starts = Vec::new();
        for _ in 0..4 {
            let (started, rest) = world.reset(false).settle();
            starts.push(started);
            world = rest;
        }
        let fourth = if good { vec![Slot::A, Slot::B] } else { vec![Slot::A] };
        assert_eq!(starts[..3], [[Slot::A], [Slot::A], [Slot::A]]);
        assert_eq!(starts[3], fourth);
        assert_eq!(world.autoboot.committed(), if good { Slot::B } else { Slot::A });
        let reason = world.memory.failed.as_ref().map(|failed| failed.reason.clone());
        assert_eq!(reason.as_deref(), good.then_some("it was not healthy three times in a row"));
        // Who swaps the digits back is not overruled at once.
        world.autoboot = world.autoboot.with_committed(Slot::A);
        assert!(!good || world.reset(false).settle().0 == [Slot::A]);
    }
}

#[test]
fn a_healthy_start_forgets_the_failing_ones_before() {
    let mut world = updated(Content::Dead);
    world = world.write_all(&world.slots().set_primary(Slot::A));
    world.memory.a.failing = 2;
    let (_, rest) = world.reset(false).settle();
    assert_eq!((rest.memory.a.failing, rest.memory.a.state), (0, Some(State::Good)));
}

#[test]
fn the_slot_to_fall_back_to_cannot_be_written_over() {
    let world = updated(Content::Healthy);
    let slots = Slots { running: Slot::B, ..world.slots() };
    let refused = slots.set_state(Slot::A, State::Bad).unwrap_err().to_string();
    let told = "slot A is what the box falls back to while slot B is on trial: wait until it is judged";
    assert_eq!(refused, told);
    assert_eq!(slots.set_state(Slot::A, State::Good), Err(Refusal::DoesNotRun(Slot::A)));
    assert_eq!(slots.arm(), Err(Refusal::NothingStaged));
}

#[test]
fn a_trial_that_was_taken_back_is_not_committed_any_more() {
    let trial = Slots { running: Slot::B, ..updated(Content::Healthy).slots() };
    let Some(Write::Memory(memory)) = trial.set_state(Slot::B, State::Bad).unwrap().pop() else { panic!() };
    let taken = Slots { memory, ..trial };
    assert_eq!(taken.found_healthy(), Err(Refusal::TakenBack(Slot::B, Slot::A)));
}
