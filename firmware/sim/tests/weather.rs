//! Lines that delay, shake, lose, overtake and repeat: the music goes on, what was not there is counted
//! for what it was, and the same seed always gives the same samples.

use proto::control::PeerStatus;
use sim::{Link, Spec, World};
use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::time::Duration;

/// Porto and lisboa play noise to each other over `link` for `seconds`; what porto saw of lisboa, and a
/// fingerprint of what it heard.
fn play(seed: u64, link: Link, seconds: u64) -> (PeerStatus, u64) {
    let fingerprint = Rc::new(RefCell::new(DefaultHasher::new()));
    let writer = Rc::clone(&fingerprint);
    let mut world = World::new(seed, link);
    let mut random = fastrand::Rng::with_seed(5);
    let ear = Box::new(move |_, heard: &[f32]| {
        heard.iter().for_each(|x| x.to_bits().hash(&mut *writer.borrow_mut()));
    });
    world.add(Spec { ppm: 30.0, ear, ..Spec::new("porto") });
    let input = Box::new(move |_| random.f32() * 0.2 - 0.1);
    world.add(Spec { ppm: -30.0, phase: Duration::from_micros(700), input, ..Spec::new("lisboa") });
    world.start_rendezvous();
    world.switch_on(0);
    world.switch_on(1);
    world.run_for(Duration::from_secs(seconds));
    let fingerprint = fingerprint.borrow().finish();
    (world.status(0).peers.remove(0), fingerprint)
}

#[test]
fn the_same_seed_gives_the_same_samples() {
    let link = Link { jitter: Duration::from_millis(3), loss: 0.01, reorder: 0.01, ..Link::default() };
    let (_, one) = play(11, link, 5);
    assert_eq!(one, play(11, link, 5).1);
    assert_ne!(one, play(12, link, 5).1, "and another seed others");
}

#[test]
fn what_is_lost_is_concealed_or_saved_and_counted_as_lost() {
    let (peer, _) = play(21, Link { loss: 0.01, ..Link::default() }, 30);
    let sent = (peer.received + peer.lost) as f64;
    assert!((0.007..0.013).contains(&(peer.lost as f64 / sent)), "{peer:?}");
    assert_eq!(peer.late, 0, "{peer:?}");
    // The last 128 packets are not given up yet, and where depth grows one more is concealed.
    assert!((peer.concealed + peer.recovered).abs_diff(peer.lost) <= 8, "{peer:?}");
}

#[test]
fn duplicates_are_heard_once() {
    let (peer, _) = play(31, Link { duplicate: 0.3, ..Link::default() }, 20);
    assert!(peer.received <= 20 * 400, "{peer:?}");
    assert_eq!((peer.lost, peer.late, peer.concealed), (0, 0, 0), "{peer:?}");
}

#[test]
fn packets_that_were_overtaken_find_their_place() {
    let link = Link { reorder: 0.02, ..Link::default() };
    let (peer, _) = play(41, link, 30);
    assert_eq!(peer.lost, 0, "{peer:?}");
    // Two in a hundred come 5 ms later: the depth grows so far that only the first of them are late.
    assert!(peer.late < 24, "{peer:?}");
    assert!((5.0..10.0).contains(&peer.depth_ms), "{peer:?}");
}

#[test]
fn depth_is_what_the_line_asks_for() {
    let shaking = |milliseconds| Link { jitter: Duration::from_millis(milliseconds), ..Link::default() };
    let mut last = 0.0;
    for milliseconds in [0, 4, 8, 16] {
        let (peer, _) = play(51, shaking(milliseconds), 30);
        assert!(peer.depth_ms > last && peer.depth_ms < milliseconds as f32 + 4.0, "{peer:?}");
        assert!(peer.concealed <= 12_000 / 200, "{peer:?}");
        last = peer.depth_ms;
    }
}

#[test]
fn a_longer_way_is_followed_and_a_shorter_one_too() {
    let mut world = World::new(61, Link::default());
    world.add(Spec::new("porto"));
    world.add(Spec { phase: Duration::from_micros(700), ..Spec::new("lisboa") });
    world.start_rendezvous();
    world.switch_on(0);
    world.switch_on(1);
    world.run_for(Duration::from_secs(20));
    let before = world.status(0).peers.remove(0);
    world.set_link(1, 0, Link { delay: Duration::from_millis(12), ..Link::default() });
    world.run_for(Duration::from_secs(20));
    let longer = world.status(0).peers.remove(0);
    assert!(longer.connected && longer.lost == 0, "{longer:?}");
    assert!(
        longer.concealed - before.concealed < 60,
        "the change may be heard, but not for long: {longer:?}"
    );
    world.run_for(Duration::from_secs(20));
    let settled = world.status(0).peers.remove(0);
    assert_eq!(settled.concealed, longer.concealed, "then it is as smooth as before");
    assert!(settled.depth_ms < 5.0, "{settled:?}");
    world.set_link(1, 0, Link::default());
    world.run_for(Duration::from_secs(40));
    let shorter = world.status(0).peers.remove(0);
    assert_eq!(shorter.concealed, settled.concealed, "a shorter way costs nothing");
    assert!(shorter.depth_ms < 5.0, "and the depth follows: {shorter:?}");
}

/// A queue that stood for long, as before a line that was full, and is gone: nobody waits half a minute.
#[test]
fn a_buffer_much_too_long_is_given_up_at_once() {
    let mut world = World::new(62, Link::default());
    world.add(Spec::new("porto"));
    world.add(Spec::new("lisboa"));
    world.start_rendezvous();
    world.switch_on(0);
    world.switch_on(1);
    world.run_for(Duration::from_secs(10));
    let delay = |world: &World| world.status(0).peers[0].delay_ms.unwrap();
    let usual = delay(&world);
    world.set_link(1, 0, Link { jitter: Duration::from_millis(70), ..Link::default() });
    world.run_for(Duration::from_secs(10));
    assert!(delay(&world) > usual + 35.0, "{:?}", world.status(0).peers);
    world.set_link(1, 0, Link::default());
    world.run_for(Duration::from_secs(15));
    assert!(delay(&world) < usual + 5.0, "{:?}", world.status(0).peers);
}
