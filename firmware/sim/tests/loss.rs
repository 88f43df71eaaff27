//! Lines that lose packets in bursts: once the sender knows, copies save nearly all of them.

use proto::control::PeerStatus;
use sim::{Link, Spec, World};
use std::time::Duration;

/// Porto and lisboa play to each other over a line that loses `loss` in bursts of `burst`; what porto saw
/// of lisboa after 20 s, when the line is known, and after 120 s.
fn play(loss: f64, burst: f64) -> (PeerStatus, PeerStatus) {
    let mut world = World::new(71, Link { loss, burst, ..Link::default() });
    world.add(Spec { ppm: 30.0, ..Spec::new("porto") });
    world.add(Spec { ppm: -30.0, phase: Duration::from_micros(700), ..Spec::new("lisboa") });
    world.start_rendezvous();
    world.switch_on(0);
    world.switch_on(1);
    world.run_for(Duration::from_secs(20));
    let known = world.status(0).peers.remove(0);
    world.run_for(Duration::from_secs(100));
    (known, world.status(0).peers.remove(0))
}

/// Share of packets lost and share of packets concealed while the line was known, in per cent.
fn shares((known, end): &(PeerStatus, PeerStatus)) -> (f64, f64) {
    let sent = (end.received + end.lost - known.received - known.lost) as f64;
    let share = |count: u64| 100.0 * count as f64 / sent;
    (share(end.lost - known.lost), share(end.concealed - known.concealed))
}

#[test]
fn of_one_per_cent_in_short_bursts_one_in_eight_hundred_is_heard() {
    let run = play(0.01, 1.5);
    let (lost, concealed) = shares(&run);
    println!("lost {lost:.3} % concealed {concealed:.3} % depth {:.2} ms", run.1.depth_ms);
    assert!((0.8..1.2).contains(&lost), "{lost:.3} %");
    assert!(concealed <= 0.12, "{concealed:.3} % concealed: {:?}", run.1);
}

#[test]
fn heavy_losses_are_mostly_saved() {
    for (loss, burst, most) in [(0.005, 1.5, 0.33), (0.01, 2.0, 0.25), (0.05, 2.0, 1.0)] {
        let run = play(loss, burst);
        let (lost, concealed) = shares(&run);
        println!(
            "{loss} {burst}: lost {lost:.3} % concealed {concealed:.3} % depth {:.2} ms",
            run.1.depth_ms
        );
        assert!(
            concealed <= most,
            "{loss} in bursts of {burst}: {concealed:.3} % concealed of {lost:.3} % lost"
        );
    }
}

#[test]
fn a_good_line_pays_nothing() {
    let (_, end) = play(0.0, 1.0);
    assert_eq!((end.recovered, end.concealed), (0, 0), "{end:?}");
    assert!(end.depth_ms < 3.5, "{end:?}");
}
