//! The clock of the simulated world, and everything that happens in it in order.
//!
//! Events lie in a heap by time; two at the same time keep the order in which they were made. So a run
//! depends on nothing but its seed and what the test does to it.

use crate::hall::{Done, Hall};
use crate::link::{Line, Link};
use crate::station::{Out, Spec, Station};
use proto::control::{Command, Status};
use proto::session::{FromRendezvous, Session};
use proto::units::Time;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// From the start of a cycle until its packets leave: what encoding and the network threads take.
const WORK: Duration = Duration::from_micros(100);

/// One way between a box and the rendezvous.
const TO_RENDEZVOUS: Duration = Duration::from_millis(5);

/// How long a box waits before it tries to reach the rendezvous again.
const RETRY: Duration = Duration::from_millis(250);

enum Event {
    Cycle { index: usize, incarnation: u32 },
    Datagram { index: usize, from: SocketAddr, bytes: Vec<u8> },
    PollSession { index: usize },
    PollRendezvous,
    Connect { index: usize, incarnation: u32 },
    ToRendezvous { index: usize, frame: String },
    FromRendezvous { index: usize, event: FromRendezvous },
}

struct Entry {
    at: Time,
    order: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// Boxes, lines and a rendezvous in virtual time.
pub struct World {
    now: Time,
    seed: u64,
    order: u64,
    events: BinaryHeap<Reverse<Entry>>,
    stations: Vec<Option<Station>>,
    /// Specifications of boxes that are switched off.
    off: BTreeMap<usize, Spec>,
    incarnations: Vec<u32>,
    hall: Hall,
    lines: BTreeMap<(usize, usize), Line>,
    link: Link,
}

impl World {
    /// A world at time zero with a rendezvous and no boxes; every line is `link` until it is changed.
    pub fn new(seed: u64, link: Link) -> Self {
        World {
            now: Time(0),
            seed,
            order: 0,
            events: BinaryHeap::new(),
            stations: Vec::new(),
            off: BTreeMap::new(),
            incarnations: Vec::new(),
            hall: Hall::new(),
            lines: BTreeMap::new(),
            link,
        }
    }

    /// Puts a box into the world, switched off; returns its number. The rendezvous knows its key when it
    /// is started afterwards.
    pub fn add(&mut self, spec: Spec) -> usize {
        let index = self.stations.len();
        self.hall.add_client(spec.name, &format!("key of {}", spec.name));
        self.stations.push(None);
        self.incarnations.push(0);
        self.off.insert(index, spec);
        index
    }

    /// Starts the rendezvous, which knows all boxes added so far.
    pub fn start_rendezvous(&mut self) {
        self.hall.start();
    }

    /// Kills the rendezvous without a word.
    pub fn kill_rendezvous(&mut self) {
        for index in self.hall.stop() {
            let away = FromRendezvous::Away("the rendezvous closed the connection".to_owned());
            self.note(self.now + TO_RENDEZVOUS, Event::FromRendezvous { index, event: away });
            self.connect_later(index, RETRY);
        }
    }

    /// Switches a box on, as if for the first time.
    pub fn switch_on(&mut self, index: usize) {
        let spec = self.off.remove(&index).expect("the box is switched off");
        self.incarnations[index] += 1;
        let station = Station::start(spec, address(index), self.incarnations[index], self.now);
        let incarnation = self.incarnations[index];
        self.note(station.next_cycle(), Event::Cycle { index, incarnation });
        self.stations[index] = Some(station);
        self.connect_later(index, Duration::ZERO);
    }

    /// Pulls a box's plug.
    pub fn kill(&mut self, index: usize) {
        let station = self.stations[index].take().expect("the box is switched on");
        self.off.insert(index, station.spec);
        let done = self.hall.disconnect(index);
        self.carry_out(done);
    }

    /// Lets a box say goodbye, then switches it off.
    pub fn leave(&mut self, index: usize) {
        self.station(index).session.leave();
        self.pump(index);
        self.kill(index);
    }

    /// Somebody wishes something of a box.
    ///
    /// # Panics
    /// If it is switched off, or refuses.
    pub fn command(&mut self, index: usize, command: &Command) {
        let now = self.now;
        let station = self.station(index);
        station.session.handle_command(now, command).expect("a command that can be carried out");
        self.pump(index);
    }

    /// Changes the line from one box to another, from now on.
    pub fn set_link(&mut self, from: usize, to: usize, link: Link) {
        self.line(from, to).link = link;
    }

    /// The line from one box to another, as it is now.
    pub fn link(&mut self, from: usize, to: usize) -> Link {
        self.line(from, to).link
    }

    /// Lets time pass.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.events.peek().is_some_and(|Reverse(entry)| entry.at <= end) {
            let Some(Reverse(entry)) = self.events.pop() else { break };
            self.now = entry.at;
            self.happen(entry.event);
        }
        self.now = end;
    }

    /// The time now.
    pub fn now(&self) -> Time {
        self.now
    }

    /// What a box shows of itself.
    ///
    /// # Panics
    /// If it is switched off.
    pub fn status(&self, index: usize) -> Status {
        self.stations[index].as_ref().expect("the box is switched on").status(self.now)
    }

    /// What a box said in its log so far.
    ///
    /// # Panics
    /// If it is switched off.
    pub fn said(&self, index: usize) -> &[String] {
        &self.stations[index].as_ref().expect("the box is switched on").said
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Cycle { index, incarnation } => self.cycle(index, incarnation),
            Event::Datagram { index, from, bytes } => {
                let now = self.now;
                if let Some(station) = &mut self.stations[index] {
                    station.receive(from, &bytes, now);
                    self.pump(index);
                }
            }
            Event::PollSession { index } => {
                if let Some(station) = &mut self.stations[index] {
                    station.noted = None;
                    self.pump(index);
                }
            }
            Event::PollRendezvous => {
                let done = self.hall.poll(self.now);
                self.carry_out(done);
            }
            Event::Connect { index, incarnation } => self.connect(index, incarnation),
            Event::ToRendezvous { index, frame } => {
                let done = self.hall.handle(index, &frame, self.now);
                self.carry_out(done);
                self.note(self.now + Duration::from_millis(250), Event::PollRendezvous);
            }
            Event::FromRendezvous { index, event } => {
                let now = self.now;
                if let Some(station) = &mut self.stations[index] {
                    station.session.handle_rendezvous(now, event);
                    self.pump(index);
                }
            }
        }
    }

    fn cycle(&mut self, index: usize, incarnation: u32) {
        if self.incarnations[index] != incarnation {
            return;
        }
        let now = self.now;
        let Some(station) = &mut self.stations[index] else { return };
        let out = station.cycle(now);
        let next = station.next_cycle();
        self.note(next, Event::Cycle { index, incarnation });
        self.send(index, out, now + WORK);
        self.pump(index);
    }

    fn connect_later(&mut self, index: usize, wait: Duration) {
        let incarnation = self.incarnations[index];
        self.note(self.now + wait, Event::Connect { index, incarnation });
    }

    fn connect(&mut self, index: usize, incarnation: u32) {
        let takes_part = self.stations[index].as_ref().is_some_and(|station| station.takes_part);
        if self.incarnations[index] != incarnation || !takes_part || self.hall.is_here(index) {
            return;
        }
        if !self.hall.connect(index, address(index).ip(), self.now) {
            return self.connect_later(index, RETRY);
        }
        let frame = Session::hello(&self.station(index).identity);
        self.note(self.now + TO_RENDEZVOUS, Event::ToRendezvous { index, frame });
    }

    fn carry_out(&mut self, done: Vec<Done>) {
        for done in done {
            let (index, event) = match done {
                Done::Send(index, text) => (index, FromRendezvous::Message(text)),
                Done::Closed(index, why) => {
                    self.connect_later(index, RETRY);
                    (index, FromRendezvous::Away(why))
                }
            };
            self.note(self.now + TO_RENDEZVOUS, Event::FromRendezvous { index, event });
        }
    }

    /// Carries out what a box's session wants, and notes when it wants to be asked again.
    fn pump(&mut self, index: usize) {
        let now = self.now;
        let Some(station) = &mut self.stations[index] else { return };
        let took_part = station.takes_part;
        let (frames, out) = station.pump(now);
        let comes_back = station.takes_part && !took_part;
        let deadline = station.session.deadline().map(|deadline| deadline.max(now));
        let note = deadline.filter(|deadline| station.noted.is_none_or(|noted| *deadline < noted));
        if note.is_some() {
            station.noted = note;
        }
        for frame in frames {
            self.note(now + TO_RENDEZVOUS, Event::ToRendezvous { index, frame });
        }
        self.send(index, out, now);
        if comes_back {
            self.connect_later(index, Duration::ZERO);
        }
        if let Some(at) = note {
            self.note(at, Event::PollSession { index });
        }
    }

    fn send(&mut self, from: usize, out: Vec<Out>, at: Time) {
        for Out { to, bytes } in out {
            let Some(index) = (0..self.stations.len()).find(|index| address(*index) == to) else { continue };
            for arrival in self.line(from, index).carry(at, bytes.len()) {
                let event = Event::Datagram { index, from: address(from), bytes: bytes.clone() };
                self.note(arrival, event);
            }
        }
    }

    fn line(&mut self, from: usize, to: usize) -> &mut Line {
        let seed = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (from as u64) << 32 ^ to as u64;
        let link = self.link;
        self.lines.entry((from, to)).or_insert_with(|| Line::new(link, seed))
    }

    fn station(&mut self, index: usize) -> &mut Station {
        self.stations[index].as_mut().expect("the box is switched on")
    }

    fn note(&mut self, at: Time, event: Event) {
        self.order += 1;
        self.events.push(Reverse(Entry { at, order: self.order, event }));
    }
}

fn address(index: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, index as u8 + 1)), 8_600)
}
