//! The one door through which people reach the box: wishes go in, the status comes out.
//!
//! The API, a front panel and whoever else speaks for a person hold a [`Door`]; behind it is [`crate::people`],
//! which hands a wish to the session and answers it. Nobody behind the door ever waits for somebody in front.

use proto::control::{Command, Reading, Status};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Wishes that may wait at the door.
const QUEUE: usize = 32;

/// How long a wish may take. Most are a matter of microseconds; shutting down asks another program.
const PATIENCE: Duration = Duration::from_secs(10);

/// A wish, and where its answer goes: a sentence, if it cannot be.
pub struct Wish {
    /// What is wished.
    pub command: Command,
    /// Who asked may be gone by now.
    pub answer: oneshot::Sender<Result<(), String>>,
}

/// Levels and peaks alone, in dB full scale, as they move.
#[derive(Clone, Debug, Serialize)]
pub struct Levels {
    /// Of what the box sends.
    pub level_db: f32,
    /// Highest sample of it.
    pub peak_db: f32,
    /// The others.
    pub peers: Vec<PeerLevels>,
}

/// Those of one of the others, before its fader.
#[derive(Clone, Debug, Serialize)]
pub struct PeerLevels {
    /// Who.
    pub name: String,
    /// Root mean square.
    pub level_db: f32,
    /// Highest sample.
    pub peak_db: f32,
}

impl Levels {
    /// The own level, and those of the others by name.
    pub fn new<'a>(own: Reading, peers: impl Iterator<Item = (&'a str, Reading)>) -> Levels {
        let of = |(name, Reading { level_db, peak_db }): (&str, Reading)| PeerLevels {
            name: name.to_owned(),
            level_db,
            peak_db,
        };
        let mut peers: Vec<PeerLevels> = peers.map(of).collect();
        peers.sort_by(|a, b| a.name.cmp(&b.name));
        Levels { level_db: own.level_db, peak_db: own.peak_db, peers }
    }
}

impl Default for Levels {
    fn default() -> Self {
        Levels::new(Reading::default(), std::iter::empty())
    }
}

/// The outer side. Clones lead to the same box.
#[derive(Clone)]
pub struct Door {
    wishes: mpsc::Sender<Wish>,
    status: watch::Receiver<Arc<Status>>,
    levels: watch::Receiver<Arc<Levels>>,
}

/// The inner side.
pub struct Inside {
    wishes: mpsc::Receiver<Wish>,
    status: watch::Sender<Arc<Status>>,
    levels: watch::Sender<Arc<Levels>>,
}

/// A door.
pub fn door() -> (Door, Inside) {
    let (wish, wishes) = mpsc::channel(QUEUE);
    let (show, status) = watch::channel(Arc::default());
    let (show_levels, levels) = watch::channel(Arc::default());
    (Door { wishes: wish, status, levels }, Inside { wishes, status: show, levels: show_levels })
}

impl Door {
    /// Wishes something, and waits until it is done or refused.
    ///
    /// # Errors
    /// The sentence that says why it is not done.
    pub async fn wish(&self, command: Command) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.wishes.send(Wish { command, answer }).await.ok()?;
            answered.await.ok()
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err("the box is about to end".to_owned()),
            Err(_) => Err(format!("the box has not answered for {} s", PATIENCE.as_secs())),
        }
    }

    /// What the box shows of itself now.
    pub fn status(&mut self) -> Arc<Status> {
        Arc::clone(&self.status.borrow_and_update())
    }

    /// What its meters show now.
    pub fn levels(&self) -> Arc<Levels> {
        Arc::clone(&self.levels.borrow())
    }

    /// What it shows now counts as not seen yet.
    pub fn look_again(&mut self) {
        self.status.mark_changed();
    }

    /// Waits until it shows something that [`Door::status`] has not given yet; false when the box ends.
    pub async fn changed(&mut self) -> bool {
        self.status.changed().await.is_ok()
    }
}

impl Inside {
    /// The next wish. Somebody may always come: this ends only with the box.
    pub async fn next(&mut self) -> Wish {
        match self.wishes.recv().await {
            Some(wish) => wish,
            None => std::future::pending().await, // every door is closed
        }
    }

    /// Lets the meters show this from now on.
    pub fn show_levels(&self, levels: Levels) {
        self.levels.send_replace(Arc::new(levels));
    }

    /// Shows this from now on.
    pub fn show(&self, status: Status) -> Arc<Status> {
        let status = Arc::new(status);
        self.status.send_replace(Arc::clone(&status));
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wish_is_answered_and_what_is_shown_is_seen() {
        let (mut door, mut inside) = door();
        let box_ = tokio::spawn(async move {
            let wish = inside.next().await;
            assert_eq!(wish.command, Command::Leave);
            wish.answer.send(Err("no".to_owned())).unwrap();
            inside.show(Status { name: "porto".to_owned(), ..Status::default() });
            inside.next().await.answer.send(Ok(())).unwrap();
        });
        assert_eq!(door.wish(Command::Leave).await, Err("no".to_owned()));
        assert!(door.changed().await);
        assert_eq!(door.status().name, "porto");
        assert_eq!(door.wish(Command::Join).await, Ok(()));
        box_.await.unwrap();
        assert!(!door.changed().await, "the box has ended");
        assert!(door.wish(Command::Join).await.unwrap_err().contains("about to end"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_box_that_does_not_answer_is_told_so() {
        let (door, _inside) = door();
        assert!(door.wish(Command::Leave).await.unwrap_err().contains("not answered for 10 s"));
    }
}
