//! Guests, the body's side: who plays as the original does is called by RTSP, and its sound goes to the engine.
//!
//! Between the session, which invites and dismisses, and a task for each guest ([`call`]). RTP does not come by here:
//! the ears of the network have it ([`crate::net::ears`]).

mod call;

use crate::net::ears::Door;
use crate::rendezvous::backoff::random;
use crate::rtsp::pair::two_ports;
use call::Call;
use proto::control::{PeerReport, Report, SLOTS};
use proto::rtsp::client::{Settings, Way};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// How long goodbyes to the guests may take when the box ends.
const GOODBYE: Duration = Duration::from_millis(300);

/// What a guest's task is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The guest is said to be there (again).
    Again,
    /// It is none any more.
    Over,
}

/// How a guest is reached has changed.
pub struct News {
    /// Its slot.
    pub slot: u8,
    /// How it is reached now.
    pub way: Way,
}

/// The guests that are called.
pub struct Guests {
    /// Name of the box.
    name: String,
    door: Door,
    news: mpsc::Sender<News>,
    lines: [Option<Line>; SLOTS],
    /// The tasks of those who are guests no more: they say goodbye.
    leaving: Vec<JoinHandle<()>>,
}

/// A guest and its task.
struct Line {
    at: SocketAddr,
    words: mpsc::Sender<Word>,
    reports: watch::Sender<PeerReport>,
    task: JoinHandle<()>,
}

impl Guests {
    /// Nobody yet; what happens to them is told to `news`.
    pub fn new(name: &str, door: Door, news: mpsc::Sender<News>) -> Guests {
        let (lines, leaving) = (std::array::from_fn(|_| None), Vec::new());
        Guests { name: name.to_owned(), door, news, lines, leaving }
    }

    /// Calls a guest; one that is called already is called again at once, if it was not reached.
    pub fn invite(&mut self, slot: u8, at: SocketAddr) {
        let Some(line) = self.lines.get(usize::from(slot)) else { return };
        if let Some(line) = line.as_ref().filter(|line| line.at == at) {
            let _ = line.words.try_send(Word::Again); // full: it is told already
            return;
        }
        self.dismiss(slot);
        // Media by UDP is IPv4 here, as between boxes; who has only IPv6 is asked for TCP.
        let sockets = at.is_ipv4().then(|| two_ports(IpAddr::V4(Ipv4Addr::UNSPECIFIED))).flatten();
        let port = sockets.as_ref().map(|(port, ..)| *port);
        let settings = Settings { at, name: self.name.clone(), port, seed: random() };
        let (words, heard_words) = mpsc::channel(4);
        let (reports, heard_reports) = watch::channel(PeerReport::default());
        let sockets = sockets.map(|(_, rtp, rtcp)| (rtp, rtcp));
        let call = Call::new(slot, settings, sockets, self.door.clone(), self.news.clone());
        let task = tokio::spawn(call.run(heard_words, heard_reports));
        self.lines[usize::from(slot)] = Some(Line { at, words, reports, task });
    }

    /// The slot has no guest any more.
    pub fn dismiss(&mut self, slot: u8) {
        let Some(line) = self.lines.get_mut(usize::from(slot)).and_then(Option::take) else { return };
        self.door.shut(slot);
        let _ = line.words.try_send(Word::Over); // full: dropping the sender says the same
        self.leaving.retain(|task| !task.is_finished());
        self.leaving.push(line.task);
    }

    /// How the engine hears them.
    pub fn handle_report(&self, report: &Report) {
        for (line, of_it) in self.lines.iter().zip(&report.peers) {
            if let Some(line) = line {
                let _ = line.reports.send(*of_it);
            }
        }
    }

    /// Says goodbye to all of them.
    pub async fn stop(mut self) {
        (0..SLOTS as u8).for_each(|slot| self.dismiss(slot));
        let goodbyes = async {
            for task in &mut self.leaving {
                let _ = task.await;
            }
        };
        // Who has not said goodbye by then is cut off by `drop`.
        let _ = tokio::time::timeout(GOODBYE, goodbyes).await;
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        let lines = self.lines.iter().flatten().map(|line| &line.task);
        lines.chain(&self.leaving).for_each(JoinHandle::abort);
    }
}
