//! Who is at the rendezvous, as a monitor has seen it: a table for people, a line of JSON for programs.
//!
//! Takes the lists that the rendezvous sends and remembers since when each box is in them. Nothing here
//! asks what time it is. Before it: [`super`].

use crate::rendezvous::plain;
use chrono::{DateTime, Local, SecondsFormat};
use proto::rendezvous::Listed;
use serde::Serialize;
use std::fmt::Write;

/// The most characters of a name that are shown; our own configuration allows no more.
const LONGEST_NAME: usize = 32;

/// Everybody who is there, and what happened last.
pub struct Roster {
    /// The rendezvous.
    place: String,
    connected: bool,
    /// What happened last, in one line.
    message: String,
    /// When it happened.
    time: DateTime<Local>,
    boxes: Vec<Here>,
}

/// A box that is there.
struct Here {
    listed: Listed,
    /// When this monitor saw it first, at this address and without a gap.
    since: DateTime<Local>,
}

/// What a line of JSON says.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    rendezvous: &'a str,
    connected: bool,
    message: &'a str,
    boxes: Vec<Entry<'a>>,
}

/// A box in it.
#[derive(Serialize)]
struct Entry<'a> {
    #[serde(flatten)]
    listed: &'a Listed,
    since: String,
}

impl Roster {
    /// Nobody, at the rendezvous `place`, which has not answered yet.
    pub fn new(place: String, now: DateTime<Local>) -> Roster {
        let message = "it has not answered yet".to_owned();
        Roster { place, connected: false, message, time: now, boxes: Vec::new() }
    }

    /// The rendezvous.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The rendezvous has said who is there, and what has changed.
    pub fn update(&mut self, list: Vec<Listed>, message: &str, now: DateTime<Local>) {
        let before = std::mem::take(&mut self.boxes);
        let since = |listed: &Listed| {
            let same = |here: &&Here| here.listed.name == listed.name && here.listed.ip == listed.ip;
            before.iter().find(same).map_or(now, |here| here.since)
        };
        self.boxes = list.into_iter().map(|listed| Here { since: since(&listed), listed }).collect();
        self.happened(true, &message.replace('\n', ", "), now);
    }

    /// The connection is lost. Who was there is remembered: most of them are when it is back.
    pub fn away(&mut self, why: &str, now: DateTime<Local>) {
        self.happened(false, why, now);
    }

    fn happened(&mut self, connected: bool, message: &str, now: DateTime<Local>) {
        (self.connected, self.message, self.time) = (connected, plain(message), now);
    }

    /// The table, with what happened last above it.
    pub fn draw(&self) -> String {
        let count = match self.boxes.len() {
            1 => "1 box".to_owned(),
            count => format!("{count} boxes"),
        };
        let now = match self.connected {
            true => format!("{count} at {}", self.place),
            false => format!("not connected to {}, where {count} were last", self.place),
        };
        let mut text = format!("{}  {now}: {}\n", self.time.format("%H:%M:%S"), self.message);
        let mut rows = vec![["box", "since", "from", "stream"].map(str::to_owned)];
        rows.extend(self.boxes.iter().map(|here| self.row(here)));
        if self.boxes.is_empty() {
            return text + "  nobody is there\n";
        }
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let [name, since, from] = [0, 1, 2].map(width);
        for [a, b, c, d] in &rows {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {a:<name$}  {b:<since$}  {c:<from$}  {d}");
        }
        text
    }

    fn row(&self, Here { listed, since }: &Here) -> [String; 4] {
        let mut name = plain(&listed.name);
        if name.chars().count() > LONGEST_NAME {
            name = name.chars().take(LONGEST_NAME - 1).chain(['…']).collect();
        }
        let today = since.date_naive() == self.time.date_naive();
        let since = since.format(if today { "%H:%M:%S" } else { "%Y-%m-%d %H:%M" });
        let stream = if listed.stream { "reachable" } else { "not reachable" };
        [name, since.to_string(), listed.ip.to_string(), format!("{stream}, port {}", listed.port)]
    }

    /// The same as a line of JSON.
    pub fn line(&self) -> String {
        let stamp = |time: &DateTime<Local>| time.to_rfc3339_opts(SecondsFormat::Millis, false);
        let line = Line {
            time: stamp(&self.time),
            rendezvous: &self.place,
            connected: self.connected,
            message: &self.message,
            boxes: (self.boxes.iter())
                .map(|Here { listed, since }| Entry { listed, since: stamp(since) })
                .collect(),
        };
        serde_json::to_string(&line).expect("texts, numbers and flags are always valid JSON") + "\n"
    }
}
