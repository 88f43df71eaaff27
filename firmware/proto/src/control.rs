//! What crosses between people, the session and the sound: wishes go down as [`Command`] and [`Cue`], facts
//! come up as [`Report`], and what everybody is shown is [`Status`].
//!
//! `Cue` and `Report` are fixed in size and `Copy`: they pass through wait-free rings into and out of the
//! audio thread. `Command` and `Status` are for people and programs: buttons, OLED, command line, API.

use crate::format::Format;
use crate::units::Time;
use serde::{Deserialize, Serialize};

/// How many peers a box can hear at once. The engine holds this many decoders ready, so that nothing
/// is allocated while music plays.
pub const SLOTS: usize = 15;

/// A wish of a person, the same from a button, the command line or the API. The session is the only one that
/// carries it out; who is meant is said by name, so it holds for a peer who is away, and for his next visit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Silences our own signal at everybody, or lets it be heard again; with `peer`, that peer here.
    Mute {
        /// Whom; none is the box itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peer: Option<String>,
        /// Silent from now on, or heard.
        on: bool,
    },
    /// How loud a peer is here.
    Volume {
        /// Whose.
        peer: String,
        /// In decibels, −60 to +20; 0 leaves the sound as it came.
        db: f32,
    },
    /// Where a peer stands between left and right here.
    Pan {
        /// Whose.
        peer: String,
        /// −1 is left, 0 the middle, 1 right.
        pan: f32,
    },
    /// Only those who are solo are heard here, as long as there is one.
    Solo {
        /// Whom.
        peer: String,
        /// Solo from now on, or not.
        on: bool,
    },
    /// Gain of our own signal before it is sent.
    Gain {
        /// In decibels, −60 to +20.
        db: f32,
    },
    /// Leaves the session: nobody hears us and we hear nobody; the card goes on.
    Leave,
    /// Comes back into the session.
    Join,
    /// Gives the box another name, for good.
    Name {
        /// As in the settings.
        name: String,
    },
    /// Begins or ends a recording.
    Record {
        /// Record from now on, or not.
        on: bool,
    },
    /// Shuts the box down.
    PowerOff,
}

/// A wish of the session, for the engine to carry out in its next cycle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cue {
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
    /// How loud the peer of this slot is in the mix, left and right; its sound alone stays as it came.
    Fader {
        /// Index of the slot, below [`SLOTS`].
        slot: u8,
        /// How loud.
        gains: Gains,
    },
    /// Gain of the box's own signal before it is sent, in decibels.
    Gain {
        /// 0 leaves the signal as it is; −120 and below is silence.
        db: f32,
    },
    /// Sends silence in place of the box's own signal, or the signal again.
    Mute {
        /// Silence from now on, or not.
        on: bool,
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

/// Gains of the two sides, linear: 1 leaves the sound as it came, 0 is silence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gains {
    /// Of the left side.
    pub left: f32,
    /// Of the right side.
    pub right: f32,
}

impl Default for Gains {
    fn default() -> Self {
        Gains { left: 1.0, right: 1.0 }
    }
}

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
    /// Loudness since the last report, root mean square, in dB full scale, before its fader.
    pub level_db: f32,
    /// Highest sample since the last report, in dB full scale, before its fader.
    pub peak_db: f32,
    /// Its gains in the mix, as they are when a ramp is over.
    pub gains: Gains,
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
    /// Packets that found the ring to the network full.
    pub overflows: u64,
    /// Copied blocks that found their ring full.
    pub tap_dropped: u64,
    /// Loudness of the box's own signal as sent, since the last report, in dB full scale.
    pub level_db: f32,
    /// Highest sample of it, likewise.
    pub peak_db: f32,
    /// Since the last report the input was too loud for the card, or for the packet.
    pub clips: bool,
    /// Gain of the box's own signal in decibels, and below whether it is muted, as they are when a ramp is over.
    pub gain_db: f32,
    /// Silence is sent.
    pub muted: bool,
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
            peak_db: -120.0,
            clips: false,
            gain_db: 0.0,
            muted: false,
            peers: [PeerReport::default(); SLOTS],
        }
    }
}

/// What a meter has read, in dB full scale; −120 for silence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Root mean square.
    pub level_db: f32,
    /// Highest sample.
    pub peak_db: f32,
}

impl Default for Reading {
    fn default() -> Self {
        Reading { level_db: -120.0, peak_db: -120.0 }
    }
}

/// What the meters show between two reports; one comes about every 30 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Meters {
    /// The box's own signal as sent.
    pub own: Reading,
    /// Every slot, before its fader.
    pub peers: [Reading; SLOTS],
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
    /// Highest sample of what this box sends in the last tenth of a second, in dB full scale.
    #[serde(default)]
    pub peak_db: f32,
    /// The input was too loud for the card or the packet within the last two seconds.
    #[serde(default)]
    pub clips: bool,
    /// Our own signal is silent at everybody, because somebody wished so.
    #[serde(default)]
    pub muted: bool,
    /// Gain of our own signal, in decibels.
    #[serde(default)]
    pub gain_db: f32,
    /// The box takes part; false after [`Command::Leave`].
    #[serde(default)]
    pub in_session: bool,
    /// The folder of the recording that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<String>,
    /// The computer that the box is.
    #[serde(default)]
    pub machine: Machine,
    /// What needs a person, the most urgent first; empty on a healthy box.
    #[serde(default)]
    pub messages: Vec<String>,
    /// The others, by name.
    pub peers: Vec<PeerStatus>,
}

/// What a box shows of the computer that it is. Filled in by the body; the session knows none of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Version of the program.
    pub version: String,
    /// Which of the two systems on the card runs; none where there are no two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<System>,
    /// How far an update is that is being received or installed, for instance `installing 40 %`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<String>,
    /// The address by which the box is reached in its own network, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The sound card in words, or the sentence that says why there is none.
    pub card: String,
    /// Whether a card plays.
    pub plays: bool,
    /// Frames in one cycle of it; 0 before the first one.
    pub period: u32,
    /// Cycles that the sound server says it has lost.
    pub xruns: u64,
    /// Temperature of the processor in degrees Celsius, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub celsius: Option<f32>,
}

/// The system that runs, of the two on a box's card.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct System {
    /// The slot that it is in, `A` or `B`.
    pub slot: String,
    /// Its version.
    pub version: String,
    /// A trial that waits or runs, in words. Mostly there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<String>,
    /// What has failed, as in `1.1.0 failed: it did not start, running 1.0.0`. It stands until the next update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
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
    /// Loudness, dB full scale, before the peer's volume here.
    pub level_db: f32,
    /// Highest sample in the last tenth of a second, dB full scale, before the peer's volume here.
    #[serde(default)]
    pub peak_db: f32,
    /// How loud it is here, in decibels.
    #[serde(default)]
    pub volume_db: f32,
    /// Where it stands here: −1 is left, 0 the middle, 1 right.
    #[serde(default)]
    pub pan: f32,
    /// Silent here.
    #[serde(default)]
    pub muted: bool,
    /// Solo here.
    #[serde(default)]
    pub solo: bool,
    /// It has muted itself at its end.
    #[serde(default)]
    pub muted_itself: bool,
    /// Of the packets of the last ten seconds: how many percent never came.
    #[serde(default)]
    pub lost_percent: f32,
    /// Of the same: how many percent came too late.
    #[serde(default)]
    pub late_percent: f32,
    /// Of the sound of the last ten seconds: how many percent were invented.
    #[serde(default)]
    pub concealed_percent: f32,
    /// Its packets take a way through another box or server, not straight here.
    #[serde(default)]
    pub relayed: bool,
}
