//! All tracks are equally long at every moment, in every part, and after whatever went wrong.

use super::super::take::Track;
use super::*;

/// A sample of 16 bits, as all of these here.
fn sample(track: usize, at: u64) -> f32 {
    (at % 30_000 + track as u64) as f32 / 32_768.0
}

/// A slice with the first tracks of the band; the one at `short` is silent in its second half.
fn slice(from: u64, frames: u64, tracks: usize, short: usize) -> Slice {
    let who = [Who::Own, Who::Mix, Who::Peer("lisboa".into()), Who::Peer("a/\"b\"".into())];
    let track = |(index, who): (usize, Who)| {
        let frames = if index == short { frames / 2 } else { frames };
        Track { who, sound: (from..from + frames).map(|at| [sample(index, at), 0.0]).collect() }
    };
    Slice { from, frames, tracks: who.into_iter().take(tracks).enumerate().map(track).collect() }
}

/// The left channel of a file, in 24 bits.
fn read(path: &Path) -> Vec<i32> {
    let reader = hound::WavReader::open(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    reader.into_samples::<i32>().step_by(2).map(|value| value.unwrap()).collect()
}

fn whole(track: usize, range: std::ops::Range<u64>) -> Vec<i32> {
    range.map(|at| (at % 30_000 + track as u64) as i32 * 256).collect()
}

#[test]
fn tracks_are_equally_long_and_everything_is_at_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Files::new(folder.path().to_owned(), "porto", 1_000_000);
    files.add(&slice(0, 1_000, 2, 1)).unwrap();
    files.settle().unwrap();
    files.add(&slice(1_000, 500, 2, 9)).unwrap();
    // The slice from 1500 to 2000 was left out, and with the next one somebody comes.
    files.add(&slice(2_000, 1_000, 3, 2)).unwrap();
    assert_eq!((files.frames(), read(&folder.path().join("01 porto.wav")).len()), (1_000, 1_000));
    files.settle().unwrap();
    assert_eq!((files.frames(), files.tracks()), (3_000, 3));

    let silence = |frames: usize| vec![0; frames];
    let porto = [whole(0, 0..1_500), silence(500), whole(0, 2_000..3_000)].concat();
    let mix = [whole(1, 0..500), silence(500), whole(1, 1_000..1_500), silence(500), whole(1, 2_000..3_000)]
        .concat();
    let lisboa = [silence(2_000), whole(2, 2_000..2_500), silence(500)].concat();
    for (name, wanted) in [("01 porto", porto), ("02 mix", mix), ("03 lisboa", lisboa)] {
        assert!(read(&folder.path().join(format!("{name}.wav"))) == wanted, "{name}");
    }
}

#[test]
fn a_new_part_begins_in_the_same_frame_on_all_tracks() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Files::new(folder.path().to_owned(), "porto", 1_000);
    files.add(&slice(0, 700, 2, 9)).unwrap();
    files.add(&slice(700, 700, 3, 9)).unwrap();
    files.add(&slice(1_400, 1_700, 4, 9)).unwrap();
    files.settle().unwrap();
    for (track, name) in ["01 porto", "02 mix", "03 lisboa", "04 a__b_"].into_iter().enumerate() {
        let began: u64 = [0, 0, 700, 1_400][track];
        for (part, range) in [(1, 0..1_000), (2, 1_000..2_000), (3, 2_000..3_000), (4, 3_000..3_100)] {
            let part = if part == 1 { String::new() } else { format!(" part {part}") };
            let path = folder.path().join(format!("{name}{part}.wav"));
            if range.end <= began {
                assert!(!path.exists(), "nobody of this name was there in {path:?}");
                continue;
            }
            let silent = began.saturating_sub(range.start);
            let wanted = [vec![0; silent as usize], whole(track, range.start + silent..range.end)].concat();
            assert!(read(&path) == wanted, "{path:?}");
        }
    }
    let stem = folder.path().file_name().unwrap().to_str().unwrap().to_owned();
    let project = std::fs::read_to_string(folder.path().join(format!("{stem}.rpp"))).unwrap();
    for line in ["NAME \"porto\"", "NAME \"a/b\"", "FILE \"04 a__b_ part 4.wav\"", "LENGTH 0.002083333"] {
        assert!(project.lines().any(|here| here.trim() == line), "{line} in {project}");
    }
    assert_eq!(project.matches("<ITEM").count(), 4 + 4 + 4 + 3);
}

#[test]
fn what_fails_ends_all_tracks_at_the_last_frame_that_all_have() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Files::new(folder.path().to_owned(), "porto", 1_000_000);
    files.add(&slice(0, 48_000, 2, 9)).unwrap();
    files.settle().unwrap();
    files.add(&slice(48_000, 1_000, 2, 9)).unwrap();
    // The name of the next track is taken by a folder, so that its file cannot be made.
    std::fs::create_dir(folder.path().join("03 lisboa.wav")).unwrap();
    let error = files.add(&slice(49_000, 1_000, 3, 9)).unwrap_err();
    let said = files.give_up(&error);
    assert!(said.starts_with("the recording has ended after 0:00:01, up to there it is whole"), "{said}");
    for (track, name) in ["01 porto.wav", "02 mix.wav"].into_iter().enumerate() {
        let path = folder.path().join(name);
        assert!(read(&path) == whole(track, 0..48_000), "{name}");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 44 + 48_000 * 6, "nothing is behind its end");
    }
}

#[test]
fn a_full_disk_is_told_as_what_it_is() {
    for (kind, wanted) in [
        (ErrorKind::StorageFull, "is full"),
        (ErrorKind::QuotaExceeded, "is full"),
        (ErrorKind::FileTooLarge, "raise the limit"),
        (ErrorKind::PermissionDenied, "cannot be written"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(folder.path().to_owned(), "porto", 1_000);
        let said = files.give_up(&Error::from(kind));
        assert!(said.contains(wanted) && said.contains("the music goes on"), "{said}");
    }
}
