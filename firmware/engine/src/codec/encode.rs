//! Frames to payload: an Opus encoder, two of them, or none.
//!
//! Used by `send`, once for all listeners. What it writes, [`super::decode`] reads.

use super::{FULL_16, FULL_24, LONGEST_SENT, delimit};
use audiopus::coder::{Encoder as OpusEncoder, GenericCtl};
use audiopus::{Application, Bitrate, Channels, SampleRate};
use proto::format::{Encoding, Format, Layout};

/// Turns frames into payloads.
pub struct Encoder {
    format: Format,
    /// None for plain samples, two for separate channels, else one.
    opus: Vec<OpusEncoder>,
    /// One channel of several.
    channel: Box<[f32; LONGEST_SENT]>,
}

impl Encoder {
    /// An encoder for `format`; Opus runs at `bitrate` bits per second, constant.
    ///
    /// # Panics
    /// If libopus refuses, which it does only without memory or for settings that are not of ours.
    pub fn new(format: Format, bitrate: i32) -> Self {
        let streams = match (format.encoding, format.layout) {
            (Encoding::Opus, Layout::Separate) => 2,
            (Encoding::Opus, _) => 1,
            _ => 0,
        };
        let channels = if format.layout == Layout::Stereo { Channels::Stereo } else { Channels::Mono };
        let opus = (0..streams).map(|_| opus_encoder(channels)).collect();
        let mut encoder = Encoder { format, opus, channel: Box::new([0.0; LONGEST_SENT]) };
        encoder.set_bitrate(bitrate);
        encoder
    }

    /// Sets the bits per second of all channels together; plain samples have no choice.
    pub fn set_bitrate(&mut self, bitrate: i32) {
        let streams = self.opus.len() as i32;
        for opus in &mut self.opus {
            // What libopus refuses (it takes 500 to 512000) leaves the bit rate as it was.
            let _ = opus.set_bitrate(Bitrate::BitsPerSecond(bitrate / streams));
        }
    }

    /// Whether a packet may build on the one before it. With prediction one lost packet is heard for over
    /// 50 ms, without it for about 5 (see `tests/healing.rs`).
    pub fn set_prediction(&mut self, enabled: bool) {
        for opus in &mut self.opus {
            opus.set_prediction_disabled(!enabled).expect("prediction can always be chosen");
        }
    }

    /// Encodes frames, interleaved, 120 or 240 for Opus, at most [`LONGEST_SENT`]; returns the
    /// bytes used of `out`, 0 if the encoder failed.
    pub fn encode(&mut self, frames: &[f32], out: &mut [u8]) -> usize {
        match (self.format.encoding, &mut self.opus[..]) {
            (Encoding::L16, _) => write_samples(frames, out, |sample| {
                // Rounds; what is too large becomes the largest, as such casts do. `round` is a call for each sample.
                let whole = (sample * FULL_16 + 0.5_f32.copysign(sample)) as i16;
                whole.to_be_bytes()
            }),
            (Encoding::L24, _) => write_samples(frames, out, |sample| {
                let whole = (sample * FULL_24).round().clamp(-FULL_24, FULL_24 - 1.0) as i32;
                let [_, high, middle, low] = whole.to_be_bytes();
                [high, middle, low]
            }),
            (Encoding::Opus, [opus]) => opus.encode_float(frames, out).unwrap_or(0),
            (Encoding::Opus, streams) => {
                let count = frames.len() / 2;
                let Some(channel) = self.channel.get_mut(..count) else { return 0 };
                let mut used = 0;
                for (at, opus) in streams.iter_mut().enumerate() {
                    let samples = frames.iter().skip(at).step_by(2);
                    channel.iter_mut().zip(samples).for_each(|(to, from)| *to = *from);
                    let len = opus.encode_float(&*channel, &mut out[used..]).unwrap_or(0);
                    let delimited = if at == 0 { delimit(&mut out[used..], len) } else { Some(len) };
                    match delimited {
                        Some(len) if len > 0 => used += len,
                        _ => return 0,
                    }
                }
                used
            }
        }
    }

    /// Forgets the past, as after a gap.
    pub fn reset(&mut self) {
        for opus in &mut self.opus {
            // Resetting cannot fail (libopus: OPUS_RESET_STATE always returns OPUS_OK).
            let _ = opus.reset_state();
        }
    }

    /// Look-ahead in frames, as libopus tells it; plain samples have none.
    pub fn lookahead(&self) -> usize {
        self.opus.first().map_or(0, |opus| opus.lookahead().map_or(0, |n| n as usize))
    }
}

fn opus_encoder(channels: Channels) -> OpusEncoder {
    let opus = OpusEncoder::new(SampleRate::Hz48000, channels, Application::LowDelay);
    let mut opus = opus.expect("libopus makes an encoder for 48 kHz and one or two channels");
    // Constant: what a line must carry is known beforehand, and no packet is much later than another.
    opus.disable_vbr().expect("a constant bit rate is always allowed");
    opus.set_prediction_disabled(true).expect("prediction can always be disabled");
    opus
}

fn write_samples<const N: usize>(frames: &[f32], out: &mut [u8], bytes: impl Fn(f32) -> [u8; N]) -> usize {
    let used = frames.len() * N;
    let Some(out) = out.get_mut(..used) else { return 0 };
    for (to, sample) in out.chunks_exact_mut(N).zip(frames) {
        to.copy_from_slice(&bytes(*sample));
    }
    used
}
