//! The project file of a recording: text that Reaper opens, with the tracks named and in their places.
//!
//! Written by [`super::files`] whenever the recording has grown. Blocks in angle brackets, a property a line;
//! only what places a track is said, all else is Reaper's choice. Source: Cockos' wiki, "State Chunk Definitions".

use proto::units::SAMPLE_RATE;
use std::fmt::Write;

/// A track with its pieces.
pub struct Lane<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether it shall be silent when the project is opened: the mix would sound twice.
    pub muted: bool,
    /// Its pieces, in order.
    pub pieces: Vec<Piece>,
}

/// A file on a track.
#[derive(Clone)]
pub struct Piece {
    /// Its name, in the folder of the project.
    pub file: String,
    /// Where it begins and how long it is, in frames.
    pub from: u64,
    /// Its length in frames.
    pub frames: u64,
}

/// The project as text.
pub fn text(lanes: &[Lane<'_>]) -> String {
    let mut text = format!("<REAPER_PROJECT 0.1 \"6.0\" 0\n  SAMPLERATE {SAMPLE_RATE} 1 0\n");
    for lane in lanes {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  <TRACK\n    NAME {}", quoted(lane.name));
        let _ = writeln!(text, "    MUTESOLO {} 0 0", u8::from(lane.muted));
        for Piece { file, from, frames } in &lane.pieces {
            let _ = writeln!(text, "    <ITEM\n      POSITION {}", seconds(*from));
            let _ = writeln!(text, "      LENGTH {}\n      LOOP 0", seconds(*frames));
            let _ = writeln!(text, "      NAME {}", quoted(lane.name));
            let _ = writeln!(text, "      <SOURCE WAVE\n        FILE {}\n      >\n    >", quoted(file));
        }
        text += "  >\n";
    }
    text += ">\n";
    text
}

/// A text in quotes. There is no escape in these files: what would end the text is left out.
fn quoted(text: &str) -> String {
    let text: String = text.chars().filter(|c| *c != '"' && !c.is_control()).collect();
    format!("\"{text}\"")
}

/// Frames as seconds, exact to the frame and beyond: 1/48000 s is 0.0000208 s.
fn seconds(frames: u64) -> String {
    let rate = u64::from(SAMPLE_RATE);
    let billionths = (frames % rate * 1_000_000_000 + rate / 2) / rate;
    format!("{}.{billionths:09}", frames / rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracks_and_pieces_are_blocks_in_blocks() {
        let piece = |file: &str, from, frames| Piece { file: file.to_owned(), from, frames };
        let lanes = [
            Lane { name: "a \"b\"\n", muted: false, pieces: vec![piece("1.wav", 0, 48_001)] },
            Lane {
                name: "mix",
                muted: true,
                pieces: vec![piece("2.wav", 0, 24_000), piece("3.wav", 24_000, 1)],
            },
        ];
        let item = |name: &str, file: &str, from: &str, length: &str| {
            format!(
                "    <ITEM\n      POSITION {from}\n      LENGTH {length}\n      LOOP 0\n      NAME {name}\n      \
                 <SOURCE WAVE\n        FILE {file}\n      >\n    >\n"
            )
        };
        let wanted = [
            "<REAPER_PROJECT 0.1 \"6.0\" 0\n  SAMPLERATE 48000 1 0\n",
            "  <TRACK\n    NAME \"a b\"\n    MUTESOLO 0 0 0\n",
            &item("\"a b\"", "\"1.wav\"", "0.000000000", "1.000020833"),
            "  >\n  <TRACK\n    NAME \"mix\"\n    MUTESOLO 1 0 0\n",
            &item("\"mix\"", "\"2.wav\"", "0.000000000", "0.500000000"),
            &item("\"mix\"", "\"3.wav\"", "0.500000000", "0.000020833"),
            "  >\n>\n",
        ];
        assert_eq!(text(&lanes), wanted.concat());
    }

    #[test]
    fn no_frame_is_lost_in_seconds() {
        for frames in [0, 1, 47_999, 48_000, 691_200_000, 691_200_001, 1_000_000_000_007] {
            let back: f64 = seconds(frames).parse().unwrap();
            assert_eq!((back * 48_000.0).round() as u64, frames);
        }
    }
}
