//! One WAV file of a recording: stereo, 24 bits, 48 kHz, readable at every moment.
//!
//! Below [`super::files`]. Written here and not by `hound`, which can neither leave silence out nor take back
//! what did not fit: silence is a hole in the file that takes no room on most disks, and the header says the
//! length that all tracks have for certain. Sources: Microsoft and IBM, "Multimedia Programming Interface and
//! Data Specifications 1.0" (1991), RIFF WAVE.

use proto::units::SAMPLE_RATE;
use std::fs::File;
use std::io::{Error, Result};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes before the first frame.
const HEADER: u64 = 44;

/// Bytes of a frame: two samples of 24 bits.
const FRAME: u64 = 6;

/// Frames in a file, at most: four hours. With 32 bits for its length a WAV file has room for 4 h 8 min.
pub const LONGEST: u64 = 4 * 3_600 * SAMPLE_RATE as u64;

/// A file that is being written.
pub struct TrackFile {
    file: File,
    /// How many frames the header says, and how many there are.
    declared: u64,
    written: u64,
}

impl TrackFile {
    /// Makes the file, with `frames` frames of silence in it.
    ///
    /// # Errors
    /// It cannot be made, or is there already. Then nothing is left behind.
    pub fn create(path: &Path, frames: u64) -> Result<TrackFile> {
        let file = File::options().write(true).create_new(true).open(path)?;
        let mut track = TrackFile { file, declared: 0, written: 0 };
        if let Err(error) = track.extend(&[], frames).and_then(|()| track.declare()) {
            // What cannot be removed either is a file without a sound.
            let _ = std::fs::remove_file(path);
            return Err(error);
        }
        Ok(track)
    }

    /// Makes it `frames` frames longer: first `sound`, then silence, which is a hole in the file. The header does
    /// not know of it yet.
    ///
    /// # Errors
    /// No room, or a disk that fails.
    pub fn extend(&mut self, sound: &[[f32; 2]], frames: u64) -> Result<()> {
        let silent = sound.iter().all(|frame| *frame == [0.0; 2]);
        let sound = if silent { &[] } else { sound };
        let mut bytes = Vec::with_capacity(sound.len() * FRAME as usize);
        for value in sound.iter().flatten() {
            bytes.extend_from_slice(&whole(*value).to_le_bytes()[..3]);
        }
        self.file.write_all_at(&bytes, HEADER + self.written * FRAME)?;
        self.file.set_len(HEADER + (self.written + frames) * FRAME)?;
        self.written += frames;
        Ok(())
    }

    /// Makes what was written outlast a power cut.
    ///
    /// # Errors
    /// A disk that fails, or that finds only now that it is full.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data()
    }

    /// Lets the header say all that was written.
    ///
    /// # Errors
    /// A disk that fails. The header is then the one before.
    pub fn declare(&mut self) -> Result<()> {
        self.file.write_all_at(&header(self.written)?, 0)?;
        self.declared = self.written;
        Ok(())
    }

    /// Takes back what goes beyond `frames` frames.
    ///
    /// # Errors
    /// A disk that fails. The file may then be longer than its header says, which players do not mind.
    pub fn cut_back(&mut self, frames: u64) -> Result<()> {
        self.written = frames;
        if self.declared != frames {
            self.declare()?;
        }
        self.file.set_len(HEADER + frames * FRAME)
    }
}

/// A sample as 24 bits; what is louder than full scale is clipped.
fn whole(value: f32) -> i32 {
    (value * 8_388_608.0).round().clamp(-8_388_608.0, 8_388_607.0) as i32
}

fn header(frames: u64) -> Result<[u8; HEADER as usize]> {
    let data = u32::try_from(frames * FRAME).ok().filter(|data| *data <= u32::MAX - HEADER as u32);
    let data = data.ok_or_else(|| Error::other("longer than a WAV file can be"))?;
    let second = SAMPLE_RATE * FRAME as u32;
    let mut header = [0; HEADER as usize];
    let fields: [&[u8]; 13] = [
        b"RIFF",
        &(data + HEADER as u32 - 8).to_le_bytes(),
        b"WAVE",
        b"fmt ",
        &16_u32.to_le_bytes(), // bytes of this chunk
        &1_u16.to_le_bytes(),  // plain samples
        &2_u16.to_le_bytes(),  // channels
        &SAMPLE_RATE.to_le_bytes(),
        &second.to_le_bytes(),
        &(FRAME as u16).to_le_bytes(),
        &24_u16.to_le_bytes(), // bits
        b"data",
        &data.to_le_bytes(),
    ];
    let mut at = 0;
    for field in fields {
        header[at..at + field.len()].copy_from_slice(field);
        at += field.len();
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> Vec<i32> {
        let mut reader = hound::WavReader::open(path).unwrap();
        let spec = reader.spec();
        assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (2, 48_000, 24));
        assert_eq!(spec.sample_format, hound::SampleFormat::Int);
        reader.samples().map(|value| value.unwrap()).collect()
    }

    #[test]
    fn a_file_is_whole_at_every_moment() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        let mut track = TrackFile::create(&path, 2).unwrap();
        assert_eq!(read(&path), [0; 4]);
        track.extend(&[[0.5, -0.5], [2.0, -2.0], [f32::NAN, 1.0 / 8_388_608.0]], 4).unwrap();
        assert_eq!(read(&path), [0; 4], "not before it is declared");
        track.declare().unwrap();
        track.sync().unwrap();
        let whole = [0, 0, 0, 0, 4_194_304, -4_194_304, 8_388_607, -8_388_608, 0, 1, 0, 0];
        assert_eq!(read(&path), whole);
        track.extend(&[[0.25; 2]; 100], 100).unwrap();
        track.cut_back(6).unwrap();
        assert_eq!(read(&path), whole);
        track.extend(&[[0.25; 2]; 10], 10).unwrap();
        track.declare().unwrap();
        track.cut_back(6).unwrap();
        assert_eq!(read(&path), whole, "also what was declared already");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), HEADER + 6 * FRAME);
        assert!(TrackFile::create(&path, 0).is_err(), "it is not overwritten");
    }

    #[test]
    fn silence_takes_no_room() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        let mut track = TrackFile::create(&path, 10_000_000).unwrap();
        track.extend(&vec![[0.0; 2]; 1_000_000], 1_000_000).unwrap();
        track.declare().unwrap();
        track.sync().unwrap();
        let disk = std::fs::metadata(&path).unwrap();
        assert_eq!(disk.len(), HEADER + 11_000_000 * FRAME);
        assert!(disk.blocks() * 512 < disk.len() / 100, "{} blocks of 512 bytes", disk.blocks());
    }

    #[test]
    fn samples_of_16_bits_come_back_exactly() {
        for sample in i16::MIN..=i16::MAX {
            assert_eq!(whole(f32::from(sample) / 32_768.0), i32::from(sample) * 256);
        }
    }

    #[test]
    fn the_longest_file_has_a_header_and_a_longer_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long.wav");
        let mut track = TrackFile::create(&path, LONGEST).unwrap();
        assert_eq!(u64::from(hound::WavReader::open(&path).unwrap().duration()), LONGEST);
        track.extend(&[], 30_000_000).unwrap();
        assert!(track.declare().is_err());
    }
}
