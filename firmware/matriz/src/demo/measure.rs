//! What the demonstration measures of itself: the delay from what one box played to what another
//! heard, and how much of what was heard is that music.
//!
//! Before it: the simulated cards' recordings and their timelines. After it: the report. Pure
//! functions of samples. Method: each sender is brought onto the listener's frames
//! (`read`), found in the mix by cross-correlation, a window at a time (`track`), subtracted
//! together with all others (`fit`), and looked at closer for jumps (`refine`).

mod fit;
mod read;
mod refine;
mod track;

use fit::Fit;
use proto::units::{SAMPLE_RATE, Time, to_decibels};
use read::Sinc;
use track::Point;

/// When a card's frames happen: frame f at `epoch` + f / (48000·(1 + `ppm`·10⁻⁶)) s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timeline {
    /// The instant of frame 0 on the monotonic clock.
    pub epoch: Time,
    /// How much faster than nominal the card runs, in parts per million.
    pub ppm: f64,
}

impl Timeline {
    /// Frames per second of the monotonic clock.
    fn rate(&self) -> f64 {
        f64::from(SAMPLE_RATE) * (1.0 + self.ppm * 1e-6)
    }

    /// Where `frame` of this card falls among the frames of another.
    fn frame_on(&self, other: &Timeline, frame: f64) -> f64 {
        let between = self.epoch.nanos_since(other.epoch) as f64 * 1e-9;
        (frame / self.rate() + between) * other.rate()
    }
}

/// What one box heard: the mix of all others, mono.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// Frames from frame 0 of the card on, full scale 1.
    pub mix: &'a [f32],
    /// When these frames happened.
    pub timeline: Timeline,
}

/// What one box played, mono: its input, from frame 0 of its card on, again and again.
#[derive(Clone, Copy, Debug)]
pub struct Played<'a> {
    /// One turn of the loop, full scale 1.
    pub turn: &'a [f32],
    /// When the first turn happened.
    pub timeline: Timeline,
}

/// How one sender was heard by one listener.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// From a sound at the sender's card to the same sound at the listener's card: the median over
    /// all windows, in milliseconds.
    pub delay_ms: f64,
    /// The shortest delay of a window, in milliseconds.
    pub delay_min_ms: f64,
    /// The longest delay of a window, in milliseconds.
    pub delay_max_ms: f64,
    /// Energy of what is left of the mix when *all* senders' aligned parts are subtracted, relative
    /// to the energy of *this* sender's aligned part, in decibels; over the whole run and all
    /// frequencies. Negative is good: −10 means that for every ten parts of this sender's music one
    /// part of anything else is heard, such as codec noise (of all senders), concealed frames,
    /// clicks, or music at another moment than the track says. Clipping, muting and moved faders
    /// are not modelled; they count as what is left.
    pub residual_db: f64,
    /// Level of this sender's aligned part, root mean square in decibels relative to full scale.
    pub heard_db: f64,
}

/// A part that is this much fainter than what is left of the mix was not heard: 1.5 %, or −18 dB.
/// Measured on recorded loops through Opus: unheard music is fitted at −40 dB and below, music that is
/// heard but faint still has its right delay at −16 dB.
const FAINTEST: f64 = 0.015;

/// Measures how each of `played` is heard in `heard`, from `from_s` to `to_s` seconds after the
/// listener's frame 0. The result is in the order of `played`; `None` for a sender that is silent, or
/// not to be found at a delay of 0 to 500 ms.
///
/// Takes about 20 bytes of memory per frame and sender: of a long run, measure the last minute.
pub fn measure(heard: &Heard<'_>, played: &[Played<'_>], from_s: f64, to_s: f64) -> Vec<Option<Measured>> {
    let frame_at = |seconds: f64| ((seconds * heard.timeline.rate()) as usize).min(heard.mix.len());
    let (from, to) = (frame_at(from_s), frame_at(to_s));
    if from >= to {
        return vec![None; played.len()];
    }
    let desk = Desk { mix: &heard.mix[from..to], from, listener: heard.timeline, played, sinc: Sinc::new() };
    let (tracks, fit) = desk.find_all();
    let rest = energy(&fit.rest);
    let summary = |(track, part): (&Vec<Point>, &Vec<f32>)| {
        let part = energy(part);
        if track.is_empty() || part < FAINTEST * rest {
            return None;
        }
        let delays = || track.iter().map(|point| point.delay / heard.timeline.rate() * 1e3);
        Some(Measured {
            delay_ms: track::median(delays()),
            delay_min_ms: delays().fold(f64::INFINITY, f64::min),
            delay_max_ms: delays().fold(0.0, f64::max),
            residual_db: 10.0 * (rest / part).max(1e-12).log10(), // a perfect copy would be −∞
            heard_db: f64::from(to_decibels((part / desk.mix.len() as f64).sqrt() as f32)),
        })
    };
    tracks.iter().zip(&fit.parts).map(summary).collect()
}

/// One listener's mix and all who play into it.
struct Desk<'a> {
    mix: &'a [f32],
    /// The listener's frame at which the mix begins.
    from: usize,
    listener: Timeline,
    played: &'a [Played<'a>],
    sinc: Sinc,
}

impl Desk<'_> {
    /// A delay track and a part for each sender, empty and silent for one that is not found. Three
    /// looks: at the mix; for the faint ones, at what the others leave of it; and, closer, along the
    /// tracks that were found.
    fn find_all(&self) -> (Vec<Vec<Point>>, Fit) {
        let on_time: Vec<Vec<f32>> = self.played.iter().map(|played| self.on_time(played)).collect();
        let mut tracks: Vec<_> = on_time.iter().map(|sent| track::follow(self.mix, sent)).collect();
        let mut fit = self.fit(&tracks);
        let rest = energy(&fit.rest);
        let faint: Vec<usize> = (0..tracks.len()).filter(|n| energy(&fit.parts[*n]) < rest).collect();
        for n in &faint {
            tracks[*n] = track::follow(&alone(&fit, *n), &on_time[*n]);
        }
        if !faint.is_empty() {
            fit = self.fit(&tracks);
        }
        drop(on_time);
        let refined = |(n, track): (usize, &Vec<Point>)| match track[..] {
            [] => Vec::new(),
            _ => refine::refine(&alone(&fit, n), &fit.parts[n], track),
        };
        let closer: Vec<_> = tracks.iter().enumerate().map(refined).collect();
        let closer_fit = self.fit(&closer);
        let better = energy(&closer_fit.rest) < energy(&fit.rest);
        (tracks, if better { closer_fit } else { fit })
    }

    /// What a sender played, on the listener's frames, as if there were no delay. Begins
    /// [`track::MOST`] frames before the mix.
    fn on_time(&self, played: &Played<'_>) -> Vec<f32> {
        self.transfer(played, self.mix.len() + track::MOST, |n| n - track::MOST as f64)
    }

    /// The fit of all senders along their tracks.
    fn fit(&self, tracks: &[Vec<Point>]) -> Fit {
        let align = |(played, track): (&Played<'_>, &Vec<Point>)| match track[..] {
            [] => vec![0.0; self.mix.len()],
            _ => self.transfer(played, self.mix.len(), |n| n - track::delay_at(track, n)),
        };
        let aligned: Vec<Vec<f32>> = self.played.iter().zip(tracks).map(align).collect();
        fit::take_apart(self.mix, &aligned)
    }

    /// A sender's sound on the listener's frames: output n is what was played at the moment of frame
    /// `moment(n)` of the mix.
    fn transfer(&self, played: &Played<'_>, length: usize, moment: impl Fn(f64) -> f64) -> Vec<f32> {
        let origin = self.listener.frame_on(&played.timeline, self.from as f64);
        let ratio = played.timeline.rate() / self.listener.rate();
        (0..length).map(|n| self.sinc.read(played.turn, origin + ratio * moment(n as f64))).collect()
    }
}

/// The mix without all senders but one.
fn alone(fit: &Fit, n: usize) -> Vec<f32> {
    fit.rest.iter().zip(&fit.parts[n]).map(|(rest, part)| rest + part).collect()
}

/// Sum of squares.
fn energy(frames: &[f32]) -> f64 {
    frames.iter().map(|frame| f64::from(*frame).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    /// White noise of a seed, uniform from -1 to 1 (the generator of Steele, Lea and Flood 2014).
    fn noise(seed: u64) -> impl FnMut() -> f32 {
        let mut state = seed;
        move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ z >> 31) >> 40) as f32 / (1 << 23) as f32 - 1.0
        }
    }

    /// Two seconds of steady noise, as of the sea.
    fn sea() -> Vec<f32> {
        let mut noise = noise(1);
        (0..96_000).map(|_| 0.2 * noise()).collect()
    }

    /// Four seconds of a tune: notes of a quarter of a second, three harmonics each.
    fn tune() -> Vec<f32> {
        let note =
            |n: usize| 220.0 * 2_f64.powf(f64::from([0, 3, 7, 5, 12, 7, 3, 10][n / 12_000 * 5 % 8]) / 12.0);
        let sound = |n: usize| {
            let t = (n % 12_000) as f64 / 48_000.0;
            let wave: f64 = (1..4).map(|k| (TAU * note(n) * f64::from(k) * t).sin() / f64::from(k)).sum();
            (0.3 * wave * (t / 0.005).min(1.0) * (-t / 0.1).exp()) as f32
        };
        (0..192_000).map(sound).collect()
    }

    /// Three seconds of drums: six short hits, and nothing at all between them.
    fn drums() -> Vec<f32> {
        let mut noise = noise(2);
        let hit = |n: usize| (-((n % 24_000) as f32) / 1_500.0).exp() * f32::from(n % 24_000 < 9_000);
        (0..144_000).map(|n| 0.5 * hit(n) * noise()).collect()
    }

    /// What one listener hears of one sender, `delay_s(t)` seconds after it was played.
    fn hear(listener: &Timeline, sent: &Played<'_>, seconds: f64, delay_s: impl Fn(f64) -> f64) -> Vec<f32> {
        let sinc = Sinc::new();
        let between = listener.epoch.nanos_since(sent.timeline.epoch) as f64 * 1e-9;
        let position = |t: f64| (t - delay_s(t) + between) * sent.timeline.rate();
        let frames = (seconds * listener.rate()) as usize;
        (0..frames).map(|n| sinc.read(sent.turn, position(n as f64 / listener.rate()))).collect()
    }

    /// Adds noise that follows the loudness, 20 dB below it, as a codec's does; returns its energy.
    fn add_codec_noise(part: &mut [f32], seed: u64) -> f64 {
        let mut noise = noise(seed);
        let mut sum = 0.0;
        for packet in part.chunks_mut(120) {
            let level = (energy(packet) / packet.len() as f64).sqrt() as f32;
            for frame in packet {
                let error = 0.1 * level * 3_f32.sqrt() * noise(); // uniform noise has a third of the energy
                sum += f64::from(error).powi(2);
                *frame += error;
            }
        }
        sum
    }

    fn sum(parts: &[Vec<f32>]) -> Vec<f32> {
        (0..parts[0].len()).map(|n| parts.iter().map(|part| part[n]).sum()).collect()
    }

    const PORTO: Timeline = Timeline { epoch: Time(1_000_000_000), ppm: 300.0 };
    const MONTEMOR: Timeline = Timeline { epoch: Time(1_113_000_000), ppm: 0.0 };
    const LISBOA: Timeline = Timeline { epoch: Time(1_270_500_123), ppm: -300.0 };

    #[test]
    fn three_boxes_on_cards_600_ppm_apart_hear_each_other_as_late_and_as_well_as_they_do() {
        let turns = [sea(), tune(), drums()];
        let timelines = [PORTO, MONTEMOR, LISBOA];
        let delays_ms = [[0.0, 14.81, 22.183], [11.37, 0.0, 21.0], [9.99, 17.0, 0.0]];
        for listener in 0..3 {
            let senders: Vec<usize> = (0..3).filter(|sender| *sender != listener).collect();
            let played = |n: &usize| Played { turn: &turns[*n], timeline: timelines[*n] };
            let played: Vec<Played<'_>> = senders.iter().map(played).collect();
            let delays: Vec<f64> = senders.iter().map(|n| delays_ms[listener][*n]).collect();
            let hear_one =
                |(sent, ms): (&Played<'_>, &f64)| hear(&timelines[listener], sent, 8.0, |_| ms * 1e-3);
            let mut parts: Vec<Vec<f32>> = played.iter().zip(&delays).map(hear_one).collect();
            let clean: Vec<f64> = parts.iter().map(|part| energy(part)).collect();
            let noise: f64 = parts.iter_mut().zip(7..).map(|(part, seed)| add_codec_noise(part, seed)).sum();
            let heard = Heard { mix: &sum(&parts), timeline: timelines[listener] };
            let measured = measure(&heard, &played, 0.0, 8.0);
            for ((measured, delay), clean) in measured.iter().zip(&delays).zip(&clean) {
                let measured = measured.expect("heard");
                for ms in [measured.delay_ms, measured.delay_min_ms, measured.delay_max_ms] {
                    assert!((ms - delay).abs() < 0.05, "{ms} ms instead of {delay}");
                }
                let truth = 10.0 * (noise / clean).log10();
                let residual = measured.residual_db;
                assert!((residual - truth).abs() < 1.5, "{residual} dB left instead of {truth}");
                let level = 10.0 * (clean / heard.mix.len() as f64).log10();
                assert!((measured.heard_db - level).abs() < 0.2, "{} dB, not {level}", measured.heard_db);
            }
        }
    }

    #[test]
    fn a_jump_and_a_slew_of_the_jitter_buffer_are_followed() {
        for turn in [tune(), sea()] {
            let sent = Played { turn: &turn, timeline: PORTO };
            // 5 ms more at 2.3 s; from 4 s to 6 s 0.2 % faster.
            let delay_s = |t: f64| 0.010 + 0.005 * f64::from(t > 2.3) - 0.002 * (t - 4.0).clamp(0.0, 2.0);
            let mut part = hear(&LISBOA, &sent, 8.0, delay_s);
            add_codec_noise(&mut part, 3);
            let measured = measure(&Heard { mix: &part, timeline: LISBOA }, &[sent], 0.0, 8.0);
            let measured = measured[0].expect("heard");
            assert!((measured.delay_min_ms - 10.0).abs() < 0.2, "{measured:?}");
            assert!((measured.delay_max_ms - 15.0).abs() < 0.2, "{measured:?}");
            // -20 dB of noise, and the moments around the jump and in the slew that no window resolves.
            assert!(measured.residual_db < -12.0, "{measured:?}");
        }
    }

    #[test]
    fn what_should_not_be_there_is_left_over() {
        let turn = sea();
        let sent = Played { turn: &turn, timeline: MONTEMOR };
        let mut part = hear(&MONTEMOR, &sent, 6.0, |_| 0.010);
        // A tenth of all packets are silent: a tenth of the energy is not what was played.
        part.chunks_mut(120).step_by(10).for_each(|packet| packet.fill(0.0));
        let measured = measure(&Heard { mix: &part, timeline: MONTEMOR }, &[sent], 0.0, 6.0);
        let residual = measured[0].expect("heard").residual_db;
        assert!((residual + 9.5).abs() < 0.5, "{residual} dB instead of -9.5");
    }

    #[test]
    fn silence_and_what_is_not_in_the_mix_are_not_measured() {
        let (sea, tune, drums, silence) = (sea(), tune(), drums(), vec![0.0; 4_800]);
        let [sea, tune, drums, silence] =
            [(&sea, PORTO), (&tune, MONTEMOR), (&drums, LISBOA), (&silence, MONTEMOR)]
                .map(|(turn, timeline)| Played { turn, timeline });
        let mix = hear(&LISBOA, &tune, 6.0, |_| 0.012);
        let measured =
            |mix: &[f32], played: &[Played<'_>]| measure(&Heard { mix, timeline: LISBOA }, played, 0.0, 6.0);
        let found: Vec<bool> =
            measured(&mix, &[sea, tune, drums, silence]).iter().map(Option::is_some).collect();
        assert_eq!(found, [false, true, false, false]);
        assert_eq!(measured(&vec![0.0; 288_000], &[tune, sea]), [None, None], "a box that hears nothing");
        let mix = hear(&LISBOA, &sea, 6.0, |_| 0.012);
        assert_eq!(measured(&mix, &[tune, drums]), [None, None], "others are heard");
        assert_eq!(measured(&mix, &[]), []);
        assert_eq!(measured(&[], &[sea]), [None]);
        assert_eq!(measure(&Heard { mix: &mix, timeline: LISBOA }, &[sea], 9.0, 2.0), [None]);
    }
}
