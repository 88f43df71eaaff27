//! Music to test with: plucked notes over each other and a little noise, never silent, the same for the same seed.

use std::f64::consts::TAU;

/// A new note every so often, in frames (150 ms); it rings for eight times as long.
const BEAT: usize = 7_200;

/// Notes of two octaves and a half, in semitones above the low E of a guitar.
const SCALE: [i32; 12] = [0, 3, 5, 7, 10, 12, 15, 17, 19, 22, 24, 27];

/// `frames` frames at 48 kHz, left and right interleaved, with a peak of about a half.
pub fn music(seed: u64, frames: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut sound: Vec<f32> = (0..2 * frames).map(|_| 0.001 * (random.f32() - 0.5)).collect();
    // Some notes have begun before the first frame.
    for beat in 0..frames / BEAT + 9 {
        let hertz = 82.41 * (f64::from(SCALE[random.usize(..SCALE.len())]) / 12.0).exp2();
        let right = 0.3 + 0.4 * random.f32();
        let begin = beat as i64 * BEAT as i64 - 8 * BEAT as i64 + random.i64(0..BEAT as i64 / 4);
        for (age, x) in pluck(hertz).into_iter().enumerate() {
            let Ok(frame) = usize::try_from(begin + age as i64) else { continue };
            let Some(sides) = sound.get_mut(2 * frame..2 * frame + 2) else { break };
            sides[0] += x * (1.0 - right);
            sides[1] += x * right;
        }
    }
    sound
}

/// One note of a string: overtones, each a little sharper than the string's multiple and dying sooner.
fn pluck(hertz: f64) -> Vec<f32> {
    let mut note = vec![0.0; 8 * BEAT];
    for overtone in (1..=10).map(f64::from) {
        let turn = TAU * hertz * overtone * (1.0 + 0.0002 * overtone * overtone) / 48_000.0;
        let decay = (-(3.0 + 1.5 * overtone) / 48_000.0).exp();
        let mut height = 0.3 / overtone.powf(1.2);
        for (age, x) in note.iter_mut().enumerate() {
            let attack = (age as f64 / 96.0).min(1.0);
            *x += (height * attack * (turn * age as f64).sin()) as f32;
            height *= decay;
        }
    }
    note
}
