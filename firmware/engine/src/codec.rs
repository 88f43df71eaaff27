//! Opus at its shortest: 2.5 ms frames, restricted low delay, 48 kHz (RFC 6716, RFC 7587).
//!
//! Used by `send` (encode) and `receive` (decode, conceal). Both are made before the first cycle;
//! libopus itself allocates nothing after that. A failure of the codec has a sound, never an error:
//! an encoder that fails sends nothing, a decoder that fails conceals.

use audiopus::coder::{Decoder as OpusDecoder, Encoder as OpusEncoder, GenericCtl};
use audiopus::{Application, Bitrate, Channels, SampleRate};

/// Frames in one packet: 2.5 ms, the shortest that Opus has.
pub const FRAME: usize = 120;

/// Frames by which the decoded signal trails the encoded one: the look-ahead of restricted low delay
/// at 48 kHz (RFC 6716 section 2.1.5: 2.5 ms; `OPUS_GET_LOOKAHEAD` says the same, see the test).
pub const LOOKAHEAD: usize = 120;

/// Longest Opus packet that is decoded, in frames per channel: 120 ms (RFC 6716 section 3.2.5).
pub const LONGEST: usize = 5760;

/// Turns frames into packets.
pub struct Encoder {
    opus: OpusEncoder,
}

impl Encoder {
    /// An encoder for 1 or 2 channels at `bitrate` bits per second, constant.
    ///
    /// # Panics
    /// If libopus refuses, which it does only without memory or for settings that are not of ours.
    pub fn new(channels: usize, bitrate: i32) -> Self {
        let opus = OpusEncoder::new(SampleRate::Hz48000, opus_channels(channels), Application::LowDelay);
        let mut opus = opus.expect("libopus makes an encoder for 48 kHz and one or two channels");
        opus.set_bitrate(Bitrate::BitsPerSecond(bitrate))
            .expect("the configuration keeps the bit rate in range");
        // Constant: what a line must carry is known beforehand, and no packet is much later than another.
        opus.disable_vbr().expect("a constant bit rate is always allowed");
        // With prediction one lost packet is heard for over 50 ms, without it for about 5.
        opus.set_prediction_disabled(true).expect("prediction can always be disabled");
        Encoder { opus }
    }

    /// Encodes one frame, interleaved; returns the bytes used of `out`, 0 if the encoder failed.
    pub fn encode(&mut self, frame: &[f32], out: &mut [u8]) -> usize {
        self.opus.encode_float(frame, out).unwrap_or(0)
    }

    /// Forgets the past, as after a gap.
    pub fn reset(&mut self) {
        // Resetting cannot fail (libopus: OPUS_RESET_STATE always returns OPUS_OK).
        let _ = self.opus.reset_state();
    }

    /// Look-ahead in frames, as libopus tells it.
    pub fn lookahead(&self) -> usize {
        self.opus.lookahead().map_or(0, |n| n as usize)
    }
}

/// Turns packets into frames, two channels always: a mono stream comes out on both.
pub struct Decoder {
    opus: OpusDecoder,
}

impl Decoder {
    /// A decoder.
    ///
    /// # Panics
    /// If libopus has no memory.
    pub fn new() -> Self {
        let opus = OpusDecoder::new(SampleRate::Hz48000, Channels::Stereo);
        Decoder { opus: opus.expect("libopus makes a stereo decoder for 48 kHz") }
    }

    /// Decodes `payload` into `out` (interleaved stereo). Returns the frames written, or `None` if the
    /// payload is no Opus packet.
    pub fn decode(&mut self, payload: &[u8], out: &mut [f32]) -> Option<usize> {
        let packet = payload.try_into().ok()?;
        let signals = out.try_into().ok()?;
        self.opus.decode_float(Some(packet), signals, false).ok()
    }

    /// Invents the sound of a missing packet from what came before; `out` sets the length, a multiple
    /// of 2.5 ms. Leaves silence if libopus cannot.
    pub fn conceal(&mut self, out: &mut [f32]) {
        let concealed = match (&mut *out).try_into() {
            Ok(signals) => self.opus.decode_float(None, signals, false).is_ok(),
            Err(_) => false,
        };
        if !concealed {
            out.fill(0.0);
        }
    }

    /// Forgets the past, for a new stream in the same slot.
    pub fn reset(&mut self) {
        // Resetting cannot fail (libopus: OPUS_RESET_STATE always returns OPUS_OK).
        let _ = self.opus.reset_state();
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

/// Frames in an Opus packet as its first bytes tell (RFC 6716 section 3.1), `None` if malformed or longer
/// than 120 ms.
pub fn frames_of(payload: &[u8]) -> Option<usize> {
    let packet = payload.try_into().ok()?;
    let frames = audiopus::packet::nb_samples(packet, SampleRate::Hz48000).ok()?;
    (frames > 0 && frames <= LONGEST).then_some(frames)
}

fn opus_channels(channels: usize) -> Channels {
    if channels == 1 { Channels::Mono } else { Channels::Stereo }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookahead_is_what_the_delay_budget_says() {
        assert_eq!(Encoder::new(1, 96_000).lookahead(), LOOKAHEAD);
    }

    #[test]
    fn a_packet_is_two_and_a_half_milliseconds_and_of_constant_size() {
        let mut encoder = Encoder::new(1, 96_000);
        let mut out = [0; 400];
        for k in 0..20 {
            let frame: Vec<f32> = (0..FRAME).map(|i| ((k * FRAME + i) as f32 * 0.05).sin() * 0.3).collect();
            assert_eq!(encoder.encode(&frame, &mut out), 30, "96 kbit/s are 30 bytes in 2.5 ms");
            assert_eq!(frames_of(&out[..30]), Some(FRAME));
        }
    }

    #[test]
    fn the_library_is_the_system_s() {
        let version = audiopus::version();
        let output = std::process::Command::new("pkg-config").args(["--modversion", "opus"]).output();
        let system = String::from_utf8(output.expect("pkg-config runs").stdout).expect("a version is text");
        assert!(version.contains(system.trim()), "linked {version}, but the system has {system}");
    }

    #[test]
    fn what_is_no_opus_packet_is_refused() {
        assert_eq!(frames_of(&[]), None);
        assert_eq!(frames_of(&[0xff]), None, "code 3 without a frame count");
        let mut out = vec![0.0; 2 * LONGEST];
        assert!(Decoder::new().decode(&[0xff, 0xff, 0xff], &mut out).is_none());
    }
}
