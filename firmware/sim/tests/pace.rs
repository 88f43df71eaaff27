//! How much a box sends follows the session and the line: five boxes send longer packets than four, and a line that
//! is full gets less instead of more.
#![allow(clippy::unwrap_used, reason = "tests")]

use proto::control::PeerStatus;
use sim::{Link, Rate, Spec, World};
use std::time::Duration;

const NAMES: [&str; 5] = ["porto", "montemor", "lisboa", "coimbra", "braga"];

#[test]
fn the_fifth_box_makes_everybody_send_longer_packets() {
    let mut world = World::new(4, Link::default());
    for name in NAMES {
        world.add(Spec::new(name));
    }
    world.start_rendezvous();
    let lengths = |world: &World, count: usize| -> Vec<(f32, Vec<f32>)> {
        let statuses = (0..count).map(|index| world.status(index));
        let of = |peer: &PeerStatus| peer.sends.packet_ms;
        statuses.map(|status| (status.sends.packet_ms, status.peers.iter().map(of).collect())).collect()
    };
    (0..4).for_each(|index| world.switch_on(index));
    world.run_for(Duration::from_secs(3));
    assert_eq!(lengths(&world, 4), vec![(2.5, vec![2.5; 3]); 4]);
    world.switch_on(4);
    world.run_for(Duration::from_secs(3));
    assert_eq!(lengths(&world, 5), vec![(5.0, vec![5.0; 4]); 5], "all agree without a word");
    world.leave(4);
    world.run_for(Duration::from_secs(3));
    assert_eq!(lengths(&world, 4), vec![(2.5, vec![2.5; 3]); 4]);
    for index in 0..4 {
        let broken: Vec<u64> = world.status(index).peers.iter().map(|peer| peer.concealed).collect();
        assert!(broken.iter().all(|concealed| *concealed <= 6), "a change is hardly heard: {broken:?}");
    }
}

/// Porto's packets and reports take 275 kbit/s of Ethernet; so many get through to lisboa.
fn play(bits: u32, seconds: u64) -> (World, PeerStatus) {
    let mut world = World::new(6, Link { delay: Duration::from_millis(15), ..Link::default() });
    world.add(Spec::new("porto"));
    world.add(Spec { ppm: 40.0, ..Spec::new("lisboa") });
    world.start_rendezvous();
    world.switch_on(0);
    world.switch_on(1);
    world.run_for(Duration::from_secs(5));
    let usual = world.link(0, 1);
    world.set_link(0, 1, Link { rate: Some(Rate { bits, queue: Duration::from_millis(80) }), ..usual });
    world.run_for(Duration::from_secs(seconds));
    let before = world.status(1).peers.remove(0);
    (world, before)
}

#[test]
fn a_full_line_gets_fewer_bits_and_then_fewer_packets() {
    for (bits, packet_ms, least, most) in [(250_000, 2.5, 45.0, 70.0), (150_000, 5.0, 30.0, 50.0)] {
        let (mut world, before) = play(bits, 9);
        world.run_for(Duration::from_secs(4));
        let (sends, peer) = (world.status(0).sends, world.status(1).peers.remove(0));
        let kbits = sends.kbits.unwrap();
        assert!((least..=most).contains(&kbits) && sends.packet_ms == packet_ms, "{bits}: {sends:?}");
        let said = world.said(0).iter().filter(|said| said.contains("the line to lisboa is full")).count();
        assert!((1..=4).contains(&said), "{bits}: {:?}", world.said(0));
        let came = peer.received - before.received;
        let missing = peer.lost - before.lost;
        assert!(missing * 100 <= came, "{bits}: {missing} lost of {came}, though less is sent");
    }
}

#[test]
fn better_times_are_noticed() {
    let (mut world, _) = play(250_000, 12);
    let usual = world.link(0, 1);
    world.set_link(0, 1, Link { rate: None, ..usual });
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.status(0).sends.kbits, Some(96.0));
}
