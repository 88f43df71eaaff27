//! Stations find each other, are listened to, and do what mopidy-rtp's did not: refuse and forget listeners rightly, be
//! heard again after a pause, and not feed back when they listen to each other.
//!
//! Real processes, each in a computer of its own (a network namespace) with broadcast between them; the test itself
//! speaks as mopidy-rtp does. Foreign programs: GStreamer and ffmpeg play a station from its SDP, Python's zeroconf finds
//! it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::jackd::{Jackd, server_name};
use common::lan::{Computer, Lan};
use common::player::{Player as Box, Setup};
use common::process::Process;
use common::rtsp::{ffmpeg_sdp, gstreamer_sdp};
use common::{PATIENCE, Stage, free_port, sound};
use nix::sys::signal::Signal;
use proto::rtp;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

/// A box that is a station, in its computer.
fn station(stage: &Stage, place: &Computer, name: &str, hertz: u32, settings: &Value) -> Box {
    Box::start_with(stage, &setup(stage, name, hertz, settings), |command| place.put(command))
}

fn setup(stage: &Stage, name: &str, hertz: u32, settings: &Value) -> Setup {
    let mut setup = Setup::simulated(stage, name, free_port(), 0.0, hertz);
    setup.config["station"] = settings.clone();
    setup
}

/// Somebody who listens to a station.
struct Listener {
    process: Process,
    /// Lines that were looked at.
    seen: usize,
}

impl Listener {
    /// Into a WAV file, or with what a box is told.
    fn start(stage: &Stage, place: &Computer, name: &str, arguments: &[&str]) -> Listener {
        let mut command = stage.matriz(&[&["listen", "--json"], arguments].concat());
        place.put(&mut command);
        Listener { process: Process::start_typed(name, &mut command), seen: 0 }
    }

    /// A listener that is a station too, and has a tone of its own.
    fn relaying(stage: &Stage, place: &Computer, name: &str, hertz: u32, station: &str) -> Listener {
        let setup = setup(stage, name, hertz, &json!({}));
        let file = stage.write(&format!("{name}.json"), &setup.config.to_string());
        Listener::start(stage, place, name, &[station, file.to_str().unwrap()])
    }

    /// The next line of JSON that is as wanted.
    fn wait(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut at = self.seen;
        let found = self.process.out.wait_or(|lines| {
            while at < lines.len() {
                at += 1;
                let line = serde_json::from_str(&lines[at - 1]).unwrap();
                if wanted(&line) {
                    return Some(line);
                }
            }
            None
        });
        self.seen = at;
        found.unwrap_or_else(|why| {
            panic!("{} should say {what}; but {why}{}", self.process.name, self.process.log)
        })
    }

    /// Waits until it hears so much more.
    fn wait_for_packets(&mut self, more: u64) {
        let line = self.wait("that it hears the station", |line| line["plays"] == true);
        let from = line["received"].as_u64().unwrap();
        self.wait("that it goes on", |line| line["received"].as_u64().unwrap() > from + more);
    }

    /// Waits for a loudness.
    fn wait_for_level(&mut self, what: &str, wanted: std::ops::Range<f64>) {
        self.wait(what, |line| wanted.contains(&line["level_db"].as_f64().unwrap()));
    }

    fn is_listened_to(&mut self) {
        self.wait("that somebody listens to it", |line| line["listeners"].as_u64() > Some(0));
    }
}

/// What is in the last second of a recording that has ended: which of the tones, and nothing else of them.
fn assert_hears(stage: &Stage, name: &str, tones: &[u32], others: &[u32]) {
    let [left, _] = sound::read(&stage.path(&format!("{name}.wav")));
    let last = &left[left.len() - 48_000..];
    for (hertz, there) in
        tones.iter().map(|hertz| (hertz, true)).chain(others.iter().map(|hertz| (hertz, false)))
    {
        let level = sound::median(&sound::tone(last, *hertz));
        let right = if there { (-16.0..-9.0).contains(&level) } else { level < -45.0 };
        assert!(
            right,
            "{name} hears {hertz} Hz at {level:.1} dB; of {tones:?} it should be -12, of {others:?} none"
        );
    }
}

/// What `matriz stations --json` prints there, once it has everything that is wanted. `meanwhile` is done ten times a
/// second as long as it listens.
fn stations(
    stage: &Stage,
    place: &Computer,
    meanwhile: impl Fn(),
    wanted: impl Fn(&[Value]) -> bool,
) -> Vec<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut command = stage.matriz(&["stations", "--json", "--seconds", "2"]);
        place.put(&mut command);
        let mut process = Process::start("stations", &mut command);
        while process.ended().is_none() {
            meanwhile();
            std::thread::sleep(Duration::from_millis(100));
        }
        let said = process.out.to_the_end().concat();
        let Ok(Value::Array(list)) = serde_json::from_str(&said) else { panic!("{said}{}", process.log) };
        if wanted(&list) {
            return list;
        }
        assert!(Instant::now() < deadline, "these stations are not all: {list:#?}");
    }
}

fn has(list: &[Value], name: &str, uri: &str) -> bool {
    list.iter().any(|station| station["name"] == name && station["uri"] == uri)
}

/// A conversation with a station, as mopidy-rtp's client has it.
struct Original(BufReader<TcpStream>);

impl Original {
    fn connect(address: &str) -> Original {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut original = Original(BufReader::new(stream));
        assert_eq!(original.read(), "OK RTP 0.0.1\n");
        original
    }

    fn say(&mut self, line: &str) -> String {
        self.0.get_mut().write_all(line.as_bytes()).unwrap();
        self.read()
    }

    fn read(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }
}

/// Waits until something listens at a TCP address.
fn wait_for(address: &str) {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "nobody listens at {address}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A UDP port of the test's own.
fn udp() -> (UdpSocket, u16) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

/// The payloads of the next packets.
fn payloads(socket: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
    let mut datagram = [0; 2_048];
    let next = || {
        let length = socket.recv(&mut datagram).unwrap();
        let packet = rtp::Packet::parse(&datagram[..length]).ok()?;
        (packet.header.payload_type == rtp::OPUS).then(|| packet.payload.to_vec())
    };
    std::iter::repeat_with(next).flatten().take(count).collect()
}

#[test]
fn stations_find_each_other_in_subnets_that_are_not_of_24_bits_by_ipv4_and_ipv6() {
    let stage = Stage::new();
    // A station of mopidy-rtp hears what comes to the broadcast address, and sends there.
    let Some(mut wide) = Lan::new(&stage, "wide", &["10.1.16.9/20"]) else { return };
    let original = UdpSocket::bind("10.1.31.255:46986").unwrap();
    original.set_read_timeout(Some(PATIENCE)).unwrap();
    let (porto, lisboa) = (wide.computer(&["10.1.17.1/20"]), wide.computer(&["10.1.30.2/20"]));
    let link_local = porto.link_local();
    let _box = station(&stage, &porto, "porto", 440, &json!({}));
    let _other =
        station(&stage, &lisboa, "lisboa", 1_300, &json!({"port": 7_129, "station_name": "A %port"}));
    let mut datagram = [0; 2_000];
    let mut heard = HashSet::new();
    while heard.len() < 2 {
        let (length, from) = original.recv_from(&mut datagram).unwrap();
        heard.insert((from.ip().to_string(), String::from_utf8(datagram[..length].to_vec()).unwrap()));
    }
    let announced = [("10.1.17.1", "porto on 10.1.17.1:7128"), ("10.1.30.2", "A 7129")];
    assert_eq!(heard, announced.map(|(ip, name)| (ip.to_owned(), name.to_owned())).into());

    let by_name = format!("porto on {link_local}:7128");
    original.set_broadcast(true).unwrap();
    let announce = || {
        original.send_to(b"Mopidy RTP Service on 10.1.16.9:7128", "10.1.31.255:46986").unwrap();
    };
    let wanted = |list: &[Value]| {
        has(list, "Mopidy RTP Service on 10.1.16.9:7128", "rtp:10.1.16.9")
            && has(list, "porto on 10.1.17.1:7128", "rtp:10.1.17.1")
            && has(list, &by_name, &format!("rtp:{link_local}%eth0"))
            && has(list, "A 7129", "rtp:10.1.30.2:7129")
    };
    let list = stations(&stage, &lisboa, announce, wanted);
    assert_eq!(list.iter().find(|station| station["address"] == "10.1.16.9").unwrap()["port"], Value::Null);
    let of = |address: &str| list.iter().find(|station| station["address"] == address).unwrap();
    assert_eq!((&of("10.1.17.1")["port"], &of("10.1.17.1")["here"]), (&json!(7_128), &json!(false)));
    assert_eq!((&of("10.1.30.2")["port"], &of("10.1.30.2")["here"]), (&json!(7_129), &json!(true)));

    let Some(mut narrow) = Lan::new(&stage, "narrow", &[]) else { return };
    let (montemor, evora) = (narrow.computer(&["10.2.0.18/28"]), narrow.computer(&["10.2.0.29/28"]));
    let _third = station(&stage, &montemor, "montemor", 600, &json!({}));
    let list =
        stations(&stage, &evora, || {}, |list| has(list, "montemor on 10.2.0.18:7128", "rtp:10.2.0.18"));
    assert!(list.iter().all(|station| !station["name"].as_str().unwrap().contains("porto")), "{list:?}");
    let mut table = stage.matriz(&["listen", "rtp:stations"]);
    evora.put(&mut table);
    let output = table.output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && table.contains("montemor on 10.2.0.18:7128"), "{table}");
}

#[test]
fn the_ninth_listener_is_refused_with_the_originals_words_and_one_that_vanishes_makes_room() {
    let stage = Stage::new();
    let Some(mut lan) = Lan::new(&stage, "lan", &["10.0.0.9/24"]) else { return };
    let (porto, lisboa) = (lan.computer(&["10.0.0.1/24"]), lan.computer(&["10.0.0.2/24"]));
    let mut porto = station(&stage, &porto, "porto", 440, &json!({}));
    wait_for("10.0.0.1:7128");
    let mut original = Original::connect("10.0.0.1:7128");
    let mut listeners: Vec<(UdpSocket, u16)> = (0..8).map(|_| udp()).collect();
    for (_, port) in &listeners {
        assert_eq!(original.say(&format!("SUBSCRIBE {port}\n")), "ERROR_OK\n");
        assert_eq!(original.say(&format!("SUBSCRIBE {port}\r\n")), "ERROR_OK\n", "once more is once");
    }
    let (ninth, port) = udp();
    let mut late = Original::connect("10.0.0.1:7128");
    assert_eq!(late.say(&format!("SUBSCRIBE {port}\n")), "ERROR_SUBSCRIBER_LIMIT_REACHED\n");
    let mut refused =
        Listener::start(&stage, &lisboa, "refused", &["rtp:10.0.0.1:7128", "--wav", "none.wav"]);
    assert_eq!(refused.process.wait().code(), Some(1));
    refused.process.log.wait_for(&["rtp:10.0.0.1 says ERROR_SUBSCRIBER_LIMIT_REACHED", "try again"]);

    // All of them get the same packets, of one encoder.
    let heard: Vec<_> = listeners.iter().map(|(socket, _)| payloads(socket, 20)).collect();
    for packets in &heard {
        let from = heard[0].iter().position(|packet| *packet == packets[0]).unwrap_or(usize::MAX);
        let back = packets.iter().position(|packet| *packet == heard[0][0]).unwrap_or(usize::MAX);
        let (one, other) =
            if from < 20 { (&heard[0][from..], &packets[..]) } else { (&heard[0][..], &packets[back..]) };
        let same = one.iter().zip(other).take_while(|(one, other)| one == other).count();
        assert!(same == one.len().min(other.len()) && same > 5, "{same} packets are the same");
    }
    let tasks = std::fs::read_dir(format!("/proc/{}/task", porto.process.id())).unwrap();
    let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap());
    assert_eq!(names.filter(|name| name.trim() == "programme").count(), 1);

    for line in ["SUBSCRIBE\n", "SUBSCRIBE 0\n", "SUBSCRIBE 99999\n", "HELLO 5\n", "\n", "\u{7f} \u{1}\n"] {
        assert_eq!(late.say(line), "ERROR_UNRECOGNIZED_COMMAND\n", "{line:?}");
    }
    let (_, first) = listeners[0];
    assert_eq!(original.say(&format!("UNSUBSCRIBE {first}\n")), "ERROR_OK\n");
    assert_eq!(late.say(&format!("SUBSCRIBE {port}\n")), "ERROR_OK\n");
    payloads(&ninth, 5);
    assert_eq!(original.say(&format!("SUBSCRIBE {first}\n")), "ERROR_SUBSCRIBER_LIMIT_REACHED\n");

    // One vanishes without a word: its port is closed.
    drop(listeners.remove(3));
    let deadline = Instant::now() + PATIENCE;
    while Original::connect("10.0.0.1:7128").say(&format!("SUBSCRIBE {first}\n")) != "ERROR_OK\n" {
        assert!(Instant::now() < deadline, "who has vanished is still there");
        std::thread::sleep(Duration::from_millis(200));
    }
    payloads(&listeners[0].0, 5);

    // Who does not stop is cut off, and nobody else notices.
    let mut endless = TcpStream::connect("10.0.0.1:7128").unwrap();
    endless.set_write_timeout(Some(PATIENCE)).unwrap();
    while endless.write_all(&[b'A'; 1_000]).is_ok() {}
    payloads(&ninth, 5);
    porto.stop();
}

#[test]
fn stations_that_listen_to_each_other_hear_each_other_and_feed_nothing_back() {
    let stage = Stage::new();
    let Some(mut lan) = Lan::new(&stage, "lan", &[]) else { return };
    let places = [1, 2, 3].map(|last| lan.computer(&[&format!("10.0.0.{last}/24")]));
    let mut porto = Listener::relaying(&stage, &places[0], "porto", 440, "rtp:10.0.0.2:7128");
    let mut lisboa = Listener::relaying(&stage, &places[1], "lisboa", 1_300, "rtp:10.0.0.1:7128");
    for box_ in [&mut porto, &mut lisboa] {
        box_.wait("that the other hears it", |line| line["hears_us"] == true && line["plays"] == true);
        box_.process.log.wait_for(&["hears this one, too", "not sent back"]);
    }
    // A third one hears both.
    let wav = stage.path("third.wav");
    let arguments = ["rtp:10.0.0.1:7128", "--wav", wav.to_str().unwrap()];
    let mut third = Listener::start(&stage, &places[2], "third", &arguments);
    for listener in [&mut porto, &mut lisboa, &mut third] {
        listener.wait_for_packets(150);
    }
    for listener in [&mut third, &mut porto, &mut lisboa] {
        assert!(listener.process.terminate().success(), "{}", listener.process.log);
    }
    assert_hears(&stage, "porto", &[1_300], &[440]);
    assert_hears(&stage, "lisboa", &[440], &[1_300]);
    assert_hears(&stage, "third", &[440, 1_300], &[]);
}

#[test]
fn a_ring_of_three_stations_feeds_nothing_back_either() {
    let stage = Stage::new();
    let Some(mut lan) = Lan::new(&stage, "lan", &[]) else { return };
    let players = [("porto", 440, 2), ("lisboa", 1_300, 3), ("montemor", 2_300, 1)];
    let mut places = Vec::new();
    let mut listeners = Vec::new();
    for (last, (name, hertz, to)) in (1..).zip(players) {
        let place = lan.computer(&[&format!("10.0.0.{last}/24")]);
        let station = format!("rtp:10.0.0.{to}:7128");
        listeners.push(Listener::relaying(&stage, &place, name, hertz, &station));
        places.push(place);
    }
    for listener in &mut listeners {
        listener.wait("that it is heard itself", |line| line["hears_us"] == true && line["plays"] == true);
    }
    for listener in &mut listeners {
        listener.wait_for_packets(150);
    }
    for listener in &mut listeners {
        assert!(listener.process.terminate().success(), "{}", listener.process.log);
    }
    assert_hears(&stage, "porto", &[1_300], &[440, 2_300]);
    assert_hears(&stage, "lisboa", &[2_300], &[440, 1_300]);
    assert_hears(&stage, "montemor", &[440], &[1_300, 2_300]);
}

#[test]
fn a_station_that_was_paused_is_heard_again_and_so_is_one_that_stood_still_or_was_started_anew() {
    let stage = Stage::new();
    let Some(mut lan) = Lan::new(&stage, "lan", &[]) else { return };
    let places = [1, 2, 3].map(|last| lan.computer(&[&format!("10.0.0.{last}/24")]));
    let mut porto = station(&stage, &places[0], "porto", 440, &json!({}));
    let setup = setup(&stage, "lisboa", 440, &json!({}));
    let mut config = setup.config;
    config["simulated"]["input"] = json!("silence");
    let file = stage.write("lisboa.json", &config.to_string());
    // By its name, and by DNS-SD to its port.
    let arguments = ["porto on 10.0.0.1:7128", file.to_str().unwrap()];
    let mut lisboa = Listener::start(&stage, &places[1], "lisboa", &arguments);
    let wav = stage.path("montemor.wav");
    let arguments = ["rtp:10.0.0.2", "--wav", wav.to_str().unwrap()];
    let mut montemor = Listener::start(&stage, &places[2], "montemor", &arguments);
    let (music, silence) = (-20.0..-5.0, -121.0..-60.0);
    montemor.wait_for_level("that it hears porto through lisboa", music.clone());
    lisboa.is_listened_to();

    lisboa.process.type_line("pause");
    lisboa.wait("that it is paused", |line| line["paused"] == true && line["plays"] == false);
    montemor.wait_for_level("that lisboa is paused", silence.clone());
    lisboa.process.type_line("play");
    montemor.wait_for_level("that lisboa plays again", music.clone());

    porto.process.signal(Signal::SIGSTOP);
    lisboa.wait("that porto stands still", |line| line["plays"] == false);
    montemor.wait_for_level("that porto stands still", silence.clone());
    porto.process.signal(Signal::SIGCONT);
    montemor.wait_for_level("that porto goes on", music.clone());

    porto.process.kill();
    lisboa.wait("that porto is away", |line| line["plays"] == false && line["away"].is_string());
    montemor.wait_for_level("that porto is away", silence);
    let _porto = station(&stage, &places[0], "porto", 440, &json!({}));
    montemor.wait_for_level("that porto was started again", music);
    lisboa.process.type_line("exit");
    assert!(lisboa.process.wait().success());
}

#[test]
fn listeners_are_kept_while_the_sound_card_is_away_and_get_the_sound_when_it_is_back() {
    let stage = Stage::new();
    let server = server_name("card");
    let mut jackd = Jackd::start(&server, 120);
    let mut setup = Setup::jack("porto", free_port(), &server);
    let port = free_port();
    setup.config["station"] = json!({"port": port});
    let mut porto = Box::start(&stage, &setup);
    porto.wait("it plays", |status| status.card_frame > 4_800);
    let (listener, own) = udp();
    let mut original = Original::connect(&format!("127.0.0.1:{port}"));
    assert_eq!(original.say(&format!("SUBSCRIBE {own}\n")), "ERROR_OK\n");
    payloads(&listener, 20);

    jackd.process.kill();
    porto.process.log.wait_for(&["the JACK server is gone"]);
    // What was on its way is here; then nothing comes.
    listener.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    while listener.recv(&mut [0; 2_048]).is_ok() {}
    listener.set_read_timeout(Some(PATIENCE)).unwrap();

    let _jackd = Jackd::start(&server, 120);
    payloads(&listener, 20); // without another subscription
    porto.stop();
}

/// What `matriz stations --sdp` prints there, and the process that keeps the subscription.
fn describe(stage: &Stage, place: &Computer, station: &str, port: u16) -> (Process, std::path::PathBuf) {
    let mut command = stage.matriz(&["stations", "--sdp", station, "--port", &port.to_string()]);
    place.put(&mut command);
    let process = Process::start("sdp", &mut command);
    let text = process
        .out
        .wait_or(|lines| lines.iter().any(|line| line.starts_with("a=rtcp-mux")).then(|| lines.join("\n")));
    let text = text.unwrap_or_else(|why| panic!("{station} should be described; but {why}{}", process.log));
    assert!(text.contains(&format!("m=audio {port} RTP/AVP 96")), "{text}");
    let file = stage.write(&format!("{port}.sdp"), &format!("{text}\n"));
    (process, file)
}

#[test]
fn standard_players_play_a_station_from_its_sdp_by_ipv4_and_ipv6() {
    let stage = Stage::new();
    let Some(mut lan) = Lan::new(&stage, "lan", &[]) else { return };
    let porto = lan.computer(&["10.0.0.1/24", "fd00::1/64"]);
    let lisboa = lan.computer(&["10.0.0.2/24", "fd00::2/64"]);
    let link_local = format!("rtp:{}%eth0", porto.link_local());
    lisboa.link_local();
    let _box = station(&stage, &porto, "porto", 440, &json!({"port": 7_130}));
    stations(&stage, &lisboa, || {}, |list| has(list, "porto on 10.0.0.1:7130", "rtp:10.0.0.1:7130"));
    let four = describe(&stage, &lisboa, "rtp:10.0.0.1", 5_004);
    let six = describe(&stage, &lisboa, "rtp:[fd00::1]:7130", 5_006);
    let by_name = describe(&stage, &lisboa, "porto on 10.0.0.1:7130", 5_008);
    let local = describe(&stage, &lisboa, &link_local, 5_010);
    let players = [
        gstreamer_sdp(&stage, &four.1, "1.wav", |command| lisboa.put(command)),
        ffmpeg_sdp(&stage, &by_name.1, "2.wav", |command| lisboa.put(command)),
        // GStreamer's `sdpdemux` (1.22) opens only IPv4 for what is sent to it alone.
        ffmpeg_sdp(&stage, &six.1, "3.wav", |command| lisboa.put(command)),
        ffmpeg_sdp(&stage, &local.1, "4.wav", |command| lisboa.put(command)),
    ];
    for player in players {
        player.assert_tone(440);
    }
    for (mut process, _) in [four, six, by_name, local] {
        assert!(process.terminate().success(), "{}", process.log);
    }
}

/// Browses and prints the services that it finds, until one has the port 7131 and the address 10.0.0.1.
const ZEROCONF: &str = "
import sys, threading, zeroconf
found = threading.Event()
class Listener(zeroconf.ServiceListener):
    def add_service(self, zc, kind, name):
        info = zc.get_service_info(kind, name)
        if info:
            addresses = info.parsed_addresses()
            print(name, info.port, info.properties, addresses, flush=True)
            if info.port == 7131 and '10.0.0.1' in addresses:
                found.set()
    def update_service(self, zc, kind, name):
        self.add_service(zc, kind, name)
    def remove_service(self, zc, kind, name):
        print('gone', name, flush=True)
zc = zeroconf.Zeroconf()
browser = zeroconf.ServiceBrowser(zc, '_matriz-station._tcp.local.', Listener())
sys.exit(0 if found.wait(25) else 1)
";

#[test]
fn other_programs_find_a_station_and_its_port_by_dns_sd() {
    let stage = Stage::new();
    let Some(mut lan) = Lan::new(&stage, "lan", &[]) else { return };
    let (porto, lisboa) = (lan.computer(&["10.0.0.1/24"]), lan.computer(&["10.0.0.2/24"]));
    let settings = json!({"port": 7_131, "hostname": "10.0.0.1", "station_name": "Estação %hostname"});
    let _box = station(&stage, &porto, "porto", 440, &settings);
    let mut command = Command::new("/usr/bin/python3"); // Debian's, which has Debian's packages
    lisboa.put(command.args(["-c", ZEROCONF]));
    let mut python = Process::start("zeroconf", &mut command);
    assert!(python.wait().success(), "{}{}", python.out, python.log);
    python.out.wait_for(&["Estação 10.0.0.1._matriz-station._tcp.local.", "7131", "b'name': b'Esta"]);
}

#[test]
fn a_box_whose_station_port_is_taken_says_so_and_plays() {
    let stage = Stage::new();
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let setup = setup(&stage, "porto", 440, &json!({"port": port}));
    let mut porto = Box::start(&stage, &setup);
    let port = format!("TCP port {port} is taken");
    let sentence = porto.process.log.wait_for(&["porto.json, line ", &port, "in the table \"station\""]);
    assert!(sentence.contains("this box is no station"), "{sentence}");
    porto.wait("it plays", |status| status.card_frame > 48_000);
    porto.stop();

    let mut strange =
        stage.matriz(&["listen", &format!("rtp:127.0.0.1:{}", taken.local_addr().unwrap().port())]);
    let talker = std::thread::spawn(move || {
        let (mut stream, _) = taken.accept().unwrap();
        stream.write_all(b"SSH-2.0-\x1b[2J\n").unwrap();
    });
    let file = stage.path("none.wav");
    let mut strange = Process::start("strange", strange.arg("--wav").arg(file));
    strange.log.wait_for(&["is no station: it says \"SSH-2.0-[2J\"", "trying again"]);
    talker.join().unwrap();
    assert!(strange.terminate().success());
}
