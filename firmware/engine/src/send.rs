//! From the card to the packet: gain ramp, frames of 2.5 ms, Opus.
//!
//! Comes after the capture side of the card, before the ring to the network thread. Encoded once,
//! however many peers listen. Runs in the audio thread: allocates nothing, blocks never; worst case one
//! encode per 120 frames of the cycle.

use crate::codec::{Encoder, FRAME};
use crate::packet::{MAX_PAYLOAD, Packet};
use crate::strip::{Meter, Strip};

/// The way out.
pub struct Send {
    channels: usize,
    strip: Strip,
    meter: Meter,
    encoder: Encoder,
    /// Interleaved frames that do not fill a packet yet.
    pending: [f32; 2 * FRAME],
    filled: usize,
    /// Card position of `pending[0]`; `None` before the first cycle.
    start: Option<i64>,
    packet: Packet,
}

impl Send {
    /// A sender of one channel (both inputs together) or two, at `bitrate` bits per second.
    pub fn new(channels: usize, bitrate: i32) -> Self {
        Send {
            channels,
            strip: Strip::default(),
            meter: Meter::default(),
            encoder: Encoder::new(channels, bitrate),
            pending: [0.0; 2 * FRAME],
            filled: 0,
            start: None,
            packet: Packet { frame: 0, len: 0, bytes: [0; MAX_PAYLOAD] },
        }
    }

    /// Sets the gain of our own signal, in decibels.
    pub fn set_gain(&mut self, db: f32) {
        self.strip.set_gain(db);
    }

    /// Loudness of our own signal since the last reading, in dB full scale.
    pub fn read_level(&mut self) -> f32 {
        self.meter.read()
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
        for (left, right) in capture[0].iter().zip(capture[1]) {
            let gain = self.strip.step();
            let at = self.filled * self.channels;
            if self.channels == 1 {
                self.pending[at] = (left + right) * gain;
            } else {
                self.pending[at] = left * gain;
                self.pending[at + 1] = right * gain;
            }
            self.filled += 1;
            if self.filled == FRAME {
                self.flush(listened, &mut emit);
            }
        }
    }

    /// When the card lost frames (the machine overran), the packets stay on their grid of 120 frames:
    /// the hole becomes missing packets, which every receiver knows how to hide, and the first packet
    /// after it begins with silence up to where the card goes on.
    fn follow_card(&mut self, frame: i64) {
        let next = self.start.map(|start| start + self.filled as i64);
        if next == Some(frame) {
            return;
        }
        let grid = self.start.unwrap_or(frame);
        let into = (frame - grid).rem_euclid(FRAME as i64);
        self.start = Some(frame - into);
        self.pending.fill(0.0);
        self.filled = into as usize;
        self.strip.cut();
        self.encoder.reset();
    }

    fn flush(&mut self, listened: bool, emit: &mut impl FnMut(&Packet)) {
        let frame = self.start.expect("a frame was filled, so the first cycle has been");
        let samples = &self.pending[..FRAME * self.channels];
        self.meter.push(samples);
        if listened {
            let len = self.encoder.encode(samples, &mut self.packet.bytes);
            if len > 0 {
                self.packet.frame = frame;
                self.packet.len = len as u16;
                emit(&self.packet);
            }
        }
        self.start = Some(frame + FRAME as i64);
        self.filled = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions(cycles: &[(i64, usize)]) -> Vec<i64> {
        let mut send = Send::new(1, 96_000);
        let mut seen = Vec::new();
        for &(frame, len) in cycles {
            let silence = vec![0.0; len];
            send.process(frame, [&silence, &silence], true, |packet| seen.push(packet.frame));
        }
        seen
    }

    #[test]
    fn cycles_of_any_length_make_packets_of_120_frames() {
        assert_eq!(positions(&[(0, 120), (120, 120)]), [0, 120]);
        assert_eq!(positions(&[(0, 128), (128, 128)]), [0, 120]);
        assert_eq!(positions(&[(0, 60), (60, 60), (120, 300)]), [0, 120, 240]);
    }

    #[test]
    fn a_hole_in_the_card_keeps_the_grid() {
        assert_eq!(positions(&[(0, 128), (512, 128), (640, 128)]), [0, 480, 600]);
    }

    #[test]
    fn nobody_listens_nothing_is_encoded() {
        let mut send = Send::new(2, 160_000);
        let loud = vec![0.5; 240];
        send.process(0, [&loud, &loud], false, |_| panic!("nobody listens"));
        assert!(send.read_level() > -20.0, "but the meter moves");
    }
}
