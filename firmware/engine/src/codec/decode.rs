//! Payload to frames, or what stands in for a payload that is missing.
//!
//! Used by `receive`, one decoder per slot. A stream may change its format at any packet.

use super::{FULL_16, FULL_24, LONGEST, layout_of, undelimit};
use crate::extrapolate::{BLEND, Extrapolate};
use audiopus::coder::{Decoder as OpusDecoder, GenericCtl};
use audiopus::{Channels, SampleRate};
use proto::format::{Encoding, Format, Layout};

/// Longest frame of Opus (RFC 6716 section 3.4) with its first byte.
const LONGEST_PACKET: usize = 1_276;

/// Frames of the first packet after a gap that are made of it and of the one before (2.5 ms, RFC 6716 section
/// 4.3.7): all of that is wrong, less and less so, and gives way to what was invented.
const OVERLAP: usize = 120;

/// Turns payloads into frames, two channels always: a mono stream comes out on both.
pub struct Decoder {
    /// Of a stereo stream.
    stereo: OpusDecoder,
    /// Of a mono stream, and of two separate ones.
    mono: [OpusDecoder; 2],
    /// Conceals what is missing of any stream.
    extrapolate: Extrapolate,
    /// The format of the last payload.
    format: Format,
    /// One channel.
    channel: Box<[f32; LONGEST]>,
    /// A packet of a separate stream, without its length.
    packet: Box<[u8; LONGEST_PACKET]>,
}

impl Decoder {
    /// A decoder for any format.
    ///
    /// # Panics
    /// If libopus has no memory.
    pub fn new() -> Self {
        let opus = |channels| {
            let opus = OpusDecoder::new(SampleRate::Hz48000, channels);
            opus.expect("libopus makes a decoder for 48 kHz")
        };
        Decoder {
            stereo: opus(Channels::Stereo),
            mono: [opus(Channels::Mono), opus(Channels::Mono)],
            extrapolate: Extrapolate::new(),
            format: Format::default(),
            channel: Box::new([0.0; LONGEST]),
            packet: Box::new([0; LONGEST_PACKET]),
        }
    }

    /// The format of what was decoded last.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Decodes `payload` into `out` (interleaved stereo), whose first `over` frames will not be heard: their turn
    /// is over, something stood in for them. Returns the frames written, or `None` if the payload cannot
    /// be decoded.
    pub fn decode(&mut self, format: Format, payload: &[u8], over: usize, out: &mut [f32]) -> Option<usize> {
        self.format = Format { layout: layout_of(format, payload), ..format };
        let frames = self.read(payload, out)?;
        let blend = if format.encoding == Encoding::Opus { OVERLAP } else { BLEND };
        self.extrapolate.heard(&mut out[2 * over.min(frames)..2 * frames], blend);
        Some(frames)
    }

    fn read(&mut self, payload: &[u8], out: &mut [f32]) -> Option<usize> {
        match (self.format.encoding, self.format.layout) {
            (Encoding::Opus, Layout::Stereo) => decode_opus(&mut self.stereo, payload, out),
            (Encoding::Opus, Layout::Mono) => {
                let frames = decode_opus(&mut self.mono[0], payload, &mut self.channel[..])?;
                spread(&self.channel[..frames], out)
            }
            (Encoding::Opus, Layout::Separate) => self.decode_separate(payload, out),
            (Encoding::L16, _) => self.read_samples(payload, out, |[high, low]: [u8; 2]| {
                f32::from(i16::from_be_bytes([high, low])) / FULL_16
            }),
            (Encoding::L24, _) => self.read_samples(payload, out, |[high, middle, low]: [u8; 3]| {
                (i32::from_be_bytes([high, middle, low, 0]) >> 8) as f32 / FULL_24
            }),
        }
    }

    fn decode_separate(&mut self, payload: &[u8], out: &mut [f32]) -> Option<usize> {
        let (first, second) = undelimit(payload)?;
        self.packet[0] = payload[0];
        self.packet.get_mut(1..=first.len())?.copy_from_slice(first);
        let first = &self.packet[..=first.len()];
        let mut frames = None;
        for (at, packet) in [first, second].into_iter().enumerate() {
            let count = decode_opus(&mut self.mono[at], packet, &mut self.channel[..])?;
            if frames.is_some_and(|frames| frames != count) {
                return None;
            }
            frames = Some(count);
            weave(&self.channel[..count], at, out)?;
        }
        frames
    }

    fn read_samples<const N: usize>(
        &mut self,
        payload: &[u8],
        out: &mut [f32],
        sample: impl Fn([u8; N]) -> f32,
    ) -> Option<usize> {
        let channels = self.format.layout.channels();
        let frames = payload.len() / (N * channels);
        let out = out.get_mut(..2 * frames)?;
        let (samples, _) = payload.as_chunks::<N>();
        for (frame, samples) in out.chunks_exact_mut(2).zip(samples.chunks_exact(channels)) {
            frame[0] = sample(samples[0]);
            frame[1] = sample(samples[channels - 1]);
        }
        Some(frames)
    }

    /// Invents sound in the place of `out` (interleaved stereo, any number of frames), from what came before.
    ///
    /// Opus' own concealment is not used: it is farther from the truth than silence in recorded music, and takes
    /// longer (docs/decisions/0012).
    pub fn conceal(&mut self, out: &mut [f32]) {
        self.extrapolate.conceal(out);
    }

    /// Forgets the past, for a new stream in the same slot.
    pub fn reset(&mut self) {
        for opus in self.mono.iter_mut().chain([&mut self.stereo]) {
            // Resetting cannot fail (libopus: OPUS_RESET_STATE always returns OPUS_OK).
            let _ = opus.reset_state();
        }
        self.extrapolate.reset();
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

fn decode_opus(opus: &mut OpusDecoder, payload: &[u8], out: &mut [f32]) -> Option<usize> {
    let (packet, signals) = (payload.try_into().ok()?, out.try_into().ok()?);
    opus.decode_float(Some(packet), signals, false).ok()
}

/// One channel to both.
fn spread(channel: &[f32], out: &mut [f32]) -> Option<usize> {
    weave(channel, 0, out)?;
    weave(channel, 1, out)
}

/// One channel to the left (0) or the right (1).
fn weave(channel: &[f32], at: usize, out: &mut [f32]) -> Option<usize> {
    let out = out.get_mut(..2 * channel.len())?;
    out.chunks_exact_mut(2).zip(channel).for_each(|(frame, sample)| frame[at] = *sample);
    Some(channel.len())
}
