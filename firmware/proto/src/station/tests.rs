//! What a station does for its listeners, with given time.

use super::*;
use crate::rtp::Packet;
use std::net::IpAddr;

const MS_20: Duration = Duration::from_millis(20);

fn station() -> Station {
    let identity = Identity { name: "porto".to_owned(), source: 1, seed: 7 << 48 | 100, max_subscribers: 8 };
    Station::new(identity, Time(0))
}

fn ip(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

/// Where a listener says something from.
fn tcp(last: u8) -> SocketAddr {
    SocketAddr::new(ip(last), 40_000)
}

fn command(line: &str) -> Command {
    Command::parse(line).unwrap()
}

fn actions(station: &mut Station) -> Vec<Action> {
    std::iter::from_fn(|| station.poll()).collect()
}

/// What is sent, and where.
fn sent(station: &mut Station) -> Vec<(SocketAddr, Vec<u8>)> {
    let sent = actions(station).into_iter();
    sent.filter_map(|action| if let Action::Send(to, bytes) = action { Some((to, bytes)) } else { None })
        .collect()
}

#[test]
fn each_listener_gets_the_one_packet_and_the_ninth_is_refused() {
    let (mut station, ring) = (station(), Ring::new(1));
    assert!(!station.wants(Time(0), &ring, Share::Everything));
    for port in 5_001..=5_008 {
        let said = command(&format!("SUBSCRIBE {port}"));
        assert_eq!(station.handle_command(Time(0), tcp(2), said), Reply::Done);
    }
    assert_eq!(station.handle_command(Time(0), tcp(2), command("SUBSCRIBE 5001")), Reply::Done);
    assert_eq!(station.handle_command(Time(0), tcp(3), command("SUBSCRIBE 5001")), Reply::LimitReached);
    assert_eq!(actions(&mut station).len(), 8, "a repeated subscription counts once");
    assert!(station.wants(Time(0), &ring, Share::Everything) && !station.wants(Time(0), &ring, Share::Own));
    station.handle_packet(Time(0), &ring, Share::Everything, 0, b"opus");
    station.handle_packet(Time(0), &ring, Share::Own, 0, b"nobody's");
    let sent = sent(&mut station);
    assert_eq!(sent.len(), 8);
    for (n, (to, datagram)) in sent.iter().enumerate() {
        let Packet { header, payload } = Packet::parse(datagram).unwrap();
        assert_eq!((to.port(), payload), (5_001 + n as u16, &b"opus"[..]));
        assert_eq!((header.ssrc, header.sequence, header.timestamp, header.payload_type), (1, 7, 100, 96));
    }
    assert_eq!(station.handle_command(Time(0), tcp(2), command("UNSUBSCRIBE 5001")), Reply::Done);
    assert_eq!(actions(&mut station), [Action::Close(SocketAddr::new(ip(2), 5_001))]);
    assert_eq!(station.handle_command(Time(0), tcp(2), command("UNSUBSCRIBE 5001")), Reply::Done);
    assert_eq!(actions(&mut station), []);
    assert_eq!(station.handle_command(Time(0), tcp(3), command("SUBSCRIBE 5001")), Reply::Done);
}

#[test]
fn a_pause_keeps_everybody_and_time_goes_on_in_it() {
    let (mut station, ring) = (station(), Ring::new(1));
    station.handle_command(Time(0), tcp(2), command("SUBSCRIBE 5004"));
    let mut now = Time(0);
    for n in 0..10 {
        station.handle_packet(now, &ring, Share::Everything, n * 960, b"x");
        now = now + MS_20;
    }
    let from = SocketAddr::new(ip(2), 5_004);
    let mut report = Vec::new();
    for _ in 0..300 {
        now = now + Duration::from_secs(1);
        station.handle_second(now, 0);
        report.clear();
        rtcp::Writer::new(&mut report).receiver_report(9, &[]).source_description(9, "lisboa");
        station.handle_datagram(now, from, &report);
    }
    let before = sent(&mut station);
    assert!(before[10..].iter().all(|(_, datagram)| rtcp::is_rtcp(datagram)), "reports go on");
    assert_eq!(before.len(), 10 + 60);
    station.handle_packet(now, &ring, Share::Everything, 9_600, b"x");
    let header = Packet::parse(&sent(&mut station)[0].1).unwrap().header;
    assert_eq!((header.marker, header.sequence), (true, 17), "nothing is lost");
    assert_eq!(header.timestamp, 100 + 9_600 + 300 * 48_000, "five minutes later");
    rtcp::Writer::new(&mut report).bye(9);
    station.handle_datagram(now, from, &report);
    assert_eq!((actions(&mut station), station.count()), (vec![Action::Close(from)], 0));
}

#[test]
fn a_listener_whom_the_station_hears_gets_its_own_sound_alone() {
    let (mut station, mut ring) = (station(), Ring::new(1));
    for last in [2, 3] {
        station.handle_command(Time(0), tcp(last), command("SUBSCRIBE 5004"));
    }
    // It listens to the station 22, at the address of the first; the second is 33, which 22 listens to.
    ring.handle_packet(Time(0), ip(2), 22, [33].into_iter());
    actions(&mut station);
    let packets = |station: &mut Station, ring: &Ring| {
        station.handle_packet(Time(0), ring, Share::Everything, 0, b"all");
        station.handle_packet(Time(0), ring, Share::Own, 0, b"own");
        let sent = sent(station);
        sent.into_iter()
            .map(|(to, datagram)| {
                assert!(sources::read(&datagram).unwrap().eq([22, 33]), "whom it hears is said to everybody");
                let payload = Packet::parse(&datagram).unwrap().payload;
                (to.ip(), String::from_utf8(payload.to_vec()).unwrap())
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(packets(&mut station, &ring), [(ip(3), "all".to_owned()), (ip(2), "own".to_owned())]);
    let mut report = Vec::new();
    rtcp::Writer::new(&mut report).receiver_report(33, &[]).source_description(33, "montemor");
    station.handle_datagram(Time(0), SocketAddr::new(ip(3), 5_004), &report);
    assert_eq!(packets(&mut station, &ring), [(ip(2), "own".to_owned()), (ip(3), "own".to_owned())]);
    assert!(station.wants(Time(0), &ring, Share::Own) && !station.wants(Time(0), &ring, Share::Everything));
}

#[test]
fn the_end_is_said_to_those_who_listen() {
    let (mut station, ring) = (station(), Ring::new(1));
    station.handle_command(Time(0), tcp(2), command("SUBSCRIBE 5004"));
    station.handle_packet(Time(0), &ring, Share::Everything, 0, b"x");
    actions(&mut station);
    station.handle_end();
    let [(_, goodbye)] = &sent(&mut station)[..] else { panic!("one goodbye") };
    assert!(matches!(rtcp::parse(goodbye).unwrap().last(), Some(rtcp::Packet::Bye { ssrc: 1 })));
}
