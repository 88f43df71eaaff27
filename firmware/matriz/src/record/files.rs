//! The files of a recording: a folder with a WAV file for each track, and the project file.
//!
//! Takes the slices of [`super::take`]. All files of a part are equally long, and their headers never say more
//! than what every track has on the disk. Before a WAV file could become too long all tracks begin a new one, in
//! the same frame: the next part. What does not fit ends the recording, with all files cut to the last frame
//! that every one of them has.

use super::project::{self, Lane, Piece};
use super::take::{Slice, Who};
use super::track::TrackFile;
use super::{folder, hours};
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// The files that are being written.
pub struct Files {
    folder: PathBuf,
    /// What this box is called: the name of its own track.
    own: String,
    tracks: Vec<Written>,
    /// Frames in a part, at most.
    longest: u64,
    /// The part's number, from 1, and where it begins, in frames of the take.
    part: u32,
    from: u64,
    /// Up to where all headers say that there is something, and up to where there is, in frames of the take.
    declared: u64,
    written: u64,
}

/// A track with its files.
struct Written {
    who: Who,
    file: TrackFile,
    /// The file's name, and the ones of the parts before.
    name: String,
    before: Vec<Piece>,
}

impl Files {
    /// Files in `folder`, which is there, of the box `own`; a new part after `longest` frames.
    pub fn new(folder: PathBuf, own: &str, longest: u64) -> Files {
        Files {
            folder,
            own: own.to_owned(),
            tracks: Vec::new(),
            longest,
            part: 1,
            from: 0,
            declared: 0,
            written: 0,
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How many tracks there are.
    pub fn tracks(&self) -> usize {
        self.tracks.len()
    }

    /// Frames that are on the disk for certain.
    pub fn frames(&self) -> u64 {
        self.declared
    }

    /// Writes a slice. If one was left out before it, silence is in its place.
    ///
    /// # Errors
    /// No room, or a disk that fails; then see [`Files::give_up`].
    pub fn add(&mut self, slice: &Slice) -> Result<()> {
        let end = slice.from + slice.frames;
        while self.written < end {
            if self.written == self.from + self.longest {
                self.begin_part()?;
            }
            let until = if self.written < slice.from { slice.from } else { end };
            self.write(slice, until.min(self.from + self.longest))?;
        }
        Ok(())
    }

    /// Brings to the disk what was written, and then lets the headers and the project say so.
    ///
    /// # Errors
    /// As [`Files::add`].
    pub fn settle(&mut self) -> Result<()> {
        self.tracks.iter().try_for_each(|track| track.file.sync())?;
        self.tracks.iter_mut().try_for_each(|track| track.file.declare())?;
        self.tracks.iter().try_for_each(|track| track.file.sync())?;
        self.declared = self.written;
        self.save_project()
    }

    /// Ends a recording that cannot go on: all tracks end where the shortest does. What is said about it.
    pub fn give_up(mut self, why: &Error) -> String {
        let frames = self.declared - self.from;
        for track in &mut self.tracks {
            // A disk that refuses this too leaves a file that is longer than it should be.
            let _ = track.file.cut_back(frames);
        }
        // Likewise the project before this one. On a full disk that one makes room.
        if self.save_project().is_err() {
            let _ = std::fs::remove_file(self.project());
            let _ = self.save_project();
        }
        let folder = self.folder.display();
        let what = match why.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                format!(
                    "the disk with {folder} is full ({why}): make room, or set \"record_folder\" to another disk"
                )
            }
            ErrorKind::FileTooLarge => {
                format!("a file in {folder} may not become longer ({why}): raise the limit")
            }
            _ => format!("{folder} cannot be written ({why}): check the disk"),
        };
        let length = hours(self.declared);
        format!(
            "the recording has ended after {length}, up to there it is whole, and the music goes on; {what}"
        )
    }

    /// Makes every track longer, up to position `to` of the take, by what the slice has there.
    fn write(&mut self, slice: &Slice, to: u64) -> Result<()> {
        for track in slice.tracks.iter().skip(self.tracks.len()) {
            self.open(track.who.clone())?;
        }
        for (index, track) in self.tracks.iter_mut().enumerate() {
            let sound = slice.tracks.get(index).map_or(&[][..], |track| &track.sound);
            let within = |position: u64| {
                let at = usize::try_from(position.saturating_sub(slice.from)).unwrap_or(usize::MAX);
                at.min(sound.len())
            };
            track.file.extend(&sound[within(self.written)..within(to)], to - self.written)?;
        }
        self.written = to;
        Ok(())
    }

    /// Adds a track, which is silent so far.
    fn open(&mut self, who: Who) -> Result<()> {
        let name = folder::file(self.tracks.len() + 1, self.label(&who), self.part);
        let mut file = TrackFile::create(&self.folder.join(&name), self.declared - self.from)?;
        let opened = file.extend(&[], self.written - self.declared);
        self.tracks.push(Written { who, file, name, before: Vec::new() });
        opened
    }

    /// All tracks go on in new files.
    fn begin_part(&mut self) -> Result<()> {
        self.settle()?;
        let mut files = Vec::new();
        for (index, track) in self.tracks.iter().enumerate() {
            let name = folder::file(index + 1, self.label(&track.who), self.part + 1);
            match TrackFile::create(&self.folder.join(&name), 0) {
                Ok(file) => files.push((file, name)),
                Err(error) => {
                    for (_, name) in files {
                        // What cannot be removed either is a file without a sound.
                        let _ = std::fs::remove_file(self.folder.join(name));
                    }
                    return Err(error);
                }
            }
        }
        for (track, (file, name)) in self.tracks.iter_mut().zip(files) {
            let file_before = std::mem::replace(&mut track.name, name);
            track.before.push(Piece { file: file_before, from: self.from, frames: self.longest });
            track.file = file;
        }
        self.part += 1;
        self.from = self.written;
        Ok(())
    }

    fn save_project(&self) -> Result<()> {
        let lanes: Vec<Lane> = self.tracks.iter().map(|track| self.lane(track)).collect();
        // Whoever opens it finds the one before, or this one.
        let new = self.project().with_extension("rpp.new");
        let saved =
            std::fs::write(&new, project::text(&lanes)).and_then(|()| std::fs::rename(&new, self.project()));
        if saved.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        saved
    }

    /// The project's file, which is named as the folder.
    fn project(&self) -> PathBuf {
        let mut name = self.folder.file_name().unwrap_or_default().to_owned();
        name.push(".rpp");
        self.folder.join(name)
    }

    /// A track as the project shows it.
    fn lane<'a>(&'a self, track: &'a Written) -> Lane<'a> {
        let frames = self.declared - self.from;
        let current = Piece { file: track.name.clone(), from: self.from, frames };
        Lane {
            name: self.label(&track.who),
            muted: track.who == Who::Mix,
            pieces: track.before.iter().cloned().chain([current]).collect(),
        }
    }

    fn label<'a>(&'a self, who: &'a Who) -> &'a str {
        match who {
            Who::Own => &self.own,
            Who::Mix => "mix",
            Who::Peer(name) => name,
        }
    }
}

#[cfg(test)]
mod tests;
