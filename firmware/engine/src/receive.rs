//! One peer, from packet to sound: wait, decode or conceal, resample, strip.
//!
//! Comes after the network's ring and before the mix. Jitter buffer, decoder and resampler live
//! together: whether to play, conceal or wait is decided in one place, at the moment of need. Runs in
//! the audio thread; everything is allocated when the slot is made. Worst case per cycle: one decode
//! per packet that the cycle needs, and one more.

use crate::codec::{Decoder, FRAME, LONGEST, frames_of};
use crate::drift::Drift;
use crate::packet::Arrival;
use crate::playout::{LEAST_STEP, Playout, Turns};
use crate::resample::{AHEAD, Filter, Resampler};
use crate::slew::Slew;
use crate::store::{Store, Tally};
use crate::strip::{Meter, Strip};
use crate::{Cycle, MAX_CYCLE};
use proto::control::{Depth, Gains, PeerReport, Reading};
use proto::format::{Format, Layout};
use proto::units::{Unwrap, nanos_to_frames};
use std::ops::Range;

/// Packets that must have come before music begins: 40 ms worth of knowing how they come.
const FIRST_PACKETS: u32 = 16;

/// A buffer that is too short becomes longer by slewing, which moves the delay by no step. But when so many packets
/// in a row were late, all or in part, the way has become longer, and what must be invented anyway makes up
/// for a shortage from 0.25 ms on at once. Else it does from 5 ms on. In frames.
const LATE_IN_A_ROW: u32 = 12;
const GROW_WHEN_LATE: f64 = 12.0;
const GROW_BY_STEP: f64 = 240.0;

/// Concealment is heard as it is for this long, then fades out; real sound fades in again. In frames:
/// 20, 40 and 10 ms.
const CONCEAL: i64 = 960;
const FADE_OUT: f32 = 1_920.0;
const FADE_IN: f32 = 480.0;

/// Without packets for this long, in frames (1 s), the peer no longer plays; when it comes back, it is
/// listened to afresh.
const GONE: i64 = 48_000;

/// A timestamp this far from its turn, in frames (1 s), is another stream.
const FOREIGN: i64 = 48_000;

/// A packet must lie ready this long before the cycle that needs it, in frames (0.05 ms): the thread that receives wakes
/// in between. And if packets come later in each cycle, since the peer's clock is slower, so long that they
/// will still be in time after this many frames (3 s), for the depth to have grown before they are not.
const GUARD: f64 = 2.4;
const FORESIGHT: f64 = 3.0 * 48_000.0;

/// How often the target depth is computed, in frames (20 ms).
const REVIEW: i64 = 960;

/// A slot for one peer.
pub struct Receive {
    joined: bool,
    /// The line is not known yet.
    cautious: bool,
    /// Packets since the stream began or began afresh.
    fresh: u32,
    /// Card position of the last packet's arrival.
    heard: i64,
    timestamps: Unwrap,
    sequences: Unwrap,
    tally: Tally,
    store: Store,
    drift: Drift,
    playout: Playout,
    /// Frames in the last packet, and the end of the newest.
    packet: usize,
    newest: i64,
    /// Frames by which the buffer must be longer since packets are.
    owed: usize,
    decoder: Decoder,
    resampler: Resampler,
    strip: Strip,
    meter: Meter,
    play: Option<Play>,
    late: u64,
    late_in_a_row: u32,
    /// In packets' lengths.
    concealed: f64,
    recovered: u64,
    /// Largest slewing since the last report, in parts per million.
    stretch: f64,
    /// Interarrival jitter in frames (RFC 3550 appendix A.8), and the delay that it compares with.
    jitter: f64,
    last_delay: f64,
    decoded: Box<[f32; 2 * LONGEST]>,
    out: [Box<[f32; MAX_CYCLE]>; 2],
}

/// What is known while music plays.
struct Play {
    /// Timestamp of the frame that is pushed into the resampler next.
    next: i64,
    /// Card position at which the next cycle should begin.
    frame: i64,
    /// Lag to have, above the envelope, and when it was last computed.
    target: f64,
    reviewed: i64,
    slew: Slew,
    /// Frames concealed in a row.
    missing: i64,
    /// Gain of the concealment's fade.
    fade: f32,
}

impl Receive {
    /// An empty slot; `depth` is how its buffer trades delay against late packets.
    pub fn new(depth: Depth) -> Self {
        Receive {
            joined: false,
            cautious: true,
            fresh: 0,
            heard: 0,
            timestamps: Unwrap::default(),
            sequences: Unwrap::default(),
            tally: Tally::default(),
            store: Store::new(),
            drift: Drift::default(),
            playout: Playout::new(depth),
            packet: FRAME,
            newest: i64::MIN,
            owed: 0,
            decoder: Decoder::new(),
            resampler: Resampler::new(),
            strip: Strip::default(),
            meter: Meter::default(),
            play: None,
            late: 0,
            late_in_a_row: 0,
            concealed: 0.0,
            recovered: 0,
            stretch: 0.0,
            jitter: 0.0,
            last_delay: 0.0,
            decoded: Box::new([0.0; 2 * LONGEST]),
            out: [Box::new([0.0; MAX_CYCLE]), Box::new([0.0; MAX_CYCLE])],
        }
    }

    /// A peer takes the slot.
    pub fn join(&mut self) {
        self.joined = true;
        self.tally = Tally::default();
        (self.late, self.concealed, self.recovered) = (0, 0.0, 0);
        self.strip = Strip::default();
        self.listen_afresh();
    }

    /// The peer leaves the slot; what is still in the buffer fades out.
    pub fn leave(&mut self) {
        self.joined = false;
        self.strip.set_gain(-120.0);
    }

    /// What the peer sends.
    pub fn format(&self) -> Format {
        self.decoder.format()
    }

    /// Whether a peer has the slot.
    pub fn is_joined(&self) -> bool {
        self.joined
    }

    /// Takes in one packet, during the cycle `cycle`.
    pub fn handle(&mut self, arrival: &Arrival, cycle: &Cycle) {
        let frames = frames_of(arrival.format, arrival.payload()).filter(|_| self.joined);
        let Some(frames) = frames else { return };
        let timestamp = self.timestamps.timestamp(arrival.timestamp);
        if arrival.behind > 0 {
            return self.handle_copy(timestamp, frames, arrival, cycle);
        }
        if self.play.as_ref().is_some_and(|play| (timestamp - play.next).abs() > FOREIGN) {
            self.strip.cut();
            return self.listen_afresh();
        }
        if !self.tally.mark(self.sequences.sequence(arrival.sequence)) {
            return;
        }
        self.heard = cycle.frame;
        self.fresh += 1;
        // Longer packets come later: the buffer must be longer at once.
        self.owed += if self.play.is_some() { frames.saturating_sub(self.packet) } else { 0 };
        self.packet = frames;
        self.newest = self.newest.max(timestamp + frames as i64);
        self.measure(timestamp + frames as i64, frames, arrival, cycle);
        match &self.play {
            Some(play) if timestamp + frames as i64 <= play.next => {
                self.late += 1;
                self.late_in_a_row += 1;
            }
            Some(play) if timestamp < play.next => {
                self.late_in_a_row += 1;
                self.store.insert(timestamp, frames, arrival);
            }
            _ => {
                self.late_in_a_row = 0;
                self.store.insert(timestamp, frames, arrival);
            }
        }
    }

    /// Takes in a copy of an earlier packet: of use only if that did not come by itself.
    fn handle_copy(&mut self, timestamp: i64, frames: usize, arrival: &Arrival, cycle: &Cycle) {
        let Some(next) = self.play.as_ref().map(|play| play.next) else { return };
        let sequence = self.sequences.sequence(arrival.sequence) - i64::from(arrival.behind) / frames as i64;
        if (timestamp - next).abs() > FOREIGN || !self.tally.is_missing(sequence) {
            return;
        }
        let delay = delay(timestamp + frames as i64, arrival, cycle);
        self.playout.handle_copy(delay - self.drift.expected(cycle.frame));
        if timestamp + frames as i64 > next && !self.store.holds(timestamp) {
            self.store.insert(timestamp, frames, arrival);
            self.recovered += 1;
        }
    }

    /// What the packet's delay says about clock and jitter. It could not be sent before its last frame was
    /// captured, so delays count from its `end`.
    fn measure(&mut self, end: i64, frames: usize, arrival: &Arrival, cycle: &Cycle) {
        let delay = delay(end, arrival, cycle);
        if self.fresh == 1 {
            self.last_delay = delay;
        }
        self.jitter += ((delay - self.last_delay).abs() - self.jitter) / 16.0;
        self.last_delay = delay;
        if self.drift.handle(delay, cycle.frame) {
            self.playout.reset();
        }
        // Whenever the kernel had it: to the cycle before this one it came too late.
        let missed = (cycle.frame - cycle.frames as i64 - end) as f64 - GUARD + 1.0;
        self.playout.handle(end, delay.max(missed) - self.drift.expected(cycle.frame), frames as f64);
    }

    /// When packets can be used: at our cycles, and if they come later in each of them, since the peer's clock is
    /// slower, so long before that there is time to make the buffer longer.
    fn turns(&self, cycle: &Cycle) -> Turns {
        Turns {
            now: cycle.frame as f64 - self.drift.expected(cycle.frame),
            cycle: cycle.frames as f64,
            step: gcd(self.packet, cycle.frames).max(LEAST_STEP) as f64,
            guard: GUARD.max(-self.drift.ppm() * 1e-6 * FORESIGHT),
            packet: self.packet as f64,
        }
    }

    /// The lag to have above the envelope: from a packet's first frame to our card.
    fn wanted_lag(&mut self, cycle: &Cycle) -> f64 {
        let turns = self.turns(cycle);
        self.playout.target(cycle.frame, &turns) + self.packet as f64
    }

    /// Makes the sound of one cycle; false if the slot is silent, then nothing was written.
    pub fn process(&mut self, cycle: &Cycle, filter: &Filter) -> bool {
        if !self.joined && (self.play.is_none() || self.strip.is_silent()) {
            self.play = None;
            return false;
        }
        if self.play.is_none() && self.fresh >= FIRST_PACKETS {
            self.play = self.begin(cycle);
        }
        let Some(mut play) = self.play.take() else { return false };
        if !self.follow_card(&mut play, cycle) {
            self.listen_afresh();
            return false;
        }
        let step = self.steer(&mut play, cycle);
        while let missing @ 1.. = self.resampler.missing(cycle.frames, step) {
            self.append(&mut play, cycle, missing as usize);
        }
        let mono = self.format().layout == Layout::Mono;
        let [left, right] = &mut self.out;
        let (left, right) = (&mut left[..cycle.frames], &mut right[..cycle.frames]);
        self.resampler.pull(filter, step, [left, right], mono);
        // Most of the time it lets everything through as it is.
        if self.strip.steady() != Some(1.0) {
            for (left, right) in left.iter_mut().zip(right.iter_mut()) {
                let gain = self.strip.step();
                *left *= gain;
                *right *= gain;
            }
        }
        self.meter.push(left);
        self.meter.push(right);
        play.frame = cycle.frame + cycle.frames as i64;
        self.play = Some(play);
        if cycle.frame - self.heard > GONE {
            self.listen_afresh();
        }
        if self.joined && self.strip.is_silent() {
            // It has faded out to jump: music begins anew, with what is known of the line.
            self.play = None;
            self.cautious = false;
            self.strip = Strip::default();
        }
        true
    }

    /// What the last cycle made, if `process` returned true.
    pub fn out(&self, frames: usize) -> [&[f32]; 2] {
        [&self.out[0][..frames], &self.out[1][..frames]]
    }

    /// The level before the fader, for a lamp that moves.
    pub fn glance(&mut self) -> Reading {
        self.meter.glance()
    }

    /// The facts so far; reading resets the level.
    pub fn read_report(&mut self) -> PeerReport {
        let depth = self.play.as_ref().map_or(0.0, |play| {
            let waits = self.lag(play, play.frame) - AHEAD as f64 - self.packet as f64;
            waits - self.drift.expected(play.frame) - self.playout.median()
        });
        let Reading { level_db, peak_db } = self.meter.read();
        PeerReport {
            playing: self.play.is_some(),
            format: self.format(),
            packet: self.packet as u32,
            received: self.tally.received,
            lost: self.tally.lost,
            late: self.late,
            concealed: self.concealed.round() as u64,
            recovered: self.recovered,
            bursts: self.tally.bursts,
            highest: self.tally.highest().map_or(0, |highest| highest as u32),
            jitter: self.jitter as u32,
            depth_ms: (depth / 48.0) as f32,
            drift_ppm: self.drift.ppm() as f32,
            stretch_ppm: std::mem::take(&mut self.stretch) as f32,
            level_db,
            peak_db,
            gains: Gains::default(), // the mix knows them
        }
    }

    /// Whatever comes next is a stream not heard before.
    fn listen_afresh(&mut self) {
        self.play = None;
        self.cautious = true;
        (self.newest, self.owed) = (i64::MIN, 0);
        self.fresh = 0;
        self.store.clear();
        self.drift = Drift::default();
        self.playout.reset();
        self.timestamps = Unwrap::default();
        self.sequences = Unwrap::default();
        self.tally.restart();
    }

    /// The first error is removed by a jump: music begins at the lag that the first packets ask for.
    fn begin(&mut self, cycle: &Cycle) -> Option<Play> {
        self.store.first()?;
        if self.cautious {
            self.playout.start(cycle.frame);
        }
        let target = self.wanted_lag(cycle);
        let lag = (self.drift.expected(cycle.frame) + target).round() as i64;
        self.decoder.reset();
        let next = self.seek(cycle.frame - lag);
        let (frame, reviewed, slew) = (cycle.frame, cycle.frame, Slew::new(cycle.frame));
        Some(Play { next, frame, target, reviewed, slew, missing: 0, fade: 1.0 })
    }

    /// Goes on from the peer's frame `wanted`: what lies before is dropped, and the sound fades in. Returns
    /// the beginning of the packet that it is in, which is pushed next.
    fn seek(&mut self, wanted: i64) -> i64 {
        let next = self.store.beginning_of(wanted).unwrap_or(wanted);
        self.store.drop_before(next);
        self.resampler.reset(wanted - next);
        self.strip.cut();
        next
    }

    /// When our card lost frames (the machine overran), the peer's sound of that time is gone: skip it,
    /// so that the lag stays. False if the card's count makes no sense any more.
    fn follow_card(&mut self, play: &mut Play, cycle: &Cycle) -> bool {
        let lost = cycle.frame - play.frame;
        if lost == 0 {
            return true;
        }
        let lag = self.lag(play, play.frame).round() as i64;
        play.next = self.seek(cycle.frame - lag);
        play.frame = cycle.frame;
        (0..GONE).contains(&lost)
    }

    /// Frames from a moment on the peer's time line to the same on ours, at card position `frame`.
    fn lag(&self, play: &Play, frame: i64) -> f64 {
        let ahead = (i128::from(self.resampler.written()) << 32) - self.resampler.position();
        (frame - play.next) as f64 + ahead as f64 / 4_294_967_296.0
    }

    /// Frames by which the buffer should be longer.
    fn shortage(&self, play: &Play, cycle: &Cycle) -> f64 {
        self.drift.expected(cycle.frame) + play.target - self.lag(play, cycle.frame)
    }

    /// The resampler's step for this cycle, in 2⁻³² frames: the peer's clock, less what makes the buffer
    /// longer or shorter.
    fn steer(&mut self, play: &mut Play, cycle: &Cycle) -> u64 {
        if cycle.frame - play.reviewed >= REVIEW {
            play.target = self.wanted_lag(cycle);
            play.reviewed = cycle.frame;
        }
        let shortage = self.shortage(play, cycle);
        if play.slew.is_hopeless(shortage, cycle.frame) {
            self.strip.set_gain(-120.0);
        }
        let slew = play.slew.cycle(shortage, cycle.frame, cycle.frames);
        self.stretch = self.stretch.max(slew.abs() * 1e6);
        ((1.0 + self.drift.ppm() * 1e-6 - slew) * 4_294_967_296.0) as u64
    }

    /// Pushes the next piece of sound into the resampler: the packet whose turn it is, what is left of one that
    /// came in the middle of its turn, or something in its place; `missing` frames are needed now.
    fn append(&mut self, play: &mut Play, cycle: &Cycle, missing: usize) {
        let begins = self.store.beginning_of(play.next).unwrap_or(play.next);
        let over = (play.next - begins) as usize;
        let decoded = self
            .store
            .take(begins, |format, payload| self.decoder.decode(format, payload, over, &mut *self.decoded));
        match decoded.flatten() {
            Some(frames) => {
                play.missing = 0;
                play.next = begins + frames as i64;
                self.push(play, over.min(frames)..frames);
            }
            None => self.conceal(play, cycle, missing),
        }
    }

    /// The packet is not there. The buffer grows here if it should: what is invented then comes in
    /// addition to the packet, not in its place, and the packet has more time to arrive. Else no more is
    /// invented than this cycle needs: the rest of the packet may come before the next one.
    fn conceal(&mut self, play: &mut Play, cycle: &Cycle, missing: usize) {
        let shortage = self.shortage(play, cycle);
        let enough = match self.late_in_a_row >= LATE_IN_A_ROW || self.owed > 0 {
            true => GROW_WHEN_LATE,
            false => GROW_BY_STEP,
        };
        let grow = shortage >= enough;
        let frames = if grow { (shortage as usize).min(LONGEST) } else { self.gap(play).min(missing) };
        self.owed -= if grow { self.owed.min(frames) } else { 0 };
        if play.fade > 0.0 {
            self.decoder.conceal(&mut self.decoded[..2 * frames]);
        } else {
            self.decoded[..2 * frames].fill(0.0);
        }
        self.concealed += frames as f64 / self.packet as f64;
        play.missing += frames as i64;
        if !grow {
            play.next += frames as i64;
        }
        self.push(play, 0..frames);
    }

    /// Frames to invent until a packet may begin: packets lie on the grid of those that have come.
    fn gap(&self, play: &Play) -> usize {
        let known = self.store.first().unwrap_or(self.newest);
        let gap = known.wrapping_sub(play.next).rem_euclid(self.packet as i64) as usize;
        if gap == 0 { self.packet.min(LONGEST) } else { gap.min(LONGEST) }
    }

    /// Pushes decoded frames, faded out when nothing has come for long and in again when it has.
    fn push(&mut self, play: &mut Play, frames: Range<usize>) {
        let step = if play.missing > CONCEAL { -1.0 / FADE_OUT } else { 1.0 / FADE_IN };
        for frame in self.decoded[2 * frames.start..2 * frames.end].chunks_exact(2) {
            play.fade = (play.fade + step).clamp(0.0, 1.0);
            self.resampler.push(frame[0] * play.fade, frame[1] * play.fade);
        }
    }
}

/// From a packet's last frame on the peer's time line to its arrival on ours, in frames. It could not be sent before
/// that was captured.
fn delay(end: i64, arrival: &Arrival, cycle: &Cycle) -> f64 {
    (cycle.frame - end) as f64 - nanos_to_frames(cycle.time.nanos_since(arrival.time))
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
