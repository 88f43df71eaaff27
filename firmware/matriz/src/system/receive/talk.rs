//! What the box says while it updates, and how the two sides of the door tell it to each other.
//!
//! The service that installs speaks in lines: `+ sentence` goes on, `! sentence` is why it was refused, `.` is a good
//! end. The relay ([`super::relay`]) shows them to whoever came in by SSH. The same progress lies in a file for the
//! display. Whoever listens may be gone; that disturbs nothing here.

use crate::system::Root;
use std::io::Write;
use std::path::PathBuf;

/// Where the progress is for the display, a line of text; it is not there when no update is under way.
pub const PROGRESS: &str = "run/matriz-system/update";

/// Percents between two lines of the same step.
const STEP: u8 = 10;

/// The longest line that is passed on, in bytes; the rest is left out.
pub const LONGEST: usize = 1_000;

/// The service's mouth.
pub struct Talk<W: Write> {
    /// Whoever listens, as long as somebody does.
    to: Option<W>,
    progress: PathBuf,
    shown: Option<(&'static str, u8)>,
    said: Option<(&'static str, u8)>,
}

impl<W: Write> Talk<W> {
    /// Begins to speak.
    pub fn new(root: &Root, to: W) -> Self {
        Talk { to: Some(to), progress: root.at(PROGRESS), shown: None, said: None }
    }

    /// Something that a person may want to know.
    pub fn say(&mut self, sentence: &str) {
        tracing::info!("{sentence}");
        self.line('+', sentence);
    }

    /// How far a step is; `what` is a word such as `receiving`.
    pub fn progress(&mut self, what: &'static str, percent: u8) {
        let now = Some((what, percent));
        if self.shown != now {
            // The display can do without.
            let _ = std::fs::write(&self.progress, format!("{what} {percent} %\n"));
            self.shown = now;
        }
        let rest = percent % STEP;
        let step = Some((what, percent - rest));
        if self.said != step {
            self.line('+', &format!("{what} {} %", percent - rest));
            self.said = step;
        }
    }

    /// Why it is not done. Nothing follows.
    pub fn refuse(&mut self, sentence: &str) {
        tracing::warn!("{sentence}");
        self.line('!', sentence);
    }

    /// It is done. Nothing follows.
    pub fn end(&mut self) {
        self.send(b".\n");
    }

    fn line(&mut self, mark: char, sentence: &str) {
        let words = sentence.split_whitespace().collect::<Vec<_>>().join(" ");
        let end = words.floor_char_boundary(LONGEST - 3);
        self.send(format!("{mark} {}\n", &words[..end]).as_bytes());
    }

    fn send(&mut self, bytes: &[u8]) {
        if let Some(to) = &mut self.to
            && to.write_all(bytes).and_then(|()| to.flush()).is_err()
        {
            self.to = None;
        }
    }
}

impl<W: Write> Drop for Talk<W> {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = std::fs::remove_file(&self.progress);
        }
    }
}

/// A line as the relay understands it.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// It goes on.
    Said(&'a str),
    /// It was refused.
    Refused(&'a str),
    /// It is done.
    End,
    /// Nobody of ours says so.
    Nonsense,
}

/// Reads a line, without its end.
pub fn hear(line: &str) -> Heard<'_> {
    match (line.strip_prefix("+ "), line.strip_prefix("! ")) {
        (Some(sentence), _) => Heard::Said(sentence),
        (_, Some(sentence)) => Heard::Refused(sentence),
        _ if line == "." => Heard::End,
        _ => Heard::Nonsense,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_in_steps_and_shown_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root(folder.path().to_owned());
        std::fs::create_dir_all(root.at("run/matriz-system")).unwrap();
        let mut heard = Vec::new();
        let mut talk = Talk::new(&root, &mut heard);
        for percent in [0, 3, 9, 17, 17, 100] {
            talk.progress("receiving", percent);
            let shown = std::fs::read_to_string(root.at(PROGRESS)).unwrap();
            assert_eq!(shown, format!("receiving {percent} %\n"));
        }
        talk.progress("installing", 0);
        talk.refuse("no\nroom");
        drop(talk);
        assert!(!root.at(PROGRESS).exists());
        let text = String::from_utf8(heard).unwrap();
        let said: Vec<_> = text.lines().map(hear).collect();
        let wanted = ["receiving 0 %", "receiving 10 %", "receiving 100 %", "installing 0 %"];
        assert_eq!(said[..4], wanted.map(Heard::Said));
        assert_eq!(said[4..], [Heard::Refused("no room")]);
    }

    #[test]
    fn whoever_has_gone_disturbs_nobody() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let mut talk = Talk::new(&Root(folder.path().to_owned()), Gone);
        talk.say("hello");
        assert!(talk.to.is_none());
        talk.progress("installing", 50);
        talk.end();
    }

    #[test]
    fn a_long_sentence_is_cut_between_letters() {
        let folder = tempfile::tempdir().unwrap();
        let mut heard = Vec::new();
        Talk::new(&Root(folder.path().to_owned()), &mut heard).say(&"ß".repeat(LONGEST));
        let text = String::from_utf8(heard).unwrap();
        assert!(text.len() <= LONGEST && text.ends_with("ß\n"));
        assert_eq!(hear("receiving"), Heard::Nonsense);
        assert_eq!(hear("."), Heard::End);
    }
}
