//! Sound to payload and back: Opus at its shortest, or samples as they are.
//!
//! Used by `send` (encode) and `receive` (decode, conceal). Everything is made before the first cycle;
//! libopus itself allocates nothing after that. A failure of the codec has a sound, never an error:
//! an encoder that fails sends nothing, a decoder that fails conceals. Sources: RFC 6716 and RFC 7587 (Opus:
//! restricted low delay, 48 kHz), RFC 6716 appendix B (two separate streams in one packet), RFC 3551
//! section 4.5.11 (L16), RFC 3190 (L24).

mod decode;
mod encode;

pub use decode::Decoder;
pub use encode::Encoder;

use audiopus::SampleRate;
use proto::format::{Encoding, Format, Layout};

/// Frames in the shortest Opus packet: 2.5 ms. Concealment, too, comes in pieces of this length.
pub const FRAME: usize = 120;

/// Frames in the longest packet that is sent, 5 ms, whatever its format.
pub const LONGEST_SENT: usize = 240;

/// Frames by which the decoded signal trails the encoded one: the look-ahead of restricted low delay
/// at 48 kHz (RFC 6716 section 2.1.5: 2.5 ms; `OPUS_GET_LOOKAHEAD` says the same, see the test).
pub const LOOKAHEAD: usize = 120;

/// Longest packet that is decoded, in frames per channel: 120 ms (RFC 6716 section 3.2.5).
pub const LONGEST: usize = 5760;

/// Full scale of samples of 16 and of 24 bits.
const FULL_16: f32 = 32_768.0;
const FULL_24: f32 = 8_388_608.0;

/// Makes an Opus packet of one frame say its own length (RFC 6716 appendix B), so that another can
/// follow; its new length, `None` if there is no room or it holds more than one frame.
fn delimit(packet: &mut [u8], len: usize) -> Option<usize> {
    let frame = len.checked_sub(1)?;
    let header = if frame < 252 { 1 } else { 2 };
    if packet[0] & 3 != 0 || len + header > packet.len() {
        return None;
    }
    packet.copy_within(1..len, 1 + header);
    if header == 1 {
        packet[1] = frame as u8;
    } else {
        packet[1] = 252 + (frame & 3) as u8;
        packet[2] = ((frame - 252) >> 2) as u8;
    }
    Some(len + header)
}

/// The reverse: the frame of the first packet, which comes after its first byte, and the second packet.
fn undelimit(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let (toc, length) = (*payload.first()?, usize::from(*payload.get(1)?));
    let (frame, begins) = match length {
        0..252 => (length, 2),
        _ => (4 * usize::from(*payload.get(2)?) + length, 3),
    };
    let (first, second) = payload.get(begins..)?.split_at_checked(frame)?;
    (toc & 3 == 0).then_some((first, second))
}

/// Frames in a payload: as an Opus packet's first bytes tell (RFC 6716 section 3.1), or by its length. `None`
/// if malformed, or longer than [`LONGEST`].
pub fn frames_of(format: Format, payload: &[u8]) -> Option<usize> {
    let frames = match (format.bytes_per_sample(), format.layout) {
        (Some(bytes), layout) => {
            let frame = bytes * layout.channels();
            payload.len().is_multiple_of(frame).then_some(payload.len() / frame)?
        }
        // The second packet says the same of its own frame, or decoding fails.
        (None, Layout::Separate) => opus_frames(undelimit(payload)?.1)?,
        (None, _) => opus_frames(payload)?,
    };
    (frames > 0 && frames <= LONGEST).then_some(frames)
}

fn opus_frames(packet: &[u8]) -> Option<usize> {
    audiopus::packet::nb_samples(packet.try_into().ok()?, SampleRate::Hz48000).ok()
}

/// The channels of a payload: Opus says it itself, in the third bit from the right of its first byte.
fn layout_of(format: Format, payload: &[u8]) -> Layout {
    let stereo = payload.first().is_some_and(|toc| toc & 4 != 0);
    match (format.encoding, format.layout) {
        (Encoding::Opus, Layout::Mono | Layout::Stereo) if stereo => Layout::Stereo,
        (Encoding::Opus, Layout::Mono | Layout::Stereo) => Layout::Mono,
        (_, layout) => layout,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(encoding: Encoding, layout: Layout) -> Format {
        Format { encoding, layout }
    }

    /// Two tones, interleaved, for `channels`.
    fn tones(from: usize, frames: usize, channels: usize) -> Vec<f32> {
        let tone = |frame: usize, at: usize| (frame as f32 * [0.05, 0.13][at]).sin() * 0.3;
        (from..from + frames).flat_map(|frame| (0..channels).map(move |at| tone(frame, at))).collect()
    }

    #[test]
    fn lookahead_is_what_the_delay_budget_says() {
        assert_eq!(Encoder::new(Format::default(), 96_000).lookahead(), LOOKAHEAD);
        assert_eq!(Encoder::new(format(Encoding::L16, Layout::Stereo), 96_000).lookahead(), 0);
    }

    #[test]
    fn an_opus_packet_is_of_constant_size() {
        let mut encoder = Encoder::new(Format::default(), 96_000);
        let mut out = [0; 400];
        for (frames, bytes) in [(FRAME, 30), (LONGEST_SENT, 60)] {
            for k in 0..20 {
                let used = encoder.encode(&tones(k * frames, frames, 1), &mut out);
                assert_eq!(used, bytes, "96 kbit/s are 30 bytes in 2.5 ms");
                assert_eq!(frames_of(Format::default(), &out[..used]), Some(frames));
            }
        }
    }

    #[test]
    fn every_format_comes_out_as_it_went_in() {
        for format in Format::all() {
            let (mut encoder, mut decoder) = (Encoder::new(format, 192_000), Decoder::new());
            let channels = format.layout.channels();
            let delay = encoder.lookahead();
            let (mut sent, mut heard) = (Vec::new(), Vec::new());
            for packet in 0..40 {
                let frames = tones(packet * FRAME, FRAME, channels);
                let (mut bytes, mut out) = ([0; 1_440], vec![0.0; 2 * LONGEST]);
                let used = encoder.encode(&frames, &mut bytes);
                let named = Format::of(format.payload_type()).unwrap();
                assert_eq!(frames_of(named, &bytes[..used]), Some(FRAME), "{format}");
                assert_eq!(decoder.decode(named, &bytes[..used], 0, &mut out), Some(FRAME), "{format}");
                assert_eq!(decoder.format(), format);
                sent.extend(frames);
                heard.extend_from_slice(&out[..2 * FRAME]);
            }
            for at in 0..2 {
                let of = |frame: usize| sent[frame * channels + at.min(channels - 1)];
                let pairs = (1_200..4_000).map(|frame| (of(frame), heard[2 * (frame + delay) + at]));
                let error: f32 = pairs.clone().map(|(x, y)| (x - y).powi(2)).sum();
                let power: f32 = pairs.map(|(x, _)| x * x).sum();
                let decibels = 10.0 * (error / power).log10();
                let most = match format.encoding {
                    Encoding::Opus => -15.0,
                    Encoding::L16 => -80.0,
                    Encoding::L24 => -120.0,
                };
                assert!(decibels < most, "{format}, channel {at}: {decibels:.1} dB");
            }
        }
    }

    #[test]
    fn samples_beyond_full_scale_are_clipped_and_not_wrapped() {
        for encoding in [Encoding::L16, Encoding::L24] {
            let format = format(encoding, Layout::Mono);
            let (mut bytes, mut out) = ([0; 6], [0.0; 4]);
            let used = Encoder::new(format, 0).encode(&[1.5, -1.5], &mut bytes);
            assert_eq!(Decoder::new().decode(format, &bytes[..used], 0, &mut out), Some(2));
            assert!(out[0] > 0.999 && out[2] == -1.0, "{out:?}");
        }
    }

    #[test]
    fn plain_samples_are_rounded_to_the_nearest() {
        for (sample, nearest) in
            [(0.4, 0), (0.6, 1), (1.5, 2), (-0.4, 0), (-0.6, -1), (-1.5, -2), (f32::NAN, 0)]
        {
            let mut bytes = [0; 2];
            let mut encoder = Encoder::new(format(Encoding::L16, Layout::Mono), 0);
            assert_eq!(encoder.encode(&[sample / FULL_16], &mut bytes), 2);
            assert_eq!(i16::from_be_bytes(bytes), nearest, "{sample}");
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
    fn a_payload_that_lies_is_refused() {
        let opus = Format::default();
        assert_eq!(frames_of(opus, &[]), None);
        assert_eq!(frames_of(opus, &[0xff]), None, "code 3 without a frame count");
        let mut out = vec![0.0; 2 * LONGEST];
        assert!(Decoder::new().decode(opus, &[0xff, 0xff, 0xff], 0, &mut out).is_none());
        let separate = format(Encoding::Opus, Layout::Separate);
        for payload in [&[][..], &[0xe0], &[0xe0, 200, 1], &[0xe0, 255], &[0xe0, 255, 255, 1], &[0xe3, 1, 1]]
        {
            assert_eq!(frames_of(separate, payload), None, "{payload:?}");
            assert!(Decoder::new().decode(separate, payload, 0, &mut out).is_none(), "{payload:?}");
        }
        assert_eq!(frames_of(format(Encoding::L16, Layout::Stereo), &[0; 6]), None, "half a frame");
        assert_eq!(frames_of(format(Encoding::L24, Layout::Mono), &[]), None);
    }
}
