//! The demo's report: what the boxes counted, and what a measurement of their recordings says.
//!
//! Before it: [`super::cast`] and [`super::measure`]. As JSON for programs, as text for people.

use super::cast::{Cast, Player, last_minute};
use super::measure::{Heard, Measured, Played, measure};
use crate::audio::wav;
use anyhow::bail;
use proto::control::{PeerStatus, Status};
use proto::units::Time;
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// What is judged begins this long after everybody is heard, and ends this long before the end, in s.
const SETTLE: f64 = 1.0;
const END: f64 = 0.3;

/// Everything that was found out.
#[derive(Serialize)]
pub struct Report {
    boxes: Vec<BoxReport>,
    pairs: Vec<Pair>,
}

/// One box, and how well the machine served it.
#[derive(Serialize)]
struct BoxReport {
    name: String,
    /// Cycles of its card.
    cycles: u64,
    /// Cycles that this machine finished too late.
    overruns: u64,
}

/// One direction between two boxes.
#[derive(Serialize)]
struct Pair {
    from: String,
    to: String,
    /// From the start of the last box until the first sound, in milliseconds; 0 if it was there before.
    connected_after_ms: Option<f64>,
    /// From sound card to sound card, measured, in milliseconds: median, least and most.
    delay_ms: Option<f64>,
    delay_min_ms: Option<f64>,
    delay_max_ms: Option<f64>,
    /// Time a packet waited in the buffer at the end, in milliseconds.
    depth_ms: f32,
    /// Packets that came, that never came, that came too late, and that were concealed after the first
    /// second; and the share of the concealed.
    received: u64,
    lost: u64,
    late: u64,
    concealed: u64,
    concealed_percent: f64,
    /// The sender's card against the listener's, as the listener measured it.
    drift_ppm: f32,
    /// What is left of the listener's mix when everything that was played is subtracted, against this
    /// sender's part in it.
    residual_db: Option<f64>,
}

impl Report {
    /// Measures the recordings. `started` is when the last box was started.
    pub fn new(
        players: &[Player],
        statuses: &[Status],
        cast: &Cast,
        started: Time,
    ) -> anyhow::Result<Report> {
        let music: Vec<Vec<f32>> = players
            .iter()
            .map(|player| wav::read(&player.music).map(|[left, right]| sum(&left, &right)))
            .collect::<anyhow::Result<_>>()?;
        let mut pairs = Vec::new();
        for (to, status) in statuses.iter().enumerate() {
            let others: Vec<usize> = (0..players.len()).filter(|from| *from != to).collect();
            let measured = measure_one(to, &others, &music, statuses, cast)?;
            for (from, measured) in others.into_iter().zip(measured) {
                let name = players[from].name;
                let peer = status.peers.iter().find(|peer| peer.name == name).cloned().unwrap_or_default();
                let baseline = cast.first_second(to, name).unwrap_or(0);
                pairs.push(Pair::new(name, status, &peer, baseline, measured, started));
            }
        }
        let boxes = statuses.iter().map(|status| BoxReport {
            name: status.name.clone(),
            cycles: status.cycles,
            overruns: status.overruns,
        });
        Ok(Report { boxes: boxes.collect(), pairs })
    }

    /// Whether the session was one.
    ///
    /// # Errors
    /// Somebody was not heard by somebody.
    pub fn verdict(&self, out: &Path) -> anyhow::Result<()> {
        match self.pairs.iter().find(|pair| pair.delay_ms.is_none()) {
            Some(Pair { from, to, .. }) => {
                bail!("{from} was not heard by {to}: see the logs in {}", out.join("demo").display())
            }
            None => Ok(()),
        }
    }
}

/// What the box `to` heard of `others`.
fn measure_one(
    to: usize,
    others: &[usize],
    music: &[Vec<f32>],
    statuses: &[Status],
    cast: &Cast,
) -> anyhow::Result<Vec<Option<Measured>>> {
    let Some(timeline) = cast.timeline(to) else { return Ok(vec![None; others.len()]) };
    let (mix, timeline) = last_minute(&cast.recording(&statuses[to].name), timeline)?;
    let played: Option<Vec<Played<'_>>> = others
        .iter()
        .map(|from| Some(Played { turn: &music[*from], timeline: cast.timeline(*from)? }))
        .collect();
    let Some(played) = played else { return Ok(vec![None; others.len()]) };
    // Judged from when everybody is heard to the last status; both on the recording's own time.
    let second = |time: Time| time.nanos_since(timeline.epoch) as f64 * 1e-9;
    let complete = statuses[to].peers.iter().filter_map(|peer| heard_at(&statuses[to], peer)).max();
    let from_s = complete.map_or(0.0, second).max(0.0) + SETTLE;
    let to_s = second(statuses[to].card_time) - END;
    Ok(measure(&Heard { mix: &mix, timeline }, &played, from_s, to_s))
}

/// When a peer was first heard.
fn heard_at(status: &Status, peer: &PeerStatus) -> Option<Time> {
    peer.connected_after_ms.map(|after| status.started + std::time::Duration::from_millis(after))
}

impl Pair {
    fn new(
        from: &str,
        status: &Status,
        peer: &PeerStatus,
        baseline: u64,
        measured: Option<Measured>,
        started: Time,
    ) -> Pair {
        let connected = heard_at(status, peer).map(|at| at.since(started).as_secs_f64() * 1e3);
        let concealed = peer.concealed.saturating_sub(baseline);
        Pair {
            from: from.to_owned(),
            to: status.name.clone(),
            connected_after_ms: connected.map(round),
            delay_ms: measured.map(|measured| round(measured.delay_ms)),
            delay_min_ms: measured.map(|measured| round(measured.delay_min_ms)),
            delay_max_ms: measured.map(|measured| round(measured.delay_max_ms)),
            depth_ms: peer.depth_ms,
            received: peer.received,
            lost: peer.lost,
            late: peer.late,
            concealed,
            concealed_percent: round(100.0 * concealed as f64 / peer.received.max(1) as f64),
            drift_ppm: peer.drift_ppm,
            residual_db: measured.map(|measured| round(measured.residual_db)),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "Measured from sound card to sound card:")?;
        writeln!(
            out,
            "  from       to             delay   residual  lost   concealed      drift   connected"
        )?;
        for pair in &self.pairs {
            let Pair { from, to, lost, concealed, concealed_percent, drift_ppm, .. } = pair;
            let (Some(delay), Some(residual)) = (pair.delay_ms, pair.residual_db) else {
                writeln!(out, "  {from:<10} {to:<10} was not heard")?;
                continue;
            };
            let connected = pair.connected_after_ms.unwrap_or_default();
            writeln!(
                out,
                "  {from:<10} {to:<10} {delay:>6.2} ms {residual:>7.1} dB {lost:>5} {concealed:>5} \
                 {concealed_percent:>5.2}% {drift_ppm:>6.1} ppm {connected:>8.0} ms"
            )?;
        }
        for BoxReport { name, cycles, overruns } in &self.boxes {
            writeln!(out, "{name}: this computer finished {overruns} of {cycles} cycles too late.")?;
        }
        Ok(())
    }
}

/// A box sends both inputs together.
fn sum(left: &[f32], right: &[f32]) -> Vec<f32> {
    left.iter().zip(right).map(|(left, right)| left + right).collect()
}

fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}
