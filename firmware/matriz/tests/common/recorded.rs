//! A recording as it lies on the disk: the WAV files, and the project that a DAW would open.
//!
//! Reads the project by its grammar (blocks in angle brackets, a property a line, texts in quotes), and checks
//! on the way what is true of every recording: each file that it names is there, each WAV file is whole and
//! stands in it, and all tracks are equally long.

use std::path::{Path, PathBuf};

/// A recording.
pub struct Recorded {
    pub folder: PathBuf,
    pub tracks: Vec<Track>,
}

/// A track: its name and its frames, of 24 bits.
pub struct Track {
    pub name: String,
    pub frames: Vec<[i32; 2]>,
}

impl Recorded {
    /// The one recording inside `parent`, which has ended in order.
    pub fn only(parent: &Path) -> Recorded {
        let folder = only_folder(parent);
        let stem = folder.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(folder.join(format!("{stem}.rpp"))).unwrap();
        let project = parse(&text);
        assert_eq!(project.words[..2], ["REAPER_PROJECT", "0.1"]);
        let tracks: Vec<Track> = project.blocks("TRACK").map(|track| read_track(&folder, track)).collect();
        let mut named: Vec<&str> = project.blocks("TRACK").map(|track| file(only(track, "ITEM"))).collect();
        named.sort_unstable();
        assert_eq!(wav_files(&folder), named, "the project has all files");
        for track in &tracks {
            assert_eq!(track.frames.len(), tracks[0].frames.len(), "{} is as long as the others", track.name);
        }
        Recorded { folder, tracks }
    }

    /// The names of the tracks.
    pub fn names(&self) -> Vec<&str> {
        self.tracks.iter().map(|track| track.name.as_str()).collect()
    }

    /// The frames of the track of this name.
    pub fn track(&self, name: &str) -> &[[i32; 2]] {
        &self.tracks.iter().find(|track| track.name == name).unwrap().frames
    }
}

/// The folder of the one recording in `parent`.
pub fn only_folder(parent: &Path) -> PathBuf {
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(folders.len(), 1, "one recording: {folders:?}");
    folders.remove(0)
}

/// The names of the WAV files in a folder, sorted.
pub fn wav_files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".wav"));
    names.sort_unstable();
    names
}

/// A file of a recording: its frames, as far as its header says.
pub fn read(path: &Path) -> Vec<[i32; 2]> {
    let mut reader = hound::WavReader::open(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let spec = reader.spec();
    assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (2, 48_000, 24), "{path:?}");
    let values: Vec<i32> = reader.samples().map(|value| value.unwrap()).collect();
    values.chunks_exact(2).map(|frame| [frame[0], frame[1]]).collect()
}

/// A track of the project, in one piece as long as its file.
fn read_track(folder: &Path, track: &Block) -> Track {
    let item = only(track, "ITEM");
    let path = folder.join(file(item));
    let frames = read(&path);
    let seconds: f64 = item.property("LENGTH").parse().unwrap();
    assert_eq!((seconds * 48_000.0).round() as usize, frames.len(), "{path:?}");
    assert_eq!(item.property("POSITION").parse(), Ok(0.0));
    let bytes = std::fs::metadata(&path).unwrap().len();
    assert_eq!(bytes, 44 + 6 * frames.len() as u64, "{path:?} has nothing behind its end");
    Track { name: track.property("NAME").to_owned(), frames }
}

fn only<'a>(block: &'a Block, kind: &'a str) -> &'a Block {
    let mut found = block.blocks(kind);
    let (first, second) = (found.next(), found.next());
    assert!(second.is_none(), "one {kind}");
    first.unwrap_or_else(|| panic!("a {kind}"))
}

fn file(item: &Block) -> &str {
    let source = only(item, "SOURCE");
    assert_eq!(source.words, ["SOURCE", "WAVE"]);
    source.property("FILE")
}

/// A block of a project file.
#[derive(Default)]
struct Block {
    /// The words of its first line.
    words: Vec<String>,
    properties: Vec<Vec<String>>,
    inner: Vec<Block>,
}

impl Block {
    fn blocks<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Block> {
        self.inner.iter().filter(move |block| block.words[0] == kind)
    }

    /// The value of a property that there must be once.
    fn property(&self, key: &str) -> &str {
        let found: Vec<_> = self.properties.iter().filter(|words| words[0] == key).collect();
        assert!(found.len() == 1 && found[0].len() == 2, "{key}: {found:?}");
        &found[0][1]
    }
}

fn parse(text: &str) -> Block {
    let mut open: Vec<Block> = vec![Block::default()];
    for line in text.lines().map(str::trim) {
        if line == ">" {
            let block = open.pop().unwrap();
            open.last_mut().expect("no block ends that has not begun").inner.push(block);
        } else if let Some(line) = line.strip_prefix('<') {
            open.push(Block { words: words(line), ..Block::default() });
        } else {
            open.last_mut().unwrap().properties.push(words(line));
        }
    }
    let mut root = open.pop().unwrap();
    assert!(open.is_empty(), "a block has no end");
    assert!(root.properties.is_empty() && root.inner.len() == 1, "one project");
    root.inner.remove(0)
}

/// The words of a line; what is in quotes is one.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut rest) = (Vec::new(), line.trim_start());
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or_else(|| panic!("a quote has no end: {line}")),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    assert!(!words.is_empty(), "no line is empty");
    words
}
