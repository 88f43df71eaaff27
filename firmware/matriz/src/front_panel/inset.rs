//! The front panel of one box below something else, as in the demo: keys are its buttons here too.
//!
//! The status is handed in by whoever draws; wishes go to the box through its socket, as everybody's. The terminal is
//! left as it is, but for its keys: they come at once and are not written on it. Ctrl-C still ends the program.

use super::Cells;
use super::source::Source;
use super::terminal::presses;
use crate::clock;
use ::panel::Panel;
use crossterm::event::{self, Event, KeyEventKind};
use crossterm::terminal;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use proto::control::{Command, Status};
use std::io::{IsTerminal, stdin, stdout};
use std::path::PathBuf;
use std::time::Duration;

/// Rows beside the picture: its head, the keys, what the box says, and the row of the cursor.
const MORE: u16 = 4;

/// What the keys are.
const KEYS: &str = "m mute  M leave  - + volume  n next  p page";

/// The panel, and the way to its box.
pub struct Inset {
    panel: Panel,
    socket: PathBuf,
    /// Open from the first wish on.
    source: Option<Source>,
    keys: Option<Keys>,
    /// Somebody has pressed something that changes the sound.
    wished: bool,
    refusal: Option<String>,
}

impl Inset {
    /// The panel of the box with this socket, which is asked for nothing before somebody presses a key.
    pub fn new(socket: PathBuf) -> Inset {
        let keys = (stdin().is_terminal() && stdout().is_terminal()).then(Keys::take).flatten();
        Inset { panel: Panel::new(clock::now()), socket, source: None, keys, wished: false, refusal: None }
    }

    /// Whether somebody has changed by it what is heard.
    pub fn has_wished(&self) -> bool {
        self.wished
    }

    /// The picture of a box that is like this, if the terminal has room for it below `above`; else nothing.
    pub fn draw(&mut self, status: &Status, above: &str) -> String {
        self.panel.handle_status(clock::now(), status.clone());
        let cells = terminal::size().ok().and_then(|(columns, lines)| {
            Cells::for_terminal(columns, lines.saturating_sub(rows(above, columns) + MORE))
        });
        let Some(cells) = cells else { return String::new() };
        self.press();
        let picture = cells.draw(&self.panel.draw(clock::now())).join("\n");
        let keys = if self.keys.is_some() { KEYS } else { "" };
        let said = self.source.as_ref().and_then(Source::sentence).or_else(|| self.refusal.clone());
        format!("The front panel of {}:\n{picture}\n{keys}\n{}\n", status.name, said.unwrap_or_default())
    }

    /// Carries out what was typed since it was looked at last.
    fn press(&mut self) {
        if self.keys.is_none() {
            return;
        }
        while event::poll(Duration::ZERO).unwrap_or(false) {
            let Ok(event) = event::read() else { break };
            if let Event::Key(key) = event
                && key.kind != KeyEventKind::Release
            {
                presses(key.code).iter().for_each(|press| self.panel.handle_press(clock::now(), *press));
            }
        }
        while let Some(wish) = self.panel.poll(clock::now()) {
            self.wish(&wish);
        }
    }

    fn wish(&mut self, wish: &Command) {
        if self.source.is_none() {
            match Source::of_box(Some(&self.socket)) {
                Ok(source) => self.source = Some(source),
                Err(why) => self.refusal = Some(format!("{why:#}")),
            }
        }
        if let Some(source) = &mut self.source {
            source.wish(wish);
            self.wished = true;
        }
    }
}

/// Rows that a text takes in a terminal, which breaks long lines.
fn rows(text: &str, columns: u16) -> u16 {
    let width = usize::from(columns.max(1));
    let rows: usize = text.lines().map(|line| line.chars().count().div_ceil(width).max(1)).sum();
    u16::try_from(rows).unwrap_or(u16::MAX / 2)
}

/// Keys that come one by one, until this is dropped.
struct Keys(Termios);

impl Keys {
    /// None if the terminal does not do that: then there are no keys.
    fn take() -> Option<Keys> {
        let before = tcgetattr(stdin()).ok()?;
        let mut now = before.clone();
        now.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        tcsetattr(stdin(), SetArg::TCSANOW, &now).ok()?;
        Some(Keys(before))
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = tcsetattr(stdin(), SetArg::TCSANOW, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_take_more_rows() {
        assert_eq!(rows("", 80), 0);
        assert_eq!(rows("a\n\nb\n", 80), 3);
        assert_eq!(rows(&"ä".repeat(81), 80), 2);
        assert_eq!(rows("abc", 0), 3);
        assert_eq!(rows(&"a\n".repeat(100_000), 80), u16::MAX / 2);
    }
}
