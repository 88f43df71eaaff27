//! How far an update is: a bar on a terminal, lines elsewhere. On standard error, as the outcome is on the other.

use std::io::{IsTerminal, Write};

/// Squares of the bar.
const SQUARES: usize = 30;

/// A bar, or lines.
pub struct Bar {
    shown: bool,
    terminal: bool,
    last: String,
}

impl Bar {
    /// A bar that is `shown`, or nothing.
    pub fn new(shown: bool) -> Bar {
        Bar { shown, terminal: std::io::stderr().is_terminal(), last: String::new() }
    }

    /// How much of the bundle was sent; only a terminal is told every percent.
    pub fn sent(&mut self, percent: u64) {
        if self.terminal {
            self.say(&format!("sending {percent} %"));
        }
    }

    /// What the box says; what it said before is not said again.
    pub fn say(&mut self, line: &str) {
        if !self.shown || self.last == line {
            return;
        }
        line.clone_into(&mut self.last);
        let text = if self.terminal { drawn(line) } else { format!("{line}\n") };
        // Nobody may be there to see it.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.shown && self.terminal && !self.last.is_empty() && percent(&self.last).is_some() {
            let _ = std::io::stderr().write_all(b"\n");
        }
    }
}

/// A line with a percentage is a bar that the next one replaces.
fn drawn(line: &str) -> String {
    match percent(line) {
        Some((what, percent)) => {
            let full = SQUARES * percent / 100;
            format!("\r\x1b[K{}{} {percent:>3} % {what}", "█".repeat(full), "░".repeat(SQUARES - full))
        }
        None => format!("\r\x1b[K{line}\n"),
    }
}

/// `installing 40 %` in its parts.
fn percent(line: &str) -> Option<(&str, usize)> {
    let (what, number) = line.strip_suffix(" %")?.rsplit_once(' ')?;
    Some((what, number.parse().ok().filter(|percent| *percent <= 100)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_are_bars_and_sentences_are_lines() {
        assert_eq!(drawn("the box restarts"), "\r\x1b[Kthe box restarts\n");
        let half = drawn("installing 50 %");
        assert_eq!((half.matches('█').count(), half.matches('░').count()), (15, 15));
        assert!(half.ends_with("  50 % installing"), "{half:?}");
        assert_eq!(percent("sending 100 %"), Some(("sending", 100)));
        for line in ["sending 101 %", "a %", " %", "%", "50 %", "about -1 %"] {
            assert_eq!(percent(line), None, "{line}");
        }
    }
}
