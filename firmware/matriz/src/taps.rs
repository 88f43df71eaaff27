//! The far end of the tap: blocks of sound, from the audio thread's ring to whoever listens.
//!
//! Before it `engine::tap`, after it the recorder and the programmes. A thread of its own empties the ring, so that
//! nobody who is slow holds up anybody: what a listener does not take in time is dropped for him, and shows in
//! the frames' numbers. Outlives the sound card, which may come and go.

use anyhow::Context;
use engine::tap::{Block, Source};
use proto::control::{SLOTS, Tapped};
use rtrb::Consumer;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;

/// How often the ring is emptied; it holds 0.3 s of everything.
const EVERY: Duration = Duration::from_millis(10);

/// Blocks that wait for a listener: 1 s of everything, 2 s of one source.
const WAITING: usize = 8_192;
const WAITING_OF_ONE: usize = 1_024;

/// Names of peers that are remembered, at most.
const MOST_NAMES: usize = 64;

/// What a listener wants to hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The own input, the mix, and every peer.
    Everything,
    /// One source.
    Only(Source),
    /// The own input and the mix: who adds them up has the whole session.
    OwnAndMix,
    /// One peer by name, wherever he sits: while he is away, blocks of silence of [`Source::Mix`].
    Named(String),
}

/// The listeners and who sits where. A handle; clones are the same.
#[derive(Clone, Default)]
pub struct Taps {
    hub: Arc<(Mutex<Hub>, Condvar)>,
}

#[derive(Default)]
struct Hub {
    listeners: Vec<(Wanted, mpsc::Sender<Block>)>,
    names: [Option<String>; SLOTS],
    known: BTreeSet<String>,
}

impl Taps {
    /// Blocks of what is wanted, those of each source in order of time; ends never. Whoever drops the receiver wants
    /// nothing any more.
    pub fn listen(&self, wanted: Wanted) -> mpsc::Receiver<Block> {
        let waiting = if wanted == Wanted::Everything { WAITING } else { WAITING_OF_ONE };
        let (to, blocks) = mpsc::channel(waiting);
        self.lock().listeners.push((wanted, to));
        self.hub.1.notify_all();
        blocks
    }

    /// A peer took a slot, or left it.
    pub fn name_slot(&self, slot: u8, name: Option<&str>) {
        let mut hub = self.lock();
        if let Some(place) = hub.names.get_mut(usize::from(slot)) {
            *place = name.map(str::to_owned);
        }
        if let Some(name) = name.filter(|_| hub.known.len() < MOST_NAMES) {
            hub.known.insert(name.to_owned());
        }
    }

    /// Names of the peers by slot, as they are now.
    pub fn names(&self) -> [Option<String>; SLOTS] {
        self.lock().names.clone()
    }

    /// Names of all peers that were ever there, 64 at most.
    pub fn known(&self) -> Vec<String> {
        self.lock().known.iter().cloned().collect()
    }

    /// The sources that the engine shall copy now.
    pub fn wanted(&self) -> Tapped {
        let hub = self.lock();
        Tapped(hub.listeners.iter().map(|(wanted, _)| hub.mask(wanted)).fold(0, |all, one| all | one))
    }

    fn lock(&self) -> MutexGuard<'_, Hub> {
        self.hub.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    fn slot(&self, name: &str) -> Option<u8> {
        self.names.iter().position(|there| there.as_deref() == Some(name)).map(|slot| slot as u8)
    }

    fn mask(&self, wanted: &Wanted) -> u32 {
        match wanted {
            Wanted::Only(source) => source.mask().0,
            Wanted::OwnAndMix => Source::Own.mask().0 | Source::Mix.mask().0,
            Wanted::Named(name) => self.slot(name).map_or(Source::Mix, Source::Peer).mask().0,
            Wanted::Everything => {
                let peers = (0..SLOTS as u8).filter(|slot| self.names[usize::from(*slot)].is_some());
                let peers = peers.map(|slot| Source::Peer(slot).mask().0).fold(0, |all, one| all | one);
                peers | Source::Own.mask().0 | Source::Mix.mask().0
            }
        }
    }

    /// Hands a block to everybody who wants it.
    fn hand_out(&mut self, block: &Block) {
        let Hub { listeners, names, .. } = self;
        for (wanted, to) in listeners {
            let block = match wanted {
                Wanted::Everything => Some(*block),
                Wanted::Only(source) => (*source == block.source).then_some(*block),
                Wanted::OwnAndMix => matches!(block.source, Source::Own | Source::Mix).then_some(*block),
                Wanted::Named(name) => named(name, names, block),
            };
            // Full: he is too slow, and this is lost for him alone. Closed: he is taken off the list below.
            if let Some(block) = block {
                let _ = to.try_send(block);
            }
        }
    }
}

/// What somebody hears who wants the peer of that name.
fn named(name: &str, names: &[Option<String>; SLOTS], block: &Block) -> Option<Block> {
    let is_he = |there: &Option<String>| there.as_deref() == Some(name);
    match block.source {
        Source::Peer(slot) => names.get(usize::from(slot)).is_some_and(is_he).then_some(*block),
        Source::Mix if !names.iter().any(is_he) => {
            Some(Block { samples: [[0.0; 2]; engine::tap::BLOCK], ..*block })
        }
        _ => None,
    }
}

/// The thread that empties the ring of one engine; ends when dropped.
pub struct Pump {
    taps: Taps,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pump {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(taps: Taps, mut blocks: Consumer<Block>) -> anyhow::Result<Pump> {
        let stop = Arc::new(AtomicBool::new(false));
        let run = {
            let (taps, stop) = (taps.clone(), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    taps.empty(&mut blocks);
                    taps.rest();
                }
            }
        };
        let builder = std::thread::Builder::new().name("tap".to_owned());
        let thread = builder.spawn(run).context("the system gives no thread for copies of the sound")?;
        Ok(Pump { taps, stop, thread: Some(thread) })
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.taps.hub.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there was printed already.
            let _ = thread.join();
        }
    }
}

impl Taps {
    fn empty(&self, blocks: &mut Consumer<Block>) {
        let mut hub = self.lock();
        hub.listeners.retain(|(_, to)| !to.is_closed());
        while let Ok(block) = blocks.pop() {
            hub.hand_out(&block);
        }
    }

    /// Until it is time to look again: soon while somebody listens, else when somebody does.
    fn rest(&self) {
        let hub = self.lock();
        let rest = if hub.listeners.is_empty() { 50 * EVERY } else { EVERY };
        drop(self.hub.1.wait_timeout(hub, rest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtrb::RingBuffer;

    fn block(source: Source, frame: i64) -> Block {
        Block { source, frame, frames: 2, samples: [[0.5; 2]; engine::tap::BLOCK] }
    }

    #[test]
    fn everybody_gets_what_he_wants_and_who_is_gone_costs_nothing() {
        let taps = Taps::default();
        assert_eq!(taps.wanted(), Tapped(0));
        taps.name_slot(2, Some("lisboa"));
        let mut everything = taps.listen(Wanted::Everything);
        let mut mix = taps.listen(Wanted::Only(Source::Mix));
        assert_eq!(taps.wanted(), Tapped(0b1_0011));
        let (mut to, mut ring) = RingBuffer::new(8);
        for source in [Source::Own, Source::Mix, Source::Peer(2)] {
            to.push(block(source, 7)).unwrap();
        }
        taps.empty(&mut ring);
        let sources: Vec<Source> =
            std::iter::from_fn(|| everything.try_recv().ok()).map(|b| b.source).collect();
        assert_eq!(sources, [Source::Own, Source::Mix, Source::Peer(2)]);
        assert_eq!(mix.try_recv().unwrap().source, Source::Mix);
        assert!(mix.try_recv().is_err());
        drop((everything, mix));
        taps.empty(&mut ring);
        assert_eq!(taps.wanted(), Tapped(0));
    }

    #[test]
    fn a_peer_is_found_by_name_and_is_silence_while_away() {
        let taps = Taps::default();
        let mut lisboa = taps.listen(Wanted::Named("lisboa".to_owned()));
        assert_eq!(taps.wanted(), Source::Mix.mask());
        let (mut to, mut ring) = RingBuffer::new(8);
        to.push(block(Source::Mix, 0)).unwrap();
        taps.empty(&mut ring);
        assert_eq!(lisboa.try_recv().unwrap().sound(), [[0.0; 2]; 2]);
        taps.name_slot(5, Some("lisboa"));
        assert_eq!(taps.wanted(), Source::Peer(5).mask());
        for source in [Source::Mix, Source::Peer(4), Source::Peer(5)] {
            to.push(block(source, 2)).unwrap();
        }
        taps.empty(&mut ring);
        assert_eq!(lisboa.try_recv().unwrap().source, Source::Peer(5));
        assert!(lisboa.try_recv().is_err());
        taps.name_slot(5, None);
        assert_eq!((taps.wanted(), taps.known()), (Source::Mix.mask(), vec!["lisboa".to_owned()]));
    }

    #[test]
    fn a_slow_listener_loses_blocks_and_nobody_waits_for_him() {
        let taps = Taps::default();
        let mut slow = taps.listen(Wanted::Only(Source::Own));
        let (mut to, mut ring) = RingBuffer::new(1);
        for frame in 0..WAITING_OF_ONE as i64 + 10 {
            to.push(block(Source::Own, frame)).unwrap();
            taps.empty(&mut ring);
        }
        let got = std::iter::from_fn(|| slow.try_recv().ok()).count();
        assert_eq!(got, WAITING_OF_ONE);
    }

    #[test]
    fn the_thread_hands_on_and_ends() {
        let taps = Taps::default();
        let (mut to, ring) = RingBuffer::new(4);
        let pump = Pump::start(taps.clone(), ring).unwrap();
        let mut own = taps.listen(Wanted::Only(Source::Own));
        to.push(block(Source::Own, 3)).unwrap();
        assert_eq!(own.blocking_recv().unwrap().frame, 3);
        drop(pump);
    }
}
