//! Recording: this box's own input, every peer and the mix, side by side in a folder of WAV files.
//!
//! Beside the music and never in its way. Blocks of sound come from `taps`; the thread `take` puts them on one
//! time line ([`take`]) and hands it on in slices; the thread `disk` writes those ([`files`], [`track`],
//! [`project`], [`folder`]). The queues are bounded, and neither thread is ever waited for: what the disk does
//! not take in time is silence in the files, which is said once and counted.

mod files;
mod folder;
mod project;
mod take;
mod track;

use crate::clock;
use crate::taps::{Taps, Wanted};
use anyhow::Context;
use engine::tap::Block;
use files::Files;
use proto::units::SAMPLE_RATE;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, TrySendError};
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use take::{Slice, Take};

/// How often the recorder looks for blocks.
const LOOK: Duration = Duration::from_millis(20);

/// Slices that may wait for the disk: four seconds.
const QUEUE: usize = 8;

/// A recording that is under way; complete when dropped.
pub struct Recorder {
    folder: PathBuf,
    /// Why it could not go on, if so.
    ended: Arc<OnceLock<String>>,
    /// Closed, it ends the recording.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Begins a recording of the box `name` in a new folder inside `parent`.
    ///
    /// # Errors
    /// The folder cannot be made, or the system gives no thread.
    pub fn start(taps: &Taps, parent: &Path, name: &str) -> anyhow::Result<Recorder> {
        let folder = folder::create(parent, name, SystemTime::now()).with_context(|| {
            format!("no folder can be made in {}, so nothing is recorded", parent.display())
        })?;
        tracing::info!("recording into {}", folder.display());
        let files = Files::new(folder.clone(), name, track::LONGEST);
        let (slices, to_write) = sync_channel(QUEUE);
        let builder = std::thread::Builder::new().name("disk".to_owned());
        let ended = Arc::new(OnceLock::new());
        let end = Arc::clone(&ended);
        let disk =
            builder.spawn(move || write(files, &to_write, &end)).context("the system gives no thread")?;
        let blocks = taps.listen(Wanted::Everything);
        let (stop, stopped) = channel();
        let listener = Listener {
            taps: taps.clone(),
            blocks,
            take: Take::new(),
            slices,
            dropped: 0,
            told: Told::default(),
        };
        let builder = std::thread::Builder::new().name("take".to_owned());
        let thread =
            builder.spawn(move || listener.run(&stopped, disk)).context("the system gives no thread")?;
        Ok(Recorder { folder, ended, stop: Some(stop), thread: Some(thread) })
    }

    /// The folder that it goes into.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The sentence that says why it could not go on, if it has ended by itself.
    pub fn ended(&self) -> Option<String> {
        self.ended.get().cloned()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was printed already.
            let _ = thread.join();
        }
    }
}

/// What the thread `take` works with.
struct Listener {
    taps: Taps,
    blocks: tokio::sync::mpsc::Receiver<Block>,
    take: Take,
    slices: SyncSender<Slice>,
    /// Frames that the disk did not take.
    dropped: u64,
    told: Told,
}

/// What was said already and is not said again.
#[derive(Default)]
struct Told {
    gap: bool,
    crowded: bool,
}

/// Warns if something is so and was not `told` yet; whether it is told then.
fn say_once(told: bool, is_so: bool, sentence: &str) -> bool {
    if is_so && !told {
        tracing::warn!("{sentence}");
    }
    told || is_so
}

impl Listener {
    fn run(mut self, stopped: &Receiver<()>, disk: JoinHandle<Option<Written>>) {
        loop {
            let over = stopped.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout);
            if self.listen().is_err() {
                break; // the disk has said why
            }
            if over {
                self.take.finish();
                break;
            }
        }
        while let Some(slice) = self.take.poll() {
            // The music is over: now the disk may take its time. If it is gone, it has said why.
            let _ = self.slices.send(slice);
        }
        let missing = self.dropped + self.take.missing();
        drop(self);
        // A panic there was printed already.
        if let Ok(Some(written)) = disk.join() {
            tracing::info!("{}", written.in_words(missing));
        }
    }

    /// Takes in what has come.
    fn listen(&mut self) -> Result<(), DiskGone> {
        self.take.name(self.taps.names());
        let now = clock::now();
        while let Ok(block) = self.blocks.try_recv() {
            self.take.push(now, &block);
            while let Some(slice) = self.take.poll() {
                match self.slices.try_send(slice) {
                    Ok(()) => {}
                    Err(TrySendError::Full(slice)) => self.dropped += slice.frames,
                    Err(TrySendError::Disconnected(_)) => return Err(DiskGone),
                }
            }
        }
        let gap = "the recording has a gap: the disk, this computer or the sound card was too slow; silence is in \
                   its place, and how long all gaps were is said at the end";
        self.told.gap = say_once(self.told.gap, self.dropped + self.take.missing() > 0, gap);
        let crowded = "so many boxes of different names came that the recording has no track for the last; the \
                       mix has them";
        self.told.crowded = say_once(self.told.crowded, self.take.is_crowded(), crowded);
        Ok(())
    }
}

/// The thread `disk` has ended.
struct DiskGone;

/// What is said of a recording at its end.
struct Written {
    folder: String,
    frames: u64,
    tracks: usize,
}

impl Written {
    fn in_words(&self, missing: u64) -> String {
        let Written { folder, frames, tracks } = self;
        let gaps = match missing {
            0 => String::new(),
            missing => format!(", {:.3} s of it missing", missing as f64 / f64::from(SAMPLE_RATE)),
        };
        format!("recorded {} on {tracks} tracks{gaps}, in {folder}", hours(*frames))
    }
}

/// The thread `disk`: writes until nothing more comes. `None` when it could not go on, which it has said.
fn write(mut files: Files, slices: &Receiver<Slice>, ended: &OnceLock<String>) -> Option<Written> {
    while let Ok(slice) = slices.recv() {
        if let Err(error) = write_all(&mut files, slice, slices) {
            let why = files.give_up(&error);
            tracing::warn!("{why}");
            ended.get_or_init(|| why);
            return None;
        }
    }
    let folder = files.folder().display().to_string();
    Some(Written { folder, frames: files.frames(), tracks: files.tracks() })
}

/// Writes what waits, and then once for all of it brings it to the disk: a slow one is asked less often.
fn write_all(files: &mut Files, mut slice: Slice, slices: &Receiver<Slice>) -> std::io::Result<()> {
    loop {
        files.add(&slice)?;
        slice = match slices.try_recv() {
            Ok(slice) => slice,
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => return files.settle(),
        };
    }
}

/// Frames as hours, minutes and seconds.
fn hours(frames: u64) -> String {
    let seconds = frames / u64::from(SAMPLE_RATE);
    format!("{}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::tap::{BLOCK, Source};

    /// A piece of the own input; a frame of it has the same value wherever it is.
    fn block(frame: i64) -> Block {
        Block { source: Source::Own, frame, frames: BLOCK as u16, samples: [[0.25; 2]; BLOCK] }
    }

    #[test]
    fn what_a_slow_disk_does_not_take_is_silence_and_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let (to, blocks) = tokio::sync::mpsc::channel(16);
        let (slices, to_write) = sync_channel(2);
        let told = Told::default();
        let mut listener =
            Listener { taps: Taps::default(), blocks, take: Take::new(), slices, dropped: 0, told };
        // Five seconds in which the disk does nothing at all: two slices of half a second wait for it.
        for frame in (0..240_000).step_by(BLOCK) {
            to.try_send(block(frame)).unwrap();
            assert!(listener.listen().is_ok(), "nobody waits for the disk");
        }
        assert_eq!(listener.dropped, 7 * 24_000, "nine were complete");
        assert!(listener.told.gap);

        let files = Files::new(folder.path().to_owned(), "porto", track::LONGEST);
        let disk = std::thread::spawn(move || write(files, &to_write, &OnceLock::new()));
        let (stop, stopped) = channel();
        drop(stop);
        listener.run(&stopped, disk);
        let reader = hound::WavReader::open(folder.path().join("01 porto.wav")).unwrap();
        let left: Vec<i32> = reader.into_samples().step_by(2).map(|value| value.unwrap()).collect();
        assert_eq!(left.len(), 240_000);
        for (range, wanted) in [(0..48_000, 1 << 21), (48_000..216_000, 0), (216_000..240_000, 1 << 21)] {
            assert!(left[range.clone()].iter().all(|value| *value == wanted), "{range:?}");
        }
    }

    #[test]
    fn a_recording_ends_when_the_disk_does() {
        let (to, blocks) = tokio::sync::mpsc::channel(1_000);
        let (slices, to_write) = sync_channel(2);
        let told = Told::default();
        let listener =
            Listener { taps: Taps::default(), blocks, take: Take::new(), slices, dropped: 0, told };
        for frame in (0..48_000).step_by(BLOCK) {
            to.try_send(block(frame)).unwrap();
        }
        drop(to_write);
        let (_stop, stopped) = channel();
        listener.run(&stopped, std::thread::spawn(|| None));
    }

    #[test]
    fn the_end_says_how_long_and_what_is_missing() {
        let written = Written { folder: "takes/a".to_owned(), frames: 3_723 * 48_000 + 47_999, tracks: 4 };
        assert_eq!(written.in_words(0), "recorded 1:02:03 on 4 tracks, in takes/a");
        assert_eq!(written.in_words(600), "recorded 1:02:03 on 4 tracks, 0.013 s of it missing, in takes/a");
    }
}
