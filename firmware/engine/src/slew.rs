//! How fast the buffer is made longer or shorter while music plays: gently, and only as fast as it must.
//!
//! Fed by `receive` in every cycle with what the buffer lacks; gives the share of time by which the resampler plays
//! slower. Growing is urgent, since packets are late now; shrinking saves only delay. A buffer that just had to
//! grow is left alone for a while. No clock inside: time is the card's frame count.

/// Fastest change, as a share of time: 0.1 % is 1.7 cents of pitch. So fast only while the buffer is 1 ms too short (as
/// when the cards' phase has passed a cycle: then packets are late until it has grown) or 5 ms too long, and in
/// the beginning (10 s); else half of that. In frames.
const FASTEST: f64 = 0.001;
const CALM: f64 = 0.000_5;
const QUITE_SHORT: f64 = 48.0;
const QUITE_LONG: f64 = -240.0;
const BEGINNING: i64 = 10 * 48_000;

/// How quickly a difference is made up, in frames, below these limits: 0.1 s when the buffer is too short, 0.5 s when it
/// is too long.
const GROW_TIME: f64 = 4_800.0;
const SHRINK_TIME: f64 = 24_000.0;

/// After it had to grow, a buffer stays as it is for this long, in frames (10 s): what just was late will be late again,
/// and a delay that comes and goes is worse than a steady one. Not in the beginning, when clock and line are
/// only guessed.
const HOLD: i64 = 10 * 48_000;

/// Growth from which that holds, in frames (0.5 ms): the target wavers by a few frames all the time.
const SHORT: f64 = 24.0;

/// Surplus that is left alone, in frames (0.02 ms).
const SLACK: f64 = 1.0;

/// Too long or too short by this much, in frames (30 ms), slewing would take half a minute: it is time to jump.
const JUMP: f64 = 1_440.0;

/// How quickly the slewing itself may change per frame: full slew within 50 ms.
const STEP: f64 = FASTEST / 2_400.0;

/// The slewing of one buffer.
pub struct Slew {
    /// When music began, and when the buffer was last too short: card positions.
    begun: i64,
    short: i64,
    /// Frames per frame; positive makes the buffer longer.
    now: f64,
}

impl Slew {
    /// Music begins at card position `frame`.
    pub fn new(frame: i64) -> Self {
        Slew { begun: frame, short: frame - HOLD - 1, now: 0.0 }
    }

    /// The slewing for a cycle of `frames` frames at card position `frame`, with a buffer that should be longer by
    /// `shortage` frames: frames that it gains in each frame, negative where it loses them.
    pub fn cycle(&mut self, shortage: f64, frame: i64, frames: usize) -> f64 {
        let beginning = frame - self.begun < BEGINNING;
        if shortage > SHORT && !beginning {
            self.short = frame;
        }
        let most = match shortage {
            _ if beginning => FASTEST,
            QUITE_SHORT.. | ..QUITE_LONG => FASTEST,
            _ => CALM,
        };
        let wanted = if shortage > 0.0 {
            (shortage / GROW_TIME).min(most)
        } else if self.holds(frame) {
            0.0
        } else {
            ((shortage + SLACK) / SHRINK_TIME).clamp(-most, 0.0)
        };
        let change = STEP * frames as f64;
        self.now += (wanted - self.now).clamp(-change, change);
        self.now
    }

    /// Whether a buffer with this `shortage` is so far off that it had better jump.
    pub fn is_hopeless(&self, shortage: f64, frame: i64) -> bool {
        shortage > JUMP || (shortage < -JUMP && !self.holds(frame))
    }

    fn holds(&self, frame: i64) -> bool {
        frame - self.short <= HOLD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CYCLE: usize = 120;

    /// Seconds until a buffer that lacks so many frames is right, to a tenth of a millisecond.
    fn seconds(mut shortage: f64, from: i64) -> f64 {
        let mut slew = Slew::new(0);
        let mut frame = from;
        while shortage.abs() > 5.0 {
            shortage -= slew.cycle(shortage, frame, CYCLE) * CYCLE as f64;
            frame += CYCLE as i64;
            assert!(frame < from + 100 * 48_000, "it never gets there");
        }
        (frame - from) as f64 / 48_000.0
    }

    #[test]
    fn it_is_fast_where_packets_are_late_and_slow_where_only_delay_is_at_stake() {
        let later = 2 * BEGINNING;
        assert!((10.0..12.0).contains(&seconds(480.0, later)), "10 ms too short: {}", seconds(480.0, later));
        assert!((2.0..4.0).contains(&seconds(96.0, later)), "2 ms too short: {}", seconds(96.0, later));
        assert!((4.0..6.0).contains(&seconds(-96.0, later)), "2 ms too long: {}", seconds(-96.0, later));
        assert!(seconds(-240.0, 0) < 7.5, "in the beginning: {}", seconds(-240.0, 0));
    }

    #[test]
    fn a_buffer_that_had_to_grow_is_left_alone_for_a_while() {
        let mut slew = Slew::new(0);
        let start = 2 * BEGINNING;
        slew.cycle(48.0, start, CYCLE);
        let at = |slew: &mut Slew, seconds: i64| {
            (0..100).map(|n| slew.cycle(-200.0, start + seconds * 48_000 + n * 120, CYCLE)).last().unwrap()
        };
        assert_eq!(at(&mut slew, 1), 0.0);
        assert!(!slew.is_hopeless(-2_000.0, start + 48_000));
        assert!(at(&mut slew, 11) < -0.000_4);
        assert!(slew.is_hopeless(-2_000.0, start + 11 * 48_000));
    }

    #[test]
    fn the_pitch_never_jumps() {
        let mut slew = Slew::new(0);
        let mut last = 0.0;
        for n in 0..2_000 {
            let shortage = if n % 40 < 20 { 9_000.0 } else { -9_000.0 };
            let now = slew.cycle(shortage, n * 120, CYCLE);
            assert!(now.abs() <= FASTEST && (now - last).abs() <= 0.000_11, "{last} {now}");
            last = now;
        }
    }
}
