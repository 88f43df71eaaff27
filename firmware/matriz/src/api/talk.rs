//! One program that talks to the box: its requests are answered, and what it has subscribed to is told.
//!
//! After [`super::unix`] or [`super::web`], which carry the texts; before the [`Door`]. Who does not take what is
//! written to him is dropped, and who asks for too much is read more slowly. Only the newest status is ever kept for
//! anybody, so nothing piles up.

use super::rpc::{self, Call, Fault, REFUSED, Request, Subscription, Topic};
use crate::door::Door;
use proto::control::{PeerStatus, Status};
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// How long somebody may take to take in a text before he is dropped.
const PATIENCE: Duration = Duration::from_secs(2);

/// Requests, or kilobytes, that somebody may send at once, and how many in a second after that.
const BURST: f64 = 200.0;
const PER_SECOND: f64 = 100.0;

/// What carries texts: a Unix socket or a WebSocket.
pub trait Wire {
    /// The next text. May be given up and called again at any time.
    async fn next(&mut self) -> Heard;
    /// Sends a text; false if that is not possible any more.
    async fn send(&mut self, text: &str) -> bool;
}

/// What came.
pub enum Heard {
    /// A text.
    Text(String),
    /// One that is longer than [`super::LONGEST`], or is none.
    Nonsense(&'static str),
    /// The end.
    Over,
}

/// Answers until the program ends, or is dropped.
pub async fn talk(door: Door, wire: impl Wire) {
    let told = Box::default();
    let talk =
        Talk { door, wire, allowance: Allowance::new(), changes: false, status: None, meters: None, told };
    // Whatever ended it, there is nobody left to be told.
    let _ = talk.run().await;
}

/// The program is gone, or was dropped.
struct Gone;

struct Talk<W> {
    door: Door,
    wire: W,
    allowance: Allowance,
    /// What it wants to be told without asking.
    changes: bool,
    status: Option<Clock>,
    meters: Option<Clock>,
    /// What it was told last, without what always moves.
    told: Box<Status>,
}

impl<W: Wire> Talk<W> {
    async fn run(mut self) -> Result<(), Gone> {
        loop {
            let due = [self.status, self.meters].into_iter().flatten().map(|clock| clock.next).min();
            tokio::select! {
                heard = self.wire.next() => match heard {
                    Heard::Text(text) => self.handle(&text).await?,
                    Heard::Nonsense(why) => {
                        let fault = Fault::new(rpc::NO_REQUEST, why);
                        self.write(&rpc::answer(&Value::Null, Err(fault))).await?;
                        return Err(Gone);
                    }
                    Heard::Over => return Err(Gone),
                },
                there = self.door.changed(), if self.changes => {
                    if !there {
                        return Err(Gone);
                    }
                    self.tell_changes().await?;
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.tell_what_is_due().await?,
            }
        }
    }

    async fn handle(&mut self, text: &str) -> Result<(), Gone> {
        let rpc::Text { requests, batch } = rpc::read(text);
        self.allowance.spend(requests.len().max(text.len() / 1_024) as f64).await;
        let mut answers = Vec::new();
        for Request { id, call } in requests {
            let result = match call {
                Ok(call) => self.call(call).await,
                Err(fault) => Err(fault),
            };
            answers.extend(id.map(|id| rpc::answer(&id, result)));
        }
        match answers.len() {
            0 => Ok(()),
            1 if !batch => self.write(&answers[0]).await,
            _ => self.write(&Value::Array(answers)).await,
        }
    }

    async fn call(&mut self, call: Call) -> Result<Value, Fault> {
        match call {
            Call::Command(command) => {
                let done = self.door.wish(command).await;
                done.map(|()| Value::Bool(true)).map_err(|why| Fault::new(REFUSED, why))
            }
            Call::Status => Ok(value(&self.door.status())),
            Call::Subscribe(Subscription { to, every }) => {
                let clock = Clock { every, next: Instant::now() };
                match to {
                    Topic::Changes => {
                        (self.changes, self.told) = (true, Box::default());
                        self.door.look_again();
                    }
                    Topic::Status => self.status = Some(clock),
                    Topic::Meters => self.meters = Some(clock),
                }
                Ok(Value::Bool(true))
            }
            Call::Unsubscribe(topic) => {
                match topic {
                    Topic::Changes => self.changes = false,
                    Topic::Status => self.status = None,
                    Topic::Meters => self.meters = None,
                }
                Ok(Value::Bool(true))
            }
        }
    }

    async fn tell_changes(&mut self) -> Result<(), Gone> {
        let status = self.door.status();
        let still = Box::new(still(&status));
        if value(&still) == value(&self.told) {
            return Ok(());
        }
        self.told = still;
        self.write(&rpc::notification("changes", value(&status))).await
    }

    async fn tell_what_is_due(&mut self) -> Result<(), Gone> {
        let now = Instant::now();
        if self.status.as_mut().is_some_and(|clock| clock.strikes(now)) {
            let status = value(&self.door.status());
            self.write(&rpc::notification("status", status)).await?;
        }
        if self.meters.as_mut().is_some_and(|clock| clock.strikes(now)) {
            let mut meters = serde_json::to_value(&*self.door.levels()).expect("levels become JSON");
            meters["clips"] = Value::Bool(self.door.status().clips);
            self.write(&rpc::notification("meters", meters)).await?;
        }
        Ok(())
    }

    async fn write(&mut self, text: &Value) -> Result<(), Gone> {
        match timeout(PATIENCE, self.wire.send(&text.to_string())).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Gone),
        }
    }
}

fn value(status: &Status) -> Value {
    serde_json::to_value(status).expect("a status becomes JSON")
}

/// The status without meters, counters and clocks: two that are alike in this have nothing new to say.
fn still(status: &Status) -> Status {
    let mut still = status.clone();
    still.uptime_ms = 0;
    still.card_time = Default::default();
    (still.card_frame, still.cycles, still.cycle_times) = Default::default();
    (still.level_db, still.peak_db, still.longest_cycle_ms) = Default::default();
    still.machine.celsius = still.machine.celsius.map(f32::round);
    for peer in &mut still.peers {
        *peer = PeerStatus {
            name: std::mem::take(&mut peer.name),
            connected: peer.connected,
            connected_after_ms: peer.connected_after_ms,
            way: std::mem::take(&mut peer.way),
            sends: peer.sends,
            volume_db: peer.volume_db,
            pan: peer.pan,
            muted: peer.muted,
            solo: peer.solo,
            muted_itself: peer.muted_itself,
            relayed: peer.relayed,
            ..PeerStatus::default()
        };
    }
    still
}

/// When somebody is told next. One who was late is not told twice.
#[derive(Clone, Copy)]
struct Clock {
    every: Duration,
    next: Instant,
}

impl Clock {
    fn strikes(&mut self, now: Instant) -> bool {
        let strikes = self.next <= now;
        if strikes {
            self.next = (self.next + self.every).max(now);
        }
        strikes
    }
}

/// How much somebody may still ask for.
struct Allowance {
    left: f64,
    counted: Instant,
}

impl Allowance {
    fn new() -> Self {
        Allowance { left: BURST, counted: Instant::now() }
    }

    /// Takes so much; waits when there is nothing left.
    async fn spend(&mut self, cost: f64) {
        let now = Instant::now();
        let earned = now.duration_since(self.counted).as_secs_f64() * PER_SECOND;
        (self.left, self.counted) = ((self.left + earned).min(BURST) - cost, now);
        if self.left < 0.0 {
            tokio::time::sleep(Duration::from_secs_f64(-self.left / PER_SECOND)).await;
        }
    }
}

#[cfg(test)]
mod tests;
