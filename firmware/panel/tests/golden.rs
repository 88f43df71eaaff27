//! Every page in its interesting states is as it is in the pictures of `tests/golden`.
//!
//! A picture that differs is written to the target folder, with a second one in which what is new is green and what
//! is missing red. `MATRIZ_GOLDEN=write` writes the golden pictures anew: look at them before they are committed.

mod scenes;

use panel::{HEIGHT, Picture, WIDTH};
use std::path::{Path, PathBuf};

/// A lit point of an OLED, and a dark one.
const LIT: [u8; 3] = [210, 238, 255];
const DARK: [u8; 3] = [8, 12, 18];

/// In the picture of differences: lit but should be dark, dark but should be lit, lit in both.
const NEW: [u8; 3] = [0, 230, 80];
const MISSING: [u8; 3] = [240, 40, 40];
const SAME: [u8; 3] = [90, 90, 90];

/// Points of the PNG for a point of the display, both ways.
const SCALE: usize = 4;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.png"))
}

#[test]
fn every_page_is_as_its_picture() {
    let write = std::env::var_os("MATRIZ_GOLDEN").is_some_and(|word| word == "write");
    let mut wrong = Vec::new();
    for (name, picture) in scenes::all() {
        if write {
            save(&golden(name), |x, y| if picture.lit(x, y) { LIT } else { DARK });
        }
        let Some(expected) = load(&golden(name)) else {
            wrong.push(format!("{name}: there is no {}", golden(name).display()));
            continue;
        };
        if let Some(told) = compare(name, &picture, &expected) {
            wrong.push(told);
        }
    }
    assert!(wrong.is_empty(), "{}\nif they are right: MATRIZ_GOLDEN=write", wrong.join("\n"));
}

#[test]
fn no_picture_is_left_over() {
    let names: Vec<&str> = scenes::all().iter().map(|(name, _)| *name).collect();
    for file in std::fs::read_dir(golden("x").parent().unwrap()).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(names.contains(&name.as_str()), "no scene draws {}", path.display());
    }
}

#[test]
fn the_texts_show_what_the_panel_shows() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/pictures");
    for (shown, name) in
        [("play", "play-marks"), ("line", "line-loss"), ("box", "box"), ("message", "message")]
    {
        let there = std::fs::read(docs.join(format!("panel-{shown}.png"))).unwrap();
        assert!(
            there == std::fs::read(golden(name)).unwrap(),
            "copy {name}.png to docs/pictures/panel-{shown}.png"
        );
    }
}

/// Says where the pictures of a difference are, if there is one.
fn compare(name: &str, picture: &Picture, expected: &[Vec<bool>]) -> Option<String> {
    let should = |x: usize, y: usize| expected[y][x];
    let points = || (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x, y)));
    let differ = points().filter(|(x, y)| picture.lit(*x, *y) != should(*x, *y)).count();
    if differ == 0 {
        return None;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (actual, difference) =
        (folder.join(format!("{name}-actual.png")), folder.join(format!("{name}-difference.png")));
    save(&actual, |x, y| if picture.lit(x, y) { LIT } else { DARK });
    save(&difference, |x, y| match (picture.lit(x, y), should(x, y)) {
        (true, false) => NEW,
        (false, true) => MISSING,
        (true, true) => SAME,
        (false, false) => DARK,
    });
    Some(format!("{name}: {differ} points differ, see {}", difference.display()))
}

fn save(path: &Path, color: impl Fn(usize, usize) -> [u8; 3]) {
    let file = std::fs::File::create(path).expect("a folder that can be written");
    let mut encoder = png::Encoder::new(file, (WIDTH * SCALE) as u32, (HEIGHT * SCALE) as u32);
    encoder.set_color(png::ColorType::Rgb);
    let points = (0..HEIGHT * SCALE).flat_map(|y| (0..WIDTH * SCALE).map(move |x| (x / SCALE, y / SCALE)));
    let bytes: Vec<u8> = points.flat_map(|(x, y)| color(x, y)).collect();
    encoder.write_header().and_then(|mut to| to.write_image_data(&bytes)).expect("a PNG");
}

/// The points of a golden picture: lit is whatever is brighter than half.
fn load(path: &Path) -> Option<Vec<Vec<bool>>> {
    let file = std::io::BufReader::new(std::fs::File::open(path).ok()?);
    let mut reader = png::Decoder::new(file).read_info().expect("a PNG");
    let mut bytes = vec![0; reader.output_buffer_size().expect("a small PNG")];
    let info = reader.next_frame(&mut bytes).expect("a whole PNG");
    assert_eq!((info.width, info.height), ((WIDTH * SCALE) as u32, (HEIGHT * SCALE) as u32));
    let lit = |x: usize, y: usize| bytes[(y * SCALE * WIDTH * SCALE + x * SCALE) * 3] > 128;
    Some((0..HEIGHT).map(|y| (0..WIDTH).map(|x| lit(x, y)).collect()).collect())
}

#[test]
fn a_changed_point_is_shown() {
    let (_, picture) = scenes::all().swap_remove(0);
    let mut expected: Vec<Vec<bool>> =
        (0..HEIGHT).map(|y| (0..WIDTH).map(|x| picture.lit(x, y)).collect()).collect();
    assert_eq!(compare("self-test", &picture, &expected), None);
    expected[63][127] = !expected[63][127];
    let told = compare("self-test", &picture, &expected).unwrap();
    assert!(told.starts_with("self-test: 1 points differ"), "{told}");
    assert!(Path::new(told.rsplit(' ').next().unwrap()).exists());
}
