//! Whether a start is healthy, from one look after the other and the time of each; it knows no clock.

use std::time::Duration;

/// What was seen in one look. What is wrong is a clause for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The process that plays, if the units run.
    pub units: Result<u32, String>,
    /// How many times systemd has started the box again in this start.
    pub restarts: u32,
    /// Whether the SSH server could start.
    pub ssh: Result<(), String>,
    /// Whether the data partition can be written.
    pub data: Result<(), String>,
    /// What the box says of itself; or why it says nothing.
    pub engine: Result<Engine, String>,
}

/// What the box says of its sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// Cycles of the card so far; none if it says that there is no card.
    pub cycles: Option<u64>,
    /// The card, or why there is none.
    pub card: String,
    /// Whether the kernel sees a sound card.
    pub is_plugged: bool,
}

/// What follows from all looks so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Look again.
    Wait,
    /// All is well, and has been long enough.
    Healthy,
    /// It did not become well in time: why.
    Wanting(String),
}

/// So many times may a box on trial end and be started again; more is a crash that nobody needs to wait for.
const RESTARTS: u32 = 4;

/// The gate's mind.
pub struct Judge {
    on_trial: bool,
    limit: Duration,
    steady: Duration,
    well: Option<Well>,
    why: String,
}

/// Since when all is well.
struct Well {
    since: Duration,
    process: u32,
    cycles: Option<u64>,
}

impl Judge {
    /// All must be well by `limit`, and then for `steady` on end. The times of the looks are since the same moment.
    pub fn new(on_trial: bool, limit: Duration, steady: Duration) -> Judge {
        Judge { on_trial, limit, steady, well: None, why: String::new() }
    }

    /// One look at `now`.
    pub fn handle(&mut self, now: Duration, look: &Look) -> Verdict {
        if self.on_trial && look.restarts > RESTARTS {
            return Verdict::Wanting(format!("the box has ended {} times", look.restarts));
        }
        match self.complain(look) {
            Err(why) => {
                self.why = why;
                self.well = None;
            }
            Ok((process, cycles)) => {
                let well = self.well.get_or_insert(Well { since: now, process, cycles });
                well.cycles = cycles;
                if now.saturating_sub(well.since) >= self.steady {
                    return Verdict::Healthy;
                }
            }
        }
        // What is well at the limit may show that it stays so.
        if now >= self.limit && self.well.is_none() {
            return Verdict::Wanting(self.why.clone());
        }
        Verdict::Wait
    }

    /// The process and its cycles, or the first thing that is wrong.
    fn complain(&self, look: &Look) -> Result<(u32, Option<u64>), String> {
        let process = look.units.clone()?;
        look.data.clone()?;
        look.ssh.clone()?;
        let engine = look.engine.as_ref().map_err(Clone::clone)?;
        // A card that fails on a committed slot is the card's fault as likely as not, and no reason to change the slot.
        if engine.cycles.is_none() && engine.is_plugged && self.on_trial {
            return Err(format!("there is a sound card, but it does not play ({})", engine.card));
        }
        match &self.well {
            Some(well) if well.process != process => Err("the box has ended and started again".to_owned()),
            Some(Well { cycles: Some(before), .. }) if engine.cycles.is_some_and(|now| now <= *before) => {
                Err("the cycles of the sound card stand still".to_owned())
            }
            _ => Ok((process, engine.cycles)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(90);
    const STEADY: Duration = Duration::from_secs(10);

    fn plays(cycles: u64) -> Look {
        let engine = Engine { cycles: Some(cycles), card: "Scarlett".to_owned(), is_plugged: true };
        Look { units: Ok(7), restarts: 0, ssh: Ok(()), data: Ok(()), engine: Ok(engine) }
    }

    fn silent(is_plugged: bool) -> Look {
        let engine = Engine { cycles: None, card: "no JACK server".to_owned(), is_plugged };
        Look { engine: Ok(engine), ..plays(0) }
    }

    fn broken() -> Look {
        Look { units: Err("matriz.service is activating".to_owned()), ..plays(0) }
    }

    /// A look each second until there is a verdict, and when that was.
    fn judge(on_trial: bool, look: impl Fn(u64) -> Look) -> (u64, Verdict) {
        let mut judge = Judge::new(on_trial, LIMIT, STEADY);
        let verdict =
            (0..1_000).find_map(|second| match judge.handle(Duration::from_secs(second), &look(second)) {
                Verdict::Wait => None,
                verdict => Some((second, verdict)),
            });
        verdict.expect("it waits no longer than it may")
    }

    fn wanting(why: &str) -> Verdict {
        Verdict::Wanting(why.to_owned())
    }

    #[test]
    fn what_plays_for_ten_seconds_is_healthy_and_so_is_what_has_no_card() {
        for on_trial in [true, false] {
            assert_eq!(judge(on_trial, plays), (10, Verdict::Healthy));
            assert_eq!(judge(on_trial, |_| silent(false)), (10, Verdict::Healthy));
            let late = |second| if second < 85 { broken() } else { plays(second) };
            assert_eq!(judge(on_trial, late), (95, Verdict::Healthy), "in time, and steady after");
            let gone = |second| if second < 5 { plays(second) } else { silent(false) };
            assert_eq!(judge(on_trial, gone), (10, Verdict::Healthy), "the card was pulled out");
        }
    }

    #[test]
    fn what_is_not_well_by_the_limit_is_wanting_and_says_why() {
        assert_eq!(judge(true, |_| broken()), (90, wanting("matriz.service is activating")));
        let why = "it is broken";
        let broken: [fn(Look, String) -> Look; 3] = [
            |look, why| Look { ssh: Err(why), ..look },
            |look, why| Look { data: Err(why), ..look },
            |look, why| Look { engine: Err(why), ..look },
        ];
        for change in broken {
            let look = |second| change(plays(second), why.to_owned());
            assert_eq!(judge(false, look), (90, wanting(why)));
        }
    }

    #[test]
    fn what_crashes_and_comes_back_is_not_healthy() {
        let restarts = |second: u64| {
            let mut look = plays(second);
            look.units = Ok(second as u32 / 8);
            look
        };
        assert_eq!(judge(true, restarts), (96, wanting("the box has ended and started again")));
    }

    #[test]
    fn who_crashes_all_the_time_is_not_waited_for_on_trial() {
        let crashes = |second| Look { restarts: second as u32 / 2, ..broken() };
        assert_eq!(judge(true, crashes), (10, wanting("the box has ended 5 times")));
        assert_eq!(judge(false, crashes), (90, wanting("matriz.service is activating")));
    }

    #[test]
    fn cycles_that_stand_still_are_not_healthy() {
        let still = (91, wanting("the cycles of the sound card stand still"));
        assert_eq!(judge(true, |_| plays(1_000)), still);
    }

    #[test]
    fn a_card_that_is_there_must_play_on_trial_only() {
        let told = "there is a sound card, but it does not play (no JACK server)";
        assert_eq!(judge(true, |_| silent(true)), (90, wanting(told)));
        assert_eq!(judge(false, |_| silent(true)), (10, Verdict::Healthy));
    }

    #[test]
    fn a_fault_in_between_begins_the_ten_seconds_anew() {
        let look = |second| if second == 9 { broken() } else { plays(second) };
        assert_eq!(judge(true, look), (20, Verdict::Healthy));
    }
}
