//! The line to the rendezvous as the box holds it: taken up and hung up, as people join and leave the session.
//!
//! Around the task of [`crate::rendezvous`], which stays connected as long as its queue is open. One that follows
//! another begins when that has said its goodbye, so that nobody is there twice.

use crate::rendezvous::{self, Endpoint, Event};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How long a goodbye to the rendezvous may take.
const GOODBYE: Duration = Duration::from_millis(700);

/// Texts that wait in each direction.
const QUEUE: usize = 64;

pub struct Line {
    endpoint: Endpoint,
    to: Option<mpsc::Sender<String>>,
    from: mpsc::Receiver<Event>,
    task: Option<JoinHandle<()>>,
}

impl Line {
    /// A line that nobody has taken up.
    pub fn new(endpoint: Endpoint) -> Line {
        Line { endpoint, to: None, from: mpsc::channel(1).1, task: None }
    }

    /// Registers with `hello` from now on, whenever the rendezvous is there.
    pub fn connect(&mut self, hello: String) {
        let (to, outgoing) = mpsc::channel(QUEUE);
        let (events, from) = mpsc::channel(QUEUE);
        let before = self.task.take();
        let endpoint = self.endpoint.clone();
        (self.to, self.from) = (Some(to), from);
        self.task = Some(tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await; // it has said goodbye, or cannot
            }
            rendezvous::run(endpoint, hello, outgoing, events).await;
        }));
    }

    /// Lets go once everything is said, and stays away.
    pub fn disconnect(&mut self) {
        self.to = None;
    }

    /// Says this. Full or closed: the rendezvous is away, and will be told anew when it is back.
    pub fn say(&self, text: String) {
        if let Some(to) = &self.to {
            let _ = to.try_send(text);
        }
    }

    /// What happens on the line; nothing while it is hung up.
    pub async fn next(&mut self) -> Event {
        match self.from.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    /// Says goodbye.
    pub async fn end(mut self) {
        self.disconnect();
        if let Some(task) = self.task.take() {
            // It has sent the goodbye, or cannot: nobody depends on it.
            let _ = tokio::time::timeout(GOODBYE, task).await;
        }
    }
}
