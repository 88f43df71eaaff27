//! Every format is heard as it was played: mono on both sides, stereo where it was, separate channels each by
//! itself and in the middle of the mix. Packets may become longer while music plays.
#![allow(clippy::unwrap_used)] // a test, though not all of it stands in #[test] functions

use engine::packet::Arrival;
use engine::{Cycle, Engine, Handle, Keeping, Settings};
use proto::control::{Cue, Pace, PeerReport};
use proto::format::{Format, Layout};
use proto::rtp::Header;
use proto::units::Time;

const PERIOD: usize = 128;

/// A speaker and a listener on a line that takes no time.
struct Pair {
    ends: [(Engine, Handle); 2],
    format: Format,
    cycle: i64,
    sequence: u16,
    report: PeerReport,
    /// Cycles that the speaker's card loses.
    loses: i64,
    /// Loudest sample at the listener in the last stretch: mix left and right, peer left and right.
    loudest: [f32; 4],
}

impl Pair {
    fn new(format: Format) -> Pair {
        let mut ends = [(); 2].map(|()| Engine::new(Settings { format, ..Settings::default() }));
        for (_, handle) in &mut ends {
            handle.cues.push(Cue::Join { slot: 0 }).unwrap();
        }
        let (report, loudest) = (PeerReport::default(), [0.0; 4]);
        Pair { ends, format, cycle: 0, sequence: 0, report, loses: 0, loudest }
    }

    /// Plays a tone into the left input alone for so many cycles.
    fn play(&mut self, cycles: i64) {
        self.loudest = [0.0; 4];
        for _ in 0..cycles {
            let frame = self.cycle * PERIOD as i64;
            let cycle = Cycle { time: Time(frame * 1_000_000 / 48), frame, frames: PERIOD };
            let tone: Vec<f32> = (frame..).take(PERIOD).map(|at| (at as f32 * 0.06).sin() * 0.5).collect();
            let silence = [0.0; PERIOD];
            if self.loses == 0 {
                self.ends[0].0.process(cycle, [&tone, &silence], Keeping::default());
            } else {
                self.loses -= 1;
            }
            self.ends[1].0.process(cycle, [&silence, &silence], Keeping::default());
            self.listen();
            self.carry(cycle.time);
            self.cycle += 1;
        }
    }

    fn listen(&mut self) {
        let (engine, handle) = &mut self.ends[1];
        let peer = engine.peer(0, PERIOD).unwrap_or([&[]; 2]);
        for (loudest, sound) in self.loudest.iter_mut().zip(engine.mix(PERIOD).into_iter().chain(peer)) {
            *loudest = sound.iter().fold(*loudest, |loudest, x| loudest.max(x.abs()));
        }
        while let Ok(report) = handle.reports.pop() {
            self.report = report.peers[0];
        }
    }

    fn carry(&mut self, time: Time) {
        while let Ok(packet) = self.ends[0].1.packets.pop() {
            self.sequence = self.sequence.wrapping_add(1);
            let timestamp = packet.frame as u32;
            let header = Header { sequence: self.sequence, timestamp, ..Header::default() };
            let arrival = Arrival::new(0, &header, (self.format, 0, packet.payload()), time).unwrap();
            self.ends[1].1.arrivals.push(arrival).unwrap();
        }
    }
}

#[test]
fn every_layout_is_heard_where_it_belongs() {
    for format in Format::all() {
        let mut pair = Pair::new(format);
        pair.play(400);
        pair.play(200);
        let loud = pair.loudest.map(|loudest| loudest > 0.4);
        let expected = match format.layout {
            Layout::Mono => [true, true, true, true],
            Layout::Stereo => [true, false, true, false],
            Layout::Separate => [true, true, true, false],
        };
        assert_eq!(loud, expected, "{format}: {:?}", pair.loudest);
        assert_eq!((pair.report.format, pair.report.concealed), (format, 0), "{format}");
    }
}

#[test]
fn longer_packets_cost_one_concealment_at_most_and_shorter_ones_none() {
    let mut pair = Pair::new(Format::default());
    pair.play(2_000);
    for (frames, most) in [(240, 2), (120, 0)] {
        let before = pair.report.concealed;
        pair.ends[0].1.cues.push(Cue::Pace(Pace { frames, bitrate: 96_000 })).unwrap();
        pair.play(2_000);
        let (packet, concealed) = (pair.report.packet, pair.report.concealed - before);
        assert_eq!(packet, u32::from(frames));
        assert!(concealed <= most, "{concealed} pieces concealed for packets of {frames}");
        assert!(pair.loudest[0] > 0.4);
    }
}

#[test]
fn cycles_that_the_speaker_s_card_loses_are_over_when_they_are_over() {
    for format in Format::all() {
        let mut pair = Pair::new(format);
        pair.play(4_000);
        for lost in [1, 2, 7] {
            let before = pair.report;
            pair.loses = lost;
            pair.play(1_000);
            let (late, concealed) =
                (pair.report.late - before.late, pair.report.concealed - before.concealed);
            assert!(late <= 2, "{format}: {late} packets late after {lost} lost cycles");
            assert!(concealed <= 3 * lost as u64 + 3, "{format}: {concealed} pieces for {lost} lost cycles");
        }
    }
}
