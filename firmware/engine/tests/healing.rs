//! A lost packet is over by the third one after it, for packets do not build on each other; if they may, it is
//! heard for many times as long.
//!
//! Compared is what is heard after a loss with what would have been heard without it, packet by packet (2.5 ms):
//! the first good packet after the loss is number one. `cargo test -p engine --test healing -- --nocapture`
//! prints the table.

use engine::codec::{Decoder, Encoder, FRAME, LONGEST, LOOKAHEAD};
use proto::format::{Format, Layout};

mod music;

/// Packets of each piece of music (3 s), those after a loss that are looked at (100 ms), and from one
/// loss to the next.
const PACKETS: usize = 1_200;
const AFTER: usize = 40;
const EVERY: usize = 29;

/// Below this a loss is over: error against signal, in dB.
const HEALED: f64 = -50.0;

/// What losses do to one piece of music.
struct Outcome {
    /// Error after each loss, in dB below the signal, by the packets since: 0 is the lost one itself.
    errors: Vec<Vec<f64>>,
    /// Error of the codec itself, without loss, in dB below the signal.
    clean: f64,
}

impl Outcome {
    fn of(layout: Layout, bitrate: i32, prediction: bool) -> Self {
        let format = Format { layout, ..Format::default() };
        let input = input(layout);
        let payloads = encode(format, bitrate, prediction, &input);
        let whole = decode(format, &payloads, None);
        let mut errors = vec![Vec::new(); AFTER];
        for lost in (80..PACKETS - AFTER).step_by(EVERY) {
            let torn = decode(format, &payloads[..lost + AFTER], Some(lost));
            for (since, errors) in errors.iter_mut().enumerate() {
                let packet = 2 * FRAME * (lost + since)..2 * FRAME * (lost + since + 1);
                errors.push(error_db(&whole[packet.clone()], &torn[packet]));
            }
        }
        // Mono comes out on both sides.
        let sides: Vec<f32> = match layout {
            Layout::Mono => input.iter().flat_map(|x| [*x, *x]).collect(),
            _ => input,
        };
        let settled = 2 * FRAME * 40;
        Outcome { errors, clean: error_db(&sides[settled..], &whole[settled + 2 * LOOKAHEAD..]) }
    }

    fn median(&self, since: usize) -> f64 {
        let mut sorted = self.errors[since].clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }

    fn worst(&self, since: usize) -> f64 {
        self.errors[since].iter().copied().fold(f64::MIN, f64::max)
    }

    /// The first packet after the loss by which `error` is inaudible, and stays so.
    fn healed(&self, error: impl Fn(usize) -> f64) -> usize {
        (0..AFTER).rev().find(|since| error(*since) > HEALED).map_or(0, |since| since + 1)
    }
}

fn input(layout: Layout) -> Vec<f32> {
    let sides = music::music(1, PACKETS * FRAME);
    match layout {
        Layout::Mono => sides.chunks_exact(2).map(|frame| frame[0] + frame[1]).collect(),
        _ => sides,
    }
}

fn encode(format: Format, bitrate: i32, prediction: bool, input: &[f32]) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(format, bitrate);
    encoder.set_prediction(prediction);
    let packet = |frames: &[f32]| {
        let mut out = [0; 1_440];
        let used = encoder.encode(frames, &mut out);
        out[..used].to_vec()
    };
    input.chunks_exact(FRAME * format.layout.channels()).map(packet).collect()
}

/// What is heard, interleaved stereo, if the packet `lost` does not come.
fn decode(format: Format, payloads: &[Vec<u8>], lost: Option<usize>) -> Vec<f32> {
    let mut decoder = Decoder::new();
    let mut out = vec![0.0; 2 * LONGEST];
    let mut heard = Vec::new();
    for (place, payload) in payloads.iter().enumerate() {
        if lost == Some(place) {
            decoder.conceal(&mut out[..2 * FRAME]);
        } else {
            assert_eq!(decoder.decode(format, payload, 0, &mut out), Some(FRAME));
        }
        heard.extend_from_slice(&out[..2 * FRAME]);
    }
    heard
}

/// Difference of two sounds, in dB below the first; −150 if there is none.
fn error_db(signal: &[f32], other: &[f32]) -> f64 {
    let error: f64 = signal.iter().zip(other).map(|(x, y)| f64::from(x - y).powi(2)).sum();
    let power: f64 = signal.iter().map(|x| f64::from(*x).powi(2)).sum();
    10.0 * (error / power + 1e-15).log10()
}

/// Both ways for the same music: prediction disabled, as the box does, and enabled.
fn both(layout: Layout, bitrate: i32) -> [Outcome; 2] {
    let [without, with] = [false, true].map(|prediction| Outcome::of(layout, bitrate, prediction));
    println!("{layout:?}, {} kbit/s: error against signal in dB, median (worst)", bitrate / 1000);
    println!("| packets after the loss | prediction disabled | enabled |");
    println!("|---|---|---|");
    for since in [0, 1, 2, 3, 4, 6, 8, 12, 16, 20, 30, 39] {
        let cell = |outcome: &Outcome| format!("{:.0} ({:.0})", outcome.median(since), outcome.worst(since));
        println!("| {since} | {} | {} |", cell(&without), cell(&with));
    }
    println!("| without any loss | {:.1} | {:.1} |", without.clean, with.clean);
    [without, with]
}

fn check(layout: Layout, bitrate: i32) {
    let [without, with] = both(layout, bitrate);
    assert!(without.healed(|since| without.worst(since)) <= 3, "the worst loss is over by the third packet");
    assert!(without.median(2) < HEALED + 5.0, "most are nearly so by the second");

    let (median, worst) = (with.healed(|since| with.median(since)), with.healed(|since| with.worst(since)));
    assert!(median >= 16, "with prediction half of the losses last 40 ms, not {median} packets");
    assert!(worst >= 30, "and the worst of them 75 ms, not {worst} packets");
    for since in 3..8 {
        let apart = with.median(since) - without.median(since);
        assert!(apart > 80.0, "packet {since}: only {apart:.0} dB apart");
    }
    let price = without.clean - with.clean;
    assert!((0.0..3.0).contains(&price), "it costs {price:.1} dB of the clean signal");
}

#[test]
fn a_lost_mono_packet_is_over_by_the_third() {
    check(Layout::Mono, 96_000);
}

#[test]
fn a_lost_stereo_packet_is_over_by_the_third() {
    check(Layout::Stereo, 160_000);
}
