//! From the card to the packet: gain ramp, packets of 2.5 or 5 ms, Opus or plain samples.
//!
//! Comes after the capture side of the card, before the ring to the network. Encoded once,
//! however many peers listen. Runs in the audio thread: allocates nothing, blocks never; worst case one
//! encode per 120 frames of the cycle.

use crate::codec::{Encoder, FRAME, LONGEST_SENT};
use crate::engine::Settings;
use crate::packet::{MAX_PAYLOAD, Packet};
use crate::strip::{CLIP, Meter, Strip, highest};
use proto::control::{Pace, Reading};
use proto::format::{Encoding, Format, Layout};
use proto::units::to_decibels;

/// Least frames of a packet of plain samples: 1 ms. Below that, headers would be most of it.
const SHORTEST: usize = 48;

/// What there is to say of our own signal.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    /// How loud it was as it was sent, since the last reading.
    pub reading: Reading,
    /// Since then it was too loud for the card, or for the packet.
    pub clips: bool,
    /// Its gain, in decibels, and whether it is muted, as they are when a ramp is over.
    pub gain_db: f32,
    /// See `gain_db`.
    pub muted: bool,
}

/// The way out.
pub struct Send {
    format: Format,
    gain_db: f32,
    muted: bool,
    strip: Strip,
    meter: Meter,
    /// The card could not take what came in, since the last reading.
    clips: bool,
    encoder: Encoder,
    pace: Pace,
    /// Frames that fill the packet that is being filled.
    length: usize,
    /// Interleaved frames that do not fill a packet yet.
    pending: [f32; 2 * LONGEST_SENT],
    filled: usize,
    /// Card position of `pending[0]`; `None` before the first cycle.
    start: Option<i64>,
    packet: Packet,
}

impl Send {
    /// A sender with the engine's settings.
    pub fn new(settings: &Settings) -> Self {
        let Settings { format, pace, prediction, gain_db, .. } = *settings;
        let mut encoder = Encoder::new(format, pace.bitrate);
        encoder.set_prediction(prediction);
        let mut strip = Strip::default();
        strip.set_gain(gain_db);
        Send {
            format,
            gain_db,
            muted: false,
            strip,
            meter: Meter::default(),
            clips: false,
            encoder,
            pace,
            length: usize::from(pace.frames),
            pending: [0.0; 2 * LONGEST_SENT],
            filled: 0,
            start: None,
            packet: Packet { frame: 0, len: 0, bytes: [0; MAX_PAYLOAD] },
        }
    }

    /// Sets the gain of our own signal, in decibels; what is no number changes nothing.
    pub fn set_gain(&mut self, db: f32) {
        if !db.is_nan() {
            self.gain_db = db.clamp(-120.0, 20.0);
            self.follow();
        }
    }

    /// Sends silence from now on, or our signal again. Packets go on: nobody takes it for a loss.
    pub fn set_muted(&mut self, on: bool) {
        self.muted = on;
        self.follow();
    }

    fn follow(&mut self) {
        self.strip.set_gain(if self.muted { -120.0 } else { self.gain_db });
    }

    /// Sets the pace from the next packet on. Another length than 120 or 240 frames changes nothing.
    pub fn set_pace(&mut self, pace: Pace) {
        if [FRAME, LONGEST_SENT].contains(&usize::from(pace.frames)) {
            self.encoder.set_bitrate(pace.bitrate);
            self.pace = pace;
            if self.filled == 0 {
                self.follow_pace();
            }
        }
    }

    /// The pace now; of plain samples only the length of the last packet.
    pub fn pace(&self) -> Pace {
        match self.format.encoding {
            Encoding::Opus => self.pace,
            _ => Pace { frames: self.length as u16, bitrate: 0 },
        }
    }

    /// What there is to say of our own signal since the last reading.
    pub fn read_own(&mut self) -> Own {
        let reading = self.meter.read();
        let clips = std::mem::take(&mut self.clips) || reading.peak_db >= to_decibels(CLIP);
        Own { reading, clips, gain_db: self.gain_db, muted: self.muted }
    }

    /// The level of our own signal as sent, for a lamp that moves.
    pub fn glance(&mut self) -> Reading {
        self.meter.glance()
    }

    /// Takes what the card captured, beginning at card position `frame`, and hands every packet that
    /// became full to `emit`. With `listened` false the signal is metered but not encoded.
    pub fn process(
        &mut self,
        frame: i64,
        capture: [&[f32]; 2],
        listened: bool,
        mut emit: impl FnMut(&Packet),
    ) {
        self.follow_card(frame);
        self.clips |= capture.iter().any(|channel| highest(channel) >= CLIP);
        let plain = self.format.encoding != Encoding::Opus;
        if plain {
            // A cycle is a packet, or several that are alike if it is long.
            let cycle = capture[0].len();
            self.length = cycle.div_ceil(cycle.div_ceil(LONGEST_SENT).max(1)).max(SHORTEST);
        }
        for (left, right) in capture[0].iter().zip(capture[1]) {
            let gain = self.strip.step();
            if self.format.layout == Layout::Mono {
                self.pending[self.filled] = (left + right) * gain;
            } else {
                self.pending[2 * self.filled] = left * gain;
                self.pending[2 * self.filled + 1] = right * gain;
            }
            self.filled += 1;
            if self.filled >= self.length {
                self.flush(listened, &mut emit);
            }
        }
        if plain && self.filled >= SHORTEST {
            self.flush(listened, &mut emit);
        }
    }

    /// When the card lost frames (the machine overran), the hole becomes missing packets, which every
    /// receiver knows how to hide.
    fn follow_card(&mut self, frame: i64) {
        if self.start.map(|start| start + self.filled as i64) == Some(frame) {
            return;
        }
        self.start = Some(frame);
        self.filled = 0;
        self.follow_pace();
        self.strip.cut();
        self.encoder.reset();
    }

    fn flush(&mut self, listened: bool, emit: &mut impl FnMut(&Packet)) {
        let frame = self.start.expect("a frame was filled, so the first cycle has been");
        let samples = &self.pending[..self.filled * self.format.layout.channels()];
        self.meter.push(samples);
        if listened {
            let len = self.encoder.encode(samples, &mut self.packet.bytes);
            if len > 0 {
                self.packet.frame = frame;
                self.packet.len = len as u16;
                emit(&self.packet);
            }
        }
        self.start = Some(frame + self.filled as i64);
        self.filled = 0;
        self.follow_pace();
    }

    /// The next packet of Opus is as long as the pace says; of plain samples the cycle says it.
    fn follow_pace(&mut self) {
        if self.format.encoding == Encoding::Opus {
            self.length = usize::from(self.pace.frames);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where packets begin that are made of these cycles, and how many bytes they have.
    fn packets(encoding: Encoding, cycles: &[(i64, usize)]) -> Vec<(i64, u16)> {
        let format = Format { encoding, layout: Layout::Mono };
        let mut send = Send::new(&Settings { format, ..Settings::default() });
        let mut seen = Vec::new();
        for &(frame, len) in cycles {
            let silence = vec![0.0; len];
            send.process(frame, [&silence, &silence], true, |packet| seen.push((packet.frame, packet.len)));
        }
        seen
    }

    fn positions(cycles: &[(i64, usize)]) -> Vec<i64> {
        packets(Encoding::Opus, cycles).into_iter().map(|(frame, _)| frame).collect()
    }

    #[test]
    fn cycles_of_any_length_make_packets_of_120_frames() {
        assert_eq!(positions(&[(0, 120), (120, 120)]), [0, 120]);
        assert_eq!(positions(&[(0, 128), (128, 128)]), [0, 120]);
        assert_eq!(positions(&[(0, 60), (60, 60), (120, 300)]), [0, 120, 240]);
    }

    #[test]
    fn a_hole_in_the_card_is_a_hole_in_the_packets() {
        assert_eq!(positions(&[(0, 128), (512, 128), (640, 128)]), [0, 512, 632]);
    }

    #[test]
    fn plain_samples_go_out_with_their_cycle() {
        let frames = |cycles: &[(i64, usize)]| -> Vec<(i64, u16)> {
            packets(Encoding::L24, cycles).into_iter().map(|(frame, bytes)| (frame, bytes / 3)).collect()
        };
        assert_eq!(frames(&[(0, 64), (64, 64)]), [(0, 64), (64, 64)]);
        assert_eq!(frames(&[(0, 256)]), [(0, 128), (128, 128)]);
        assert_eq!(frames(&[(0, 16), (16, 16), (32, 16), (48, 16)]), [(0, 48)]);
        let long = frames(&[(0, 4_096)]);
        assert_eq!(long.iter().map(|(_, frames)| u64::from(*frames)).sum::<u64>(), 4_096);
    }

    #[test]
    fn the_pace_changes_with_the_next_packet_and_never_to_nonsense() {
        let mut send = Send::new(&Settings::default());
        let mut seen = Vec::new();
        let mut play = |send: &mut Send, frame| {
            send.process(frame, [&[0.1; 120], &[0.0; 120]], true, |packet| {
                seen.push((packet.frame, packet.len))
            })
        };
        play(&mut send, 0);
        send.set_pace(Pace { frames: 240, bitrate: 64_000 });
        send.set_pace(Pace { frames: 100, bitrate: 64_000 });
        (1..5).for_each(|n| play(&mut send, n * 120));
        assert_eq!(seen, [(0, 30), (120, 40), (360, 40)], "64 kbit/s are 40 bytes in 5 ms");
    }

    #[test]
    fn nobody_listens_nothing_is_encoded() {
        let format = Format { layout: Layout::Stereo, ..Format::default() };
        let mut send = Send::new(&Settings { format, ..Settings::default() });
        let loud = vec![0.5; 240];
        send.process(0, [&loud, &loud], false, |_| panic!("nobody listens"));
        assert!(send.read_own().reading.level_db > -20.0, "but the meter moves");
    }

    #[test]
    fn mute_is_silence_after_the_ramp_and_the_gain_is_kept() {
        let mut send = Send::new(&Settings { gain_db: 6.0, ..Settings::default() });
        let mut frame = 0;
        let mut play = |send: &mut Send, loud: f32, cycles: i64| {
            let sound = [loud; 120];
            for _ in 0..cycles {
                send.process(frame, [&sound, &[0.0; 120]], true, |_| ());
                frame += 120;
            }
            send.read_own()
        };
        play(&mut send, 0.25, 5);
        let loud = play(&mut send, 0.25, 40);
        assert!((loud.reading.level_db + 6.04).abs() < 0.1 && !loud.clips, "{loud:?}");
        send.set_muted(true);
        send.set_gain(3.0);
        play(&mut send, 0.25, 5);
        let muted = play(&mut send, 0.25, 1);
        assert_eq!((muted.reading.peak_db, muted.muted, muted.gain_db), (-120.0, true, 3.0));
        send.set_muted(false);
        send.set_gain(f32::NAN);
        play(&mut send, 0.25, 5);
        let back = play(&mut send, 0.25, 1);
        assert!((back.reading.peak_db + 9.04).abs() < 0.02, "{back:?}");
    }

    #[test]
    fn clipping_is_noticed_at_the_card_and_in_the_packet() {
        let clips = |loud: f32, gain_db: f32, muted: bool| {
            let mut send = Send::new(&Settings { gain_db, ..Settings::default() });
            send.set_muted(muted);
            for n in 0..5 {
                send.process(n * 120, [&[loud; 120], &[0.0; 120]], true, |_| ());
            }
            let first = send.read_own().clips;
            (first, send.read_own().clips)
        };
        assert_eq!(clips(0.5, 0.0, false), (false, false));
        assert_eq!(
            clips(-0.999_97, -20.0, false),
            (true, false),
            "the card; and only since the last reading"
        );
        assert_eq!(clips(0.999_97, 0.0, true), (true, false), "muted or not");
        assert_eq!(clips(0.5, 6.1, false), (true, false), "the packet");
    }
}
