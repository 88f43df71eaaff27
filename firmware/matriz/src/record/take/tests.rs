//! Every sample of a take is where its frame says, and everything else is silence.

use super::*;
use engine::tap::BLOCK;
use std::time::Duration;

const SECOND: i64 = 48_000;

/// The sample that `source` has at a frame of the card: no two alike, and never zero.
fn sample(source: Source, frame: i64) -> [f32; 2] {
    let value = 1.0 + (frame % 1_000_000) as f32;
    [value, -value - number(source).unwrap() as f32 * 1_048_576.0]
}

fn block(source: Source, frame: i64, frames: usize) -> Block {
    let mut block = Block { source, frame, frames: frames as u16, samples: [[0.0; 2]; BLOCK] };
    for (at, there) in block.samples[..frames].iter_mut().enumerate() {
        *there = sample(source, frame + at as i64);
    }
    block
}

/// The moment at which a card that never stood still has played up to `frame`.
fn at(frame: i64) -> Time {
    Time(1_000_000_000) + Duration::from_nanos((frame as f64 * 1e9 / 48_000.0) as u64)
}

/// Plays frames `from..to` of these sources, cycle by cycle, and each source's cycle in blocks of its size.
fn play(take: &mut Take, sources: &[(Source, usize)], from: i64, to: i64, cycle: i64) {
    let mut frame = from;
    while frame < to {
        let end = (frame + cycle).min(to);
        for (source, size) in sources {
            let mut here = frame;
            while here < end {
                let frames = (*size as i64).min(end - here);
                take.push(at(end), &block(*source, here, frames as usize));
                here += frames;
            }
        }
        frame = end;
    }
}

/// All slices as whole tracks, with the silence written out; checks that slices follow each other.
fn finish(mut take: Take) -> Vec<(Who, Vec<[f32; 2]>)> {
    take.finish();
    let mut all: Vec<(Who, Vec<[f32; 2]>)> = Vec::new();
    let mut length = 0;
    while let Some(slice) = take.poll() {
        assert_eq!(slice.from as usize, length, "a slice begins where the one before ended");
        for (index, track) in slice.tracks.iter().enumerate() {
            if index == all.len() {
                all.push((track.who.clone(), vec![[0.0; 2]; length]));
            }
            assert_eq!(all[index].0, track.who, "tracks keep their order");
            assert!(track.sound.len() as u64 <= slice.frames);
            all[index].1.extend(&track.sound);
            all[index].1.resize(length + slice.frames as usize, [0.0; 2]);
        }
        length += slice.frames as usize;
    }
    assert!(all.iter().all(|(_, sound)| sound.len() == length), "all tracks are equally long");
    all
}

fn names(of: &[(usize, &str)]) -> [Option<String>; SLOTS] {
    let mut names: [Option<String>; SLOTS] = Default::default();
    of.iter().for_each(|(slot, name)| names[*slot] = Some((*name).to_owned()));
    names
}

fn peer(name: &str) -> Who {
    Who::Peer(name.to_owned())
}

/// Asserts that a track has `source`'s samples in these ranges of the card's frames and silence elsewhere;
/// the take began at card position `origin`.
fn assert_track(track: &[[f32; 2]], source: Source, origin: i64, ranges: &[(i64, i64)]) {
    for (index, heard) in track.iter().enumerate() {
        let frame = origin + index as i64;
        let played = ranges.iter().any(|(from, to)| (*from..*to).contains(&frame));
        let wanted = if played { sample(source, frame) } else { [0.0; 2] };
        assert_eq!(*heard, wanted, "{source:?} at frame {frame}");
    }
}

#[test]
fn every_frame_of_every_source_is_at_its_place_whatever_the_blocks() {
    let origin = 7_001;
    let to = origin + 3 * SECOND + 17;
    for (cycle, own, mix, lisboa, marte) in
        [(120, 120, 120, 120, 120), (1_024, 128, 128, 128, 128), (333, 77, 128, 1, 50)]
    {
        let mut take = Take::new();
        take.name(names(&[(0, "lisboa"), (14, "marte")]));
        let (first, last) = (Source::Peer(0), Source::Peer(14));
        let band = [(Source::Own, own), (first, lisboa), (last, marte), (Source::Mix, mix)];
        play(&mut take, &band, origin, to, cycle);
        assert_eq!((take.missing(), take.is_crowded()), (0, false));
        let tracks = finish(take);
        let order: Vec<Who> = tracks.iter().map(|(who, _)| who.clone()).collect();
        assert_eq!(order, [Who::Own, Who::Mix, peer("lisboa"), peer("marte")]);
        for ((_, track), source) in tracks.iter().zip([Source::Own, Source::Mix, first, last]) {
            assert_eq!(track.len() as i64, to - origin);
            assert_track(track, source, origin, &[(origin, to)]);
        }
    }
}

#[test]
fn who_joins_later_begins_with_silence_and_who_rejoins_goes_on_in_his_track() {
    let mut take = Take::new();
    let (own, mix, first, second) =
        ((Source::Own, 128), (Source::Mix, 128), Source::Peer(3), Source::Peer(4));
    play(&mut take, &[own, mix], 0, 5 * SECOND, 120);
    take.name(names(&[(3, "lisboa")]));
    play(&mut take, &[own, (first, 128), mix], 5 * SECOND, 7 * SECOND, 120);
    take.name(names(&[]));
    play(&mut take, &[own, mix], 7 * SECOND, 8 * SECOND, 120);
    take.name(names(&[(4, "lisboa"), (3, "marte")]));
    play(&mut take, &[own, (first, 128), (second, 128), mix], 8 * SECOND, 9 * SECOND, 120);
    assert_eq!(take.missing(), 0, "to come and to go is not to be missing");
    let tracks = finish(take);
    assert_eq!(tracks.len(), 4, "own, mix, lisboa and marte");
    assert_track(&tracks[0].1, Source::Own, 0, &[(0, 9 * SECOND)]);
    let lisboa = &tracks.iter().find(|(who, _)| *who == peer("lisboa")).unwrap().1;
    assert_track(&lisboa[..(8 * SECOND) as usize], first, 0, &[(5 * SECOND, 7 * SECOND)]);
    assert_track(&lisboa[(8 * SECOND) as usize..], second, 8 * SECOND, &[(8 * SECOND, 9 * SECOND)]);
    let marte = &tracks.iter().find(|(who, _)| *who == peer("marte")).unwrap().1;
    assert_track(marte, first, 0, &[(8 * SECOND, 9 * SECOND)]);
}

#[test]
fn a_peer_without_a_sound_or_a_name_has_no_track() {
    let mut take = Take::new();
    play(&mut take, &[(Source::Own, 128), (Source::Peer(2), 128)], 0, SECOND, 120);
    take.name(names(&[(5, "lisboa")]));
    let silent = Block { samples: [[0.0; 2]; BLOCK], ..block(Source::Peer(5), SECOND, 128) };
    take.push(at(SECOND), &silent);
    take.push(at(SECOND), &Block { source: Source::Peer(200), ..block(Source::Mix, SECOND, 128) });
    assert_eq!(finish(take).len(), 2);
}

#[test]
fn blocks_that_were_dropped_are_silence_and_are_counted() {
    let mut random = fastrand::Rng::with_seed(4);
    let mut take = Take::new();
    take.name(names(&[(0, "lisboa")]));
    let sources = [Source::Own, Source::Peer(0), Source::Mix];
    let mut ranges: [Vec<(i64, i64)>; 3] = Default::default();
    let mut lost = [0; 3];
    for frame in (0..4 * SECOND).step_by(96) {
        for (index, source) in sources.into_iter().enumerate() {
            // The first and the last come: before and after them nothing can be known to be missing.
            let must_come = frame == 0 || frame + 96 >= 4 * SECOND;
            if must_come || random.u32(..10) > 0 {
                take.push(at(frame + 96), &block(source, frame, 96));
                ranges[index].push((frame, frame + 96));
            } else {
                lost[index] += 96;
            }
        }
    }
    assert!(lost.iter().all(|lost| *lost > 0));
    assert_eq!(take.missing(), *lost.iter().max().unwrap());
    let tracks = finish(take);
    for (track, at) in [(0, 0), (1, 2), (2, 1)] {
        assert_track(&tracks[track].1, sources[at], 0, &ranges[at]);
    }
}

#[test]
fn a_long_hole_takes_no_room() {
    let hour = 3_600 * SECOND;
    let mut take = Take::new();
    play(&mut take, &[(Source::Own, 128), (Source::Mix, 128)], 0, SECOND, 120);
    play(&mut take, &[(Source::Own, 128), (Source::Mix, 128)], 1_000 * hour, 1_000 * hour + SECOND, 120);
    assert_eq!(take.missing() as i64, 1_000 * hour - SECOND);
    take.finish();
    let (mut length, mut sounding) = (0, 0);
    while let Some(slice) = take.poll() {
        assert_eq!(slice.from, length);
        length += slice.frames;
        sounding += slice.tracks[0].sound.len();
    }
    assert_eq!((length as i64, sounding as i64), (1_000 * hour + SECOND, 2 * SECOND));
}

#[test]
fn a_card_that_was_started_again_goes_on_where_the_clock_says() {
    let mut take = Take::new();
    let band = [(Source::Own, 128), (Source::Mix, 128)];
    play(&mut take, &band, 500, 2 * SECOND + 500, 120);
    // It stood still for a second and a half, and counts from 0 again.
    let again = at(2 * SECOND + 500) + Duration::from_millis(1_500);
    for frame in (0..SECOND).step_by(120) {
        let now = again + Duration::from_nanos((frame as u64 + 120) * 1_000_000_000 / 48_000);
        take.push(now, &block(Source::Own, frame, 120));
        take.push(now, &block(Source::Mix, frame, 120));
    }
    assert_eq!(take.missing(), 0);
    let tracks = finish(take);
    for ((_, track), source) in tracks.iter().zip([Source::Own, Source::Mix]) {
        let (before, after) = track.split_at(2 * SECOND as usize);
        assert_track(before, source, 500, &[(500, 2 * SECOND + 500)]);
        let silent = after.iter().position(|frame| *frame != [0.0; 2]).unwrap();
        assert!((71_999..=72_001).contains(&silent), "{silent} frames of silence");
        assert_track(&after[silent..], source, 0, &[(0, SECOND)]);
    }
}

#[test]
fn there_is_an_end_to_tracks() {
    let mut take = Take::new();
    for guest in 0..MOST_TRACKS as i64 {
        take.name(names(&[(0, &format!("guest {guest}"))]));
        take.push(at(guest * 128), &block(Source::Peer(0), guest * 128, 128));
    }
    assert!(take.is_crowded());
    assert_eq!(finish(take).len(), MOST_TRACKS);
}

#[test]
fn slices_come_while_music_plays_and_nothing_else_is_kept() {
    let mut take = Take::new();
    for second in 0..20 {
        play(&mut take, &[(Source::Own, 128)], second * SECOND, (second + 1) * SECOND, 1_024);
        let mut handed = 0;
        while let Some(slice) = take.poll() {
            assert_eq!(slice.frames, SLICE);
            handed = slice.from + slice.frames;
        }
        assert!(handed + SLICE + SKEW >= (second as u64 + 1) * SECOND as u64, "{handed} in second {second}");
        assert!(take.tracks.iter().all(|track| track.sound.len() as u64 <= WINDOW));
    }
}
