//! `make bench-world`: how close the depth of the buffer comes to the best that can be known afterwards, and
//! what is heard of it, in seeded models of lines.
//!
//! Two boxes 100 ppm apart play to each other in virtual time. A tap notes when every packet came; from that
//! follows the least fixed depth with which 99.9 % of them would have been in time, by the same cycles.
//! Writes `world.json` into the folder given, and a Markdown table to standard output.

use proto::control::PeerStatus;
use proto::units::Time;
use serde_json::{Value, json};
use sim::{Link, Spec, Trouble, World};
use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

/// How far the two cards are off, in parts per million.
const PORTO: f64 = 50.0;
const LISBOA: f64 = -50.0;

/// Frames in a cycle.
const PERIOD: i64 = 120;

/// What is judged: from here to here, in seconds.
const FROM: u64 = 30;
const TO: u64 = 210;

/// How often the status is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Depth within this of the usual one counts as converged, in milliseconds.
const NEAR: f64 = 0.5;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "out/bench".to_owned()));
    let models: Vec<Value> = models().into_iter().map(|(name, link)| judge(name, link)).collect();
    let (ten, sixty) = drift();
    let result = json!({"models": models, "drift": {"ppm_after_10s": ten, "ppm_after_60s": sixty}});
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("world.json"), format!("{result:#}\n"))?;
    print_table(&models);
    println!("\nError of the clock's difference: {ten:.2} ppm after 10 s, {sixty:.2} ppm after 60 s.");
    Ok(())
}

/// The lines: what is usual for each kind, from the literature on playout and our own taste for bad ones.
fn models() -> Vec<(&'static str, Link)> {
    let millis = Duration::from_millis;
    let micros = Duration::from_micros;
    let wan = Link { delay: millis(8), jitter: micros(600), ..Link::default() };
    let lossy = |loss, burst| Link { loss, burst, ..wan };
    vec![
        ("lan", Link { delay: micros(150), jitter: micros(80), ..Link::default() }),
        ("fibre", Link { delay: millis(6), jitter: micros(300), loss: 0.00002, ..Link::default() }),
        (
            "cable",
            Link {
                delay: millis(12),
                jitter: millis(2),
                loss: 0.0005,
                burst: 1.2,
                trouble: Trouble::Load { every: millis(20_000), length: millis(1_500), delay: millis(25) },
                ..Link::default()
            },
        ),
        (
            "wifi",
            Link {
                delay: millis(3),
                jitter: millis(1),
                loss: 0.002,
                burst: 1.5,
                trouble: Trouble::Stalls { every: millis(700), length: millis(30) },
                ..Link::default()
            },
        ),
        ("ge_0.1_1.02", lossy(0.001, 1.02)),
        ("ge_0.5_1.5", lossy(0.005, 1.5)),
        ("ge_1_2", lossy(0.01, 2.0)),
        ("ge_5_2", lossy(0.05, 2.0)),
    ]
}

/// When packets came and which they were.
type Log = Rc<RefCell<Vec<(Time, i64)>>>;

fn world(link: Link) -> (World, Log) {
    let log: Log = Rc::default();
    let tap = {
        let log = Rc::clone(&log);
        Box::new(move |at, timestamp| log.borrow_mut().push((at, timestamp)))
    };
    let mut world = World::new(17, link);
    world.add(Spec { ppm: PORTO, tap, ..Spec::new("porto") });
    world.add(Spec { ppm: LISBOA, phase: Duration::from_micros(900), ..Spec::new("lisboa") });
    world.start_rendezvous();
    world.switch_on(0);
    world.switch_on(1);
    (world, log)
}

/// What porto shows of lisboa.
fn peer(world: &World) -> PeerStatus {
    world.status(0).peers.pop().unwrap_or_default()
}

/// Runs until `end` seconds and notes every look.
fn watch(world: &mut World, end: u64) -> Vec<(f64, PeerStatus)> {
    let mut looks = Vec::new();
    while world.now() < Time(end as i64 * 1_000_000_000) {
        world.run_for(LOOK);
        looks.push((world.now().0 as f64 * 1e-9, peer(world)));
    }
    looks
}

fn judge(name: &str, link: Link) -> Value {
    let (mut world, log) = world(link);
    let before = watch(&mut world, FROM);
    let start = peer(&world);
    let looks = watch(&mut world, TO);
    let end = peer(&world);
    let sent = (end.received + end.lost - start.received - start.lost).max(1) as f64;
    let share = |from: u64, to: u64| 100.0 * (to - from) as f64 / sent;
    let depth = mean(looks.iter().map(|(_, peer)| f64::from(peer.depth_ms)));
    let best = best_depth(&log.borrow());
    let stretch = looks.iter().map(|(_, peer)| f64::from(peer.stretch_ppm)).fold(0.0, f64::max);
    let near = |peer: &PeerStatus| f64::from(peer.depth_ms) < depth + NEAR && peer.connected;
    let converge = before.iter().chain(&looks).find(|(_, peer)| near(peer)).map(|(at, _)| *at);
    json!({
        "name": name,
        "depth_ms": round(depth),
        "best_ms": round(best),
        "depth_over_best_ms": round(depth - best),
        "late_pct": round(share(start.late, end.late)),
        "lost_pct": round(share(start.lost, end.lost)),
        "recovered_pct": round(share(start.recovered, end.recovered)),
        "concealed_pct": round(share(start.concealed, end.concealed)),
        "cents_max": round(1_200.0 * (1.0 + stretch * 1e-6).log2()),
        "converge_s": converge.map(round),
        "return_s": return_time(link).map(round),
    })
}

/// The least fixed depth, in milliseconds above the median packet, with which 99.9 % of the packets that
/// came would have been in time for the cycle that needs them.
fn best_depth(log: &[(Time, i64)]) -> f64 {
    let Some(&(_, first)) = log.first() else { return 0.0 };
    let frame = |ppm: f64| 1e9 / (48_000.0 * (1.0 + ppm * 1e-6));
    let cycle = frame(PORTO) * PERIOD as f64;
    let judged = log.iter().filter(|(at, _)| at.0 >= FROM as i64 * 1_000_000_000);
    let (mut delays, mut needs) = (Vec::new(), Vec::new());
    for (at, timestamp) in judged {
        let sent = f64::from((*timestamp as u32).wrapping_sub(first as u32)) * frame(LISBOA);
        // Porto's cycles begin at time zero of this world.
        let usable = (at.0 as f64 / cycle).ceil() * cycle;
        delays.push(at.0 as f64 - sent);
        needs.push(usable - sent);
    }
    (quantile(&mut needs, 0.999) - quantile(&mut delays, 0.5)) * 1e-6
}

/// How long after a burst of delays (1 s, up to 20 ms) the depth is back to what it was, in seconds.
fn return_time(link: Link) -> Option<f64> {
    let calm = Link { trouble: Trouble::None, ..link };
    let (mut world, _) = world(calm);
    let usual = watch(&mut world, 60);
    let usual = mean(usual[400..].iter().map(|(_, peer)| f64::from(peer.depth_ms)));
    world.set_link(1, 0, Link { jitter: calm.jitter + Duration::from_millis(20), ..calm });
    world.run_for(Duration::from_secs(1));
    world.set_link(1, 0, calm);
    let (end, looks) = (world.now().0 as f64 * 1e-9, watch(&mut world, 300));
    let back = looks.iter().find(|(at, peer)| at - end > 1.0 && f64::from(peer.depth_ms) < usual + NEAR);
    back.map(|(at, _)| at - end)
}

/// Error of the difference between the clocks after 10 and after 60 s, in parts per million.
fn drift() -> (f64, f64) {
    let (mut world, _) = world(models()[1].1);
    let error = |world: &World| (f64::from(peer(world).drift_ppm) - (LISBOA - PORTO)).abs();
    world.run_for(Duration::from_secs(10));
    let ten = error(&world);
    world.run_for(Duration::from_secs(50));
    (round(ten), round(error(&world)))
}

fn print_table(models: &[Value]) {
    println!(
        "| line | depth | best in hindsight | late | lost | recovered | concealed | pitch | converges | returns |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for model in models {
        let number = |key: &str| model[key].as_f64().map_or_else(|| "-".to_owned(), |x| format!("{x:.2}"));
        println!(
            "| {} | {} ms | {} ms | {} % | {} % | {} % | {} % | {} cents | {} s | {} s |",
            model["name"].as_str().unwrap_or_default(),
            number("depth_ms"),
            number("best_ms"),
            number("late_pct"),
            number("lost_pct"),
            number("recovered_pct"),
            number("concealed_pct"),
            number("cents_max"),
            number("converge_s"),
            number("return_s"),
        );
    }
}

fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * share) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}
