//! What crosses between the session and the sound: wishes go down as [`Command`], facts come up as
//! [`Report`], and what everybody else is shown is [`Status`].
//!
//! `Command` and `Report` are fixed in size and `Copy`: they pass through wait-free rings into and out
//! of the audio thread. `Status` is for people and programs: terminal, JSON, later the panel.

use crate::format::Format;
use crate::units::Time;
use serde::{Deserialize, Serialize};

/// How many peers a box can hear at once. The engine holds this many decoders ready, so that nothing
/// is allocated while music plays.
pub const SLOTS: usize = 15;

/// A wish, for the engine to carry out in its next cycle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Command {
    /// A peer's packets will arrive for this slot from now on: forget what the slot held before.
    Join {
        /// Index of the slot, below [`SLOTS`].
        slot: u8,
    },
    /// The peer of this slot has gone: fade it out and forget it.
    Leave {
        /// Index of the slot, below [`SLOTS`].
        slot: u8,
    },
    /// Gain of the box's own signal before it is sent, in decibels.
    Gain {
        /// 0 leaves the signal as it is; −120 and below is silence.
        db: f32,
    },
    /// How much of the line the box's own signal may take, from the next packet on. Plain samples (L16,
    /// L24) leave this alone: their packets are the card's cycles.
    Pace(Pace),
    /// Whose sound shall be copied out of the audio thread from now on.
    Tap(Tapped),
}

/// A set of sources to be copied: bit 0 the box's own input, bit 1 the mix, bit n + 2 the peer in slot n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tapped(pub u32);

/// How fine and how fast Opus packets are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Frames in a packet: 120 or 240 (2.5 or 5 ms).
    pub frames: u16,
    /// Bits per second of all channels together.
    pub bitrate: i32,
}

/// How the buffers trade delay against packets that come too late: the user's choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Depth {
    /// The least delay; a break-up now and then is accepted.
    Tight,
    /// Packets are seldom late.
    #[default]
    Balanced,
    /// No packet is late that has come once before that late within minutes.
    Safe,
}

/// What the engine saw of one peer since the peer joined.
#[derive(Clone, Copy, Debug, Default)]
pub struct PeerReport {
    /// Someone plays in this slot: packets arrive and are heard.
    pub playing: bool,
    /// What the peer sends.
    pub format: Format,
    /// Frames in its last packet.
    pub packet: u32,
    /// Packets received, each counted once.
    pub received: u64,
    /// Packets that never came, counted 128 packets after their turn.
    pub lost: u64,
    /// Packets that came after the cycle that needed them.
    pub late: u64,
    /// Pieces of one packet's length that were invented because the packet was not there.
    pub concealed: u64,
    /// Packets that did not come, but a copy of them did, in time.
    pub recovered: u64,
    /// Runs of lost packets.
    pub bursts: u64,
    /// Highest RTP sequence number, how often it wrapped in the upper bits (RFC 3550 section 6.4.1).
    pub highest: u32,
    /// Interarrival jitter in 1/48000 s (RFC 3550 appendix A.8).
    pub jitter: u32,
    /// Time that a median packet waits between arrival and its turn, in milliseconds.
    pub depth_ms: f32,
    /// Clock of the peer's card against ours, in parts per million; positive is faster.
    pub drift_ppm: f32,
    /// Largest deviation of the pitch since the last report, in parts per million: what makes the buffer
    /// longer or shorter.
    pub stretch_ppm: f32,
    /// Loudness since the last report, root mean square, in dB full scale.
    pub level_db: f32,
}

/// Classes of [`Report::cycle_times`].
pub const CYCLE_TIMES: usize = 11;

/// What the engine saw; one comes about every 100 ms.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Start of the cycle that made this report.
    pub time: Time,
    /// Position of the card at `time`, in frames.
    pub frame: i64,
    /// Frames in one cycle of the card.
    pub period: u32,
    /// Cycles processed so far.
    pub cycles: u64,
    /// Cycles that the machine missed or finished after their deadline.
    pub overruns: u64,
    /// How long the cycles took, in tenths of the time that they may take: the first entry counts those
    /// below a tenth, the last those that took all of it or more.
    pub cycle_times: [u64; CYCLE_TIMES],
    /// The longest cycle, in nanoseconds.
    pub longest_cycle: u64,
    /// Pace of the packets now.
    pub pace: Pace,
    /// Packets made for the network.
    pub sent: u64,
    /// Bytes of payload in them.
    pub sent_bytes: u64,
    /// Packets that found the ring to the network thread full.
    pub overflows: u64,
    /// Copied blocks that found their ring full.
    pub tap_dropped: u64,
    /// Loudness of the box's own signal as sent, since the last report, in dB full scale.
    pub level_db: f32,
    /// Every slot, joined or not.
    pub peers: [PeerReport; SLOTS],
}

impl Default for Report {
    fn default() -> Self {
        Report {
            time: Time(0),
            frame: 0,
            period: 0,
            cycles: 0,
            overruns: 0,
            cycle_times: [0; CYCLE_TIMES],
            longest_cycle: 0,
            pace: Pace::default(),
            sent: 0,
            sent_bytes: 0,
            overflows: 0,
            tap_dropped: 0,
            level_db: -120.0,
            peers: [PeerReport::default(); SLOTS],
        }
    }
}

/// What a box shows of itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// The box's name.
    pub name: String,
    /// Whether the rendezvous is reached, or the sentence that says why not.
    pub rendezvous: String,
    /// When the box started, on its machine's monotonic clock (nanoseconds).
    pub started: Time,
    /// Milliseconds since then.
    pub uptime_ms: u64,
    /// A moment at which the sound card was at position `card_frame`, on the same clock.
    pub card_time: Time,
    /// The card's position at `card_time`, in frames.
    pub card_frame: i64,
    /// Loudness of what this box sends, in dB full scale.
    pub level_db: f32,
    /// Cycles of the sound card so far.
    pub cycles: u64,
    /// Cycles that the machine missed or finished too late.
    pub overruns: u64,
    /// Cycles by the time that they took, in tenths of the time that they may take; the last entry counts
    /// those that took all of it or more.
    #[serde(default)]
    pub cycle_times: [u64; CYCLE_TIMES],
    /// The longest cycle, in milliseconds.
    #[serde(default)]
    pub longest_cycle_ms: f32,
    /// What this box sends.
    #[serde(default)]
    pub sends: Sends,
    /// How its buffers trade delay against late packets.
    #[serde(default)]
    pub depth: Depth,
    /// The others, by name.
    pub peers: Vec<PeerStatus>,
}

/// What somebody sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sends {
    /// Encoding and channels.
    #[serde(flatten)]
    pub format: Format,
    /// Length of a packet in milliseconds.
    pub packet_ms: f32,
    /// Bit rate of Opus in kbit/s, if that is known: a box knows its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kbits: Option<f32>,
}

/// What a box shows of one of the others.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PeerStatus {
    /// The peer's name.
    pub name: String,
    /// Whether the two hear each other.
    pub connected: bool,
    /// Milliseconds from the first word of this peer to the first packet that was heard.
    pub connected_after_ms: Option<u64>,
    /// The way the packets take: the peer's address and port.
    pub way: String,
    /// Delay from the peer's microphone to our ear, estimated from the round trip, in milliseconds.
    pub delay_ms: Option<f32>,
    /// Round trip of the network, in milliseconds.
    pub round_trip_ms: Option<f32>,
    /// Time that a packet waits in our buffer, in milliseconds.
    pub depth_ms: f32,
    /// What it sends.
    #[serde(default)]
    pub sends: Sends,
    /// Packets received.
    pub received: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Packets that came too late.
    pub late: u64,
    /// Packets that were lost and saved by a copy.
    #[serde(default)]
    pub recovered: u64,
    /// Packets' worth of sound that was invented.
    pub concealed: u64,
    /// Clock of the peer's card against ours, parts per million.
    pub drift_ppm: f32,
    /// Largest deviation of the pitch in the last tenth of a second, parts per million.
    #[serde(default)]
    pub stretch_ppm: f32,
    /// Loudness, dB full scale.
    pub level_db: f32,
}
