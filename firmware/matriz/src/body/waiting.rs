//! Waiting for a sound card, as long as it takes; people are answered meanwhile.

use super::Stop;
use crate::audio::{Card, Driver, jack, simulated};
use crate::clock;
use crate::config::{Config, Sound};
use crate::people::People;
use crate::{system, watchdog};
use std::time::Duration;

/// How long to wait before looking for a JACK server again.
const CARD_RETRY: Duration = Duration::from_secs(1);

/// A card that can be started.
pub enum Found {
    /// A JACK server's.
    Jack(jack::Waiting),
    /// One in the process.
    Simulated,
}

impl Found {
    /// Starts it.
    ///
    /// # Errors
    /// JACK refuses, or a file of the simulated card cannot be read or written.
    pub fn start(self, config: &Config, driver: Driver) -> anyhow::Result<Card> {
        Ok(match self {
            Found::Jack(waiting) => Card::Jack(jack::Card::start(config, waiting, driver)?),
            Found::Simulated => Card::Simulated(simulated::Card::start(config, driver)?),
        })
    }
}

/// What was said already, and is not said again.
#[derive(Default)]
pub struct Told(String);

impl Told {
    /// Says it once in the log, and to people, if there are any, as long as it is so.
    pub fn say(&mut self, people: Option<&mut People>, sentence: String) {
        if self.0 != sentence {
            tracing::warn!("{sentence}");
            if let Some(people) = people {
                people.card(Some(sentence.clone()));
            }
            self.0 = sentence;
        }
    }

    /// All is well now.
    pub fn clear(&mut self, people: Option<&mut People>) {
        if let Some(people) = people {
            people.card(None);
        }
        self.0.clear();
    }
}

/// Waits for the card; `None` when told to end meanwhile. That there is none is not said of a card that is known
/// to be `gone`, but on a box, where somebody can plug one in.
pub async fn find_card(
    config: &Config,
    stop: &mut Stop,
    mut people: Option<&mut People>,
    told: &mut Told,
    gone: bool,
) -> Option<Found> {
    if config.sound == Sound::Simulated {
        return Some(Found::Simulated);
    }
    loop {
        match jack::find(config) {
            Ok(waiting) => return Some(Found::Jack(waiting)),
            Err(jack::NoServer::Absent(sentence)) => match system::missing_card() {
                Some(sentence) => told.say(people.as_deref_mut(), sentence),
                None if gone => {}
                None => told.say(people.as_deref_mut(), sentence),
            },
            Err(why) => told.say(people.as_deref_mut(), why.to_string()),
        }
        if let Pause::Stopped = pause(stop, people.as_deref_mut()).await {
            return None;
        }
    }
}

/// How a pause between two looks at the card ended.
pub enum Pause {
    /// By itself.
    Over,
    /// The box is told to end.
    Stopped,
}

/// Waits a while, and answers people.
pub async fn pause(stop: &mut Stop, people: Option<&mut People>) -> Pause {
    watchdog::no_card();
    let over = tokio::time::sleep(CARD_RETRY);
    tokio::select! {
        () = stop.wait() => Pause::Stopped,
        () = over => Pause::Over,
        () = answer(people) => unreachable!("people are answered for ever"),
    }
}

async fn answer(people: Option<&mut People>) {
    let Some(people) = people else { return std::future::pending().await };
    loop {
        people.show_waiting();
        let wish = people.next().await;
        people.handle(clock::now(), wish, None);
    }
}
