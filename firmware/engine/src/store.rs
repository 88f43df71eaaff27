//! Packets of one peer that wait for their turn, and the tally of those that never came.
//!
//! Filled by `receive` as packets arrive in any order, emptied in the order of their timestamps.
//! Fixed size: 128 packets are 160 ms at 1.25 ms each, twice the deepest buffer.

use crate::packet::{Arrival, MAX_PAYLOAD};
use proto::format::Format;

const CELLS: usize = 128;

/// How far behind the newest packet a missing one is given up, in packets.
const WINDOW: u32 = 128;

/// What is known of a packet.
#[derive(Clone, Copy, Default)]
struct Cell {
    used: bool,
    timestamp: i64,
    /// Where the packet after it begins.
    end: i64,
    format: Format,
    len: u16,
}

/// Packets by timestamp.
pub struct Store {
    cells: Box<[Cell; CELLS]>,
    /// What is in them, apart: the cells are looked through for each packet, and lie close together so.
    payloads: Box<[[u8; MAX_PAYLOAD]]>,
}

impl Store {
    /// An empty store.
    pub fn new() -> Self {
        Store { cells: Box::new([Cell::default(); CELLS]), payloads: vec![[0; MAX_PAYLOAD]; CELLS].into() }
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.cells.iter_mut().for_each(|cell| cell.used = false);
    }

    /// Keeps a packet of `frames` frames for its turn, in the place of a copy of it if there is one. When all
    /// cells are taken the one whose turn is farthest off goes.
    pub fn insert(&mut self, timestamp: i64, frames: usize, arrival: &Arrival) {
        let same = |cell: &Cell| cell.used && cell.timestamp == timestamp;
        let place = self.cells.iter().position(same);
        let place = place.or_else(|| self.cells.iter().position(|cell| !cell.used));
        let last =
            || (0..CELLS).max_by_key(|place| self.cells[*place].timestamp).expect("the store has cells");
        let place = place.unwrap_or_else(last);
        let Arrival { format, len, .. } = *arrival;
        self.cells[place] = Cell { used: true, timestamp, end: timestamp + frames as i64, format, len };
        self.payloads[place][..arrival.payload().len()].copy_from_slice(arrival.payload());
    }

    /// Drops every packet before `timestamp`; their turn is over.
    pub fn drop_before(&mut self, timestamp: i64) {
        self.cells.iter_mut().filter(|cell| cell.timestamp < timestamp).for_each(|cell| cell.used = false);
    }

    /// Takes out the packet that begins at `timestamp` and hands its format and payload to `with`.
    pub fn take<T>(&mut self, timestamp: i64, with: impl FnOnce(Format, &[u8]) -> T) -> Option<T> {
        let place = self.cells.iter().position(|cell| cell.used && cell.timestamp == timestamp)?;
        let cell = &mut self.cells[place];
        cell.used = false;
        Some(with(cell.format, &self.payloads[place][..usize::from(cell.len)]))
    }

    /// Whether the packet that begins at `timestamp` waits here.
    pub fn holds(&self, timestamp: i64) -> bool {
        self.cells.iter().any(|cell| cell.used && cell.timestamp == timestamp)
    }

    /// Where the packet begins that holds the frame `timestamp`.
    pub fn beginning_of(&self, timestamp: i64) -> Option<i64> {
        let holds = |cell: &&Cell| cell.used && (cell.timestamp..cell.end).contains(&timestamp);
        self.cells.iter().find(holds).map(|cell| cell.timestamp)
    }

    /// The timestamp whose turn comes first.
    pub fn first(&self) -> Option<i64> {
        self.cells.iter().filter(|cell| cell.used).map(|cell| cell.timestamp).min()
    }
}

/// Which of the last 128 packets came: tells duplicates from news, and gives up on the missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    highest: Option<i64>,
    /// Bit n: the packet n before the highest came, or belongs to the time before the first.
    came: u128,
    /// Packets received, each counted once.
    pub received: u64,
    /// Packets given up.
    pub lost: u64,
    /// Runs of packets given up in a row.
    pub bursts: u64,
    /// The packet before the window was given up.
    in_burst: bool,
}

impl Tally {
    /// Marks a packet by its unwrapped sequence number; false if it came before or is too old to tell.
    pub fn mark(&mut self, sequence: i64) -> bool {
        let Some(highest) = self.highest else {
            *self = Tally { highest: Some(sequence), came: u128::MAX, received: self.received + 1, ..*self };
            return true;
        };
        if sequence > highest {
            self.slide((sequence - highest) as u64);
            self.highest = Some(sequence);
        }
        let behind = (self.highest.unwrap_or(sequence) - sequence) as u64;
        if behind >= u64::from(WINDOW) || (sequence <= highest && self.came >> behind & 1 == 1) {
            return false;
        }
        self.came |= 1 << behind;
        self.received += 1;
        true
    }

    /// Highest sequence number so far.
    pub fn highest(&self) -> Option<i64> {
        self.highest
    }

    /// A new stream begins; what was counted stays.
    pub fn restart(&mut self) {
        let Tally { received, lost, bursts, .. } = *self;
        *self = Tally { received, lost, bursts, ..Tally::default() };
    }

    /// Whether a packet has not come so far, though it may have been sent.
    pub fn is_missing(&self, sequence: i64) -> bool {
        let behind = self.highest.map_or(0, |highest| highest - sequence);
        behind < 0 || (behind < i64::from(WINDOW) && self.came >> behind & 1 == 0)
    }

    /// The window moves on: what leaves it without having come is given up.
    fn slide(&mut self, by: u64) {
        let leaving = by.min(u64::from(WINDOW)) as u32;
        for bit in (WINDOW - leaving..WINDOW).rev() {
            let missing = self.came >> bit & 1 == 0;
            self.lost += u64::from(missing);
            self.bursts += u64::from(missing && !self.in_burst);
            self.in_burst = missing;
        }
        let beyond = by - u64::from(leaving);
        if beyond > 0 {
            self.lost += beyond;
            self.bursts += u64::from(!self.in_burst);
            self.in_burst = true;
        }
        self.came = self.came.checked_shl(leaving).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::rtp::Header;
    use proto::units::Time;

    fn arrival(byte: u8) -> Arrival {
        Arrival::new(0, &Header::default(), (Format::default(), 0, &[byte]), Time(0)).unwrap()
    }

    #[test]
    fn packets_come_out_by_timestamp() {
        let mut store = Store::new();
        for timestamp in [240, 0, 120] {
            store.insert(timestamp, 120, &arrival(timestamp as u8));
        }
        assert_eq!(store.first(), Some(0));
        assert_eq!(store.take(120, |_, bytes| bytes[0]), Some(120));
        assert_eq!(store.take(120, |_, bytes| bytes[0]), None);
        assert_eq!((store.beginning_of(239), store.beginning_of(359)), (None, Some(240)));
        store.drop_before(240);
        assert_eq!(store.first(), Some(240));
    }

    #[test]
    fn a_full_store_gives_up_the_farthest() {
        let mut store = Store::new();
        (0..=CELLS as i64).for_each(|k| store.insert(k * 120, 120, &arrival(1)));
        assert_eq!(store.take((CELLS as i64 - 1) * 120, |_, _| ()), None);
        assert_eq!(store.take(0, |_, _| ()), Some(()));
        assert_eq!(store.take(CELLS as i64 * 120, |_, _| ()), Some(()));
    }

    #[test]
    fn the_missing_are_lost_when_they_are_128_packets_old() {
        let mut tally = Tally::default();
        for sequence in (0..300).filter(|sequence| ![10, 11, 290].contains(sequence)) {
            assert!(tally.mark(sequence));
        }
        assert_eq!((tally.received, tally.lost, tally.bursts), (297, 2, 1), "290 may still come");
        assert!(tally.is_missing(290) && !tally.is_missing(291) && tally.is_missing(300));
        assert!(tally.mark(290), "it does");
        assert!(!tally.mark(290), "a duplicate is no news");
        assert!(!tally.mark(11), "too old to tell");
    }

    #[test]
    fn a_long_silence_is_counted_whole() {
        let mut tally = Tally::default();
        tally.mark(0);
        tally.mark(1_000);
        for sequence in 1_001..1_200 {
            tally.mark(sequence);
        }
        assert_eq!((tally.lost, tally.bursts), (999, 1));
    }
}
