//! What a musician may write; what is answered to what cannot be is in [`mistakes`].

mod mistakes;

use super::*;
use proto::control::Pace;

/// The seed's own example.
const SEED: &str = r#"{
    "key": "key1",
    "name": "porto",
    "url": "ws://localhost:5000/config",
    "interface": "eth0",
    "port": 8554,
    "client_pem": "fake_client.pem",
    "client_crt": "fake_client.crt",
    "ca_crt": "fake_ca.crt"
}"#;

const LEAST_TOML: &str = "name = \"porto\"\nkey = \"key1\"\nurl = \"ws://localhost:5000/config\"\n";

fn json(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("client.json")).map_err(|error| error.to_string())
}

fn toml(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("matriz.toml")).map_err(|error| error.to_string())
}

fn refused(answer: Result<Config, String>) -> String {
    answer.expect_err("this must be refused")
}

/// The seed's example with one more line, which is line 10.
fn seed_and(line: &str) -> Result<Config, String> {
    json(&SEED.replace("\"fake_ca.crt\"\n", &format!("\"fake_ca.crt\",\n{line}\n")))
}

#[test]
fn the_seeds_example_is_read_as_it_is() {
    let config = json(SEED).unwrap();
    assert_eq!((config.key.as_str(), config.name.as_str()), ("key1", "porto"));
    assert_eq!(config.url, "ws://localhost:5000/config");
    assert_eq!(config.interface.as_deref(), Some("eth0"));
    assert_eq!(config.client_crt, Some(PathBuf::from("fake_client.crt")));
    assert_eq!((config.guest(), config.half_a_guest()), (None, None));
    let said = config.without_tls().unwrap();
    let expected =
        "client.json, line 7: \"client_pem\", \"client_crt\", \"ca_crt\" have no effect, as \"url\" begins";
    assert!(said.starts_with(expected), "{said}");
    let wss = json(&SEED.replace("ws://", "wss://")).unwrap();
    assert_eq!((wss.without_tls(), json(MINIMAL).unwrap().without_tls()), (None, None));
}

#[test]
fn three_keys_are_enough_in_both_formats() {
    for config in [json(MINIMAL).unwrap(), toml(LEAST_TOML).unwrap()] {
        assert_eq!((config.port, config.media_port, config.channels), (8554, 8600, 1));
        assert_eq!((config.sound, config.gain_db, config.bitrate), (Sound::Jack, 0.0, None));
        assert_eq!((config.jack.connect, config.jack_name()), (true, "porto"));
        assert_eq!(config.simulated, Simulated::default());
        assert_eq!((config.simulated.period, config.interface), (120, None));
        assert_eq!((config.record, config.record_folder.as_path()), (false, Path::new("recordings")));
        assert_eq!(config.broadcast, None);
        assert_eq!(config.station, None);
    }
}

#[test]
fn every_key_is_read_the_same_from_both_formats() {
    let in_json = r#"{"key": "k", "name": "Évora 2", "url": "wss://a.b/config", "interface": "eth0",
        "port": 1, "client_pem": "p", "client_crt": "c", "ca_crt": "/a", "record": true,
        "record_folder": "takes", "receive": true,
        "receive_from_ip": "10.0.0.7", "receive_from_port": 2, "media_port": 0, "sound": "simulated",
        "channels": 2, "separate": true, "codec": "l24", "bitrate": 96, "packet_ms": 5, "uplink": 800,
        "prediction": true, "depth": "safe", "gain_db": -3,
        "jack": {"server": "s", "client_name": "n", "connect": false, "period": 64, "periods": 2},
        "network": {"address": "10.0.0.8/24", "gateway": "10.0.0.1", "dns": "10.0.0.2"},
        "simulated": {"ppm": 40, "period": 64, "input": "in.wav", "output": "out.wav", "phase_us": 7},
        "panel": {"enabled": false, "chip": "sh1106", "address": "0x3d", "bus": 0, "rotated": true, "mute": 4,
            "volume_down": 7, "volume_up": 8, "page": 9, "health": 10, "session": 11, "signal": 12, "trouble": 27},
        "broadcast": {"url": "http://source:a@b/mix", "sites": "http://source:a@b/{name}", "name": "N",
            "description": "D", "public": true},
        "station": {"enabled": false, "hostname": "10.0.0.7", "port": 3, "broadcast_port": 4,
            "max_subscribers": 5, "station_name": "S %port"}}"#;
    let in_toml = r#"
        key = "k"
        name = "Évora 2"
        url = "wss://a.b/config"
        interface = "eth0"
        port = 1
        client_pem = "p"
        client_crt = "c"
        ca_crt = "/a"
        record = true
        record_folder = "takes"
        receive = true
        receive_from_ip = "10.0.0.7"
        receive_from_port = 2
        media_port = 0
        sound = "simulated"
        channels = 2
        separate = true
        codec = "l24"
        bitrate = 96
        packet_ms = 5
        uplink = 800
        prediction = true
        depth = "safe"
        gain_db = -3
        jack = { server = "s", client_name = "n", connect = false, period = 64, periods = 2 }
        network = { address = "10.0.0.8/24", gateway = "10.0.0.1", dns = "10.0.0.2" }
        [simulated]
        ppm = 40
        period = 0x40
        input = "in.wav"
        output = "out.wav"
        phase_us = 7
        [panel]
        enabled = false
        chip = "sh1106"
        address = "0x3d"
        bus = 0
        rotated = true
        mute = 4
        volume_down = 7
        volume_up = 8
        page = 9
        health = 10
        session = 11
        signal = 12
        trouble = 27
        [broadcast]
        url = "http://source:a@b/mix"
        sites = "http://source:a@b/{name}"
        name = "N"
        description = "D"
        public = true
        [station]
        enabled = false
        hostname = "10.0.0.7"
        port = 3
        broadcast_port = 4
        max_subscribers = 5
        station_name = "S %port""#;
    let one = Config::parse(in_json, Path::new("set/client.json")).unwrap();
    let other = Config::parse(in_toml, Path::new("set/matriz.TOML")).unwrap();
    for config in [&one, &other] {
        assert_eq!(config.client_pem, Some(PathBuf::from("set/p")), "relative to the file's folder");
        assert_eq!(config.ca_crt, Some(PathBuf::from("/a")), "an absolute path stays");
        assert_eq!(config.simulated.input, Input::Wav(PathBuf::from("set/in.wav")));
        assert_eq!(config.simulated.output, Some(PathBuf::from("set/out.wav")));
        assert_eq!((config.simulated.ppm, config.simulated.period, config.simulated.phase_us), (40.0, 64, 7));
        assert_eq!((config.receive_from_ip, config.receive_from_port), ("10.0.0.7".parse().ok(), Some(2)));
        assert_eq!((config.bitrate, config.gain_db, config.media_port), (Some(96), -3.0, 0));
        assert_eq!((config.jack.server.as_deref(), config.jack_name()), (Some("s"), "n"));
        assert_eq!((config.jack.period, config.jack.periods), (64, 2));
        let network = config.network.as_ref().unwrap();
        assert_eq!((network.address.as_str(), network.gateway), ("10.0.0.8/24", "10.0.0.1".parse().ok()));
        assert_eq!((config.depth, config.prediction), (Depth::Safe, true));
        assert_eq!(config.format(), Sent { encoding: Encoding::L24, layout: Layout::Separate });
        let wish = Wish { bitrate: 0, frames: Some(240), uplink: Some(800_000) };
        assert_eq!(config.wish(), wish, "plain samples have no bit rate");
        assert_eq!((config.record, config.record_folder.as_path()), (true, Path::new("set/takes")));
        assert_eq!((config.guest(), config.half_a_guest()), ("10.0.0.7:2".parse().ok(), None));
        let panel = &config.panel;
        assert_eq!((panel.chip, panel.address.number(), panel.bus), (Chip::Sh1106, 0x3d, 0));
        assert_eq!((panel.is_there(), panel.rotated), (false, true));
        assert_eq!(panel.pins().map(|(_, pin)| pin), [4, 7, 8, 9, 10, 11, 12, 27]);
        let broadcast = config.broadcast.as_ref().unwrap();
        assert_eq!((broadcast.url.as_str(), broadcast.public), ("http://source:a@b/mix", true));
        assert_eq!(broadcast.sites.as_deref(), Some("http://source:a@b/{name}"));
        assert_eq!((broadcast.name.as_deref(), broadcast.description.as_deref()), (Some("N"), Some("D")));
        let station = Station {
            enabled: false,
            hostname: "10.0.0.7".parse().ok(),
            port: 3,
            broadcast_port: 4,
            max_subscribers: 5,
            station_name: Some("S %port".to_owned()),
        };
        assert_eq!(config.station, Some(station));
    }
    let strip = |config: &Config| Config { file: PathBuf::new(), lines: BTreeMap::new(), ..config.clone() };
    assert_eq!(format!("{:?}", strip(&one)), format!("{:?}", strip(&other)));
}

#[test]
fn the_bit_rate_follows_the_channels_unless_it_is_said() {
    for (line, kbits) in [
        ("\"channels\": 1", 96),
        ("\"channels\": 2", 160),
        ("\"separate\": true", 192),
        ("\"bitrate\": 64", 64),
    ] {
        assert_eq!(seed_and(line).unwrap().wish().pace(), Pace { frames: 120, bitrate: kbits * 1_000 });
    }
}

#[test]
fn what_is_null_or_empty_counts_as_not_said() {
    let config = seed_and(r#""receive_from_ip": "", "bitrate": null, "simulated": {"output": ""}"#).unwrap();
    assert_eq!((config.receive_from_ip, config.bitrate, config.simulated.output), (None, None, None));
    assert!(refused(json(r#"{"name": null, "key": "a", "url": "ws://a"}"#)).contains("\"name\" is missing"));
}

#[test]
fn input_is_silence_a_tone_or_a_file() {
    let input = |word: &str| Input::try_from(word.to_owned());
    assert_eq!(input("silence"), Ok(Input::Silence));
    assert_eq!(input("tone:440"), Ok(Input::Tone(440.0)));
    assert_eq!(input("tone.wav"), Ok(Input::Wav(PathBuf::from("tone.wav"))));
    for bad in ["tone:", "tone:a", "tone:0", "tone:nan", "tone:20001"] {
        assert!(input(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_station_has_the_originals_keys_and_values() {
    let station = seed_and("\"station\": {}").unwrap().station.unwrap();
    assert_eq!((station.port, station.broadcast_port, station.max_subscribers), (7_128, 46_986, 8));
    assert_eq!((station.enabled, station.hostname), (true, None));
    assert_eq!(station.template("porto"), "porto on %hostname:%port");
    for (inside, right) in [
        ("\"max_subscribers\": 0", "\"max_subscribers\" must be a number from 1 to 64"),
        ("\"hostname\": \"eth0\"", "\"hostname\" must be an address such as"),
        ("\"enabled\": 1", "\"enabled\" must be true or false"),
        ("\"station_name\": \"a\\nb\"", "\"station_name\" must be a text in quotes, one line"),
        ("\"stationname\": \"a\"", "no key \"stationname\" in \"station\"; did you mean \"station_name\"?"),
        ("\"max_subscriber\": 8", "did you mean \"max_subscribers\"?"),
    ] {
        let told = refused(seed_and(&format!("\"station\": {{{inside}}}")));
        assert!(told.starts_with("client.json, line 10: ") && told.contains(right), "{told}");
    }
}

#[test]
fn who_only_listens_to_a_station_needs_no_file() {
    let config = Config::of_listener(None);
    assert_eq!((config.sound, config.name.as_str(), config.station), (Sound::Jack, "matriz", None));
    let config = Config::of_listener(Some(Path::new("/a/b.wav")));
    assert_eq!((config.sound, config.simulated.output), (Sound::Simulated, Some(PathBuf::from("/a/b.wav"))));
}

#[test]
fn editors_that_mark_the_start_or_end_lines_their_way_are_understood() {
    let windows = format!("\u{feff}{}", SEED.replace('\n', "\r\n"));
    assert_eq!(json(&windows).unwrap().wrong("port", "x").to_string(), "client.json, line 6: x");
    toml(&format!("\u{feff}{}", LEAST_TOML.replace('\n', "\r\n"))).unwrap();
}

#[test]
fn client_json_is_found_before_matriz_toml() {
    let folder = tempfile::tempdir().unwrap();
    let told = Config::find_in(folder.path()).unwrap_err().to_string();
    assert!(told.starts_with("no configuration: neither client.json nor matriz.toml is in "), "{told}");
    assert!(told.contains(MINIMAL), "{told}");

    std::fs::write(folder.path().join("matriz.toml"), LEAST_TOML.replace("porto", "lisboa")).unwrap();
    assert_eq!(Config::find_in(folder.path()).unwrap().name, "lisboa");
    std::fs::write(folder.path().join("client.json"), SEED).unwrap();
    let config = Config::find_in(folder.path()).unwrap();
    assert_eq!(config.name, "porto");
    assert_eq!(config.ca_crt, Some(folder.path().join("fake_ca.crt")));
    let named = Config::find(Some(&folder.path().join("matriz.toml"))).unwrap();
    assert_eq!(named.name, "lisboa", "a file that is named comes before those that are usual");
}

/// The settings on the card, with every line that is commented out as an example said.
fn template_said() -> String {
    let template = include_str!("../../../../image/setup/matriz.toml");
    let said = |line: &str| match line.strip_prefix('#') {
        Some(example) if !example.starts_with([' ', '#']) => example.to_owned(),
        _ => line.to_owned(),
    };
    template.lines().map(|line| said(line) + "\n").collect()
}

#[test]
fn the_settings_on_the_card_show_every_key_and_each_example_is_right() {
    let text = template_said();
    toml(&text).unwrap_or_else(|told| panic!("{told}\n{text}"));
    let shown = match text::parse(&text, Format::Toml) {
        Ok(text) => text.lines,
        Err(_) => unreachable!("it was read above"),
    };
    let missing: Vec<String> = keys::paths().into_iter().filter(|path| !shown.contains_key(path)).collect();
    assert_eq!(missing, Vec::<String>::new(), "image/setup/matriz.toml lacks these");
}

#[test]
fn the_settings_on_the_card_are_the_defaults_of_a_computer_that_is_nothing_but_a_box() {
    let shipped = toml(include_str!("../../../../image/setup/matriz.toml")).unwrap();
    let least =
        format!("name = \"matriz\"\nkey = {:?}\nurl = {:?}\npower_off = true\n", shipped.key, shipped.url);
    let least = toml(&least).unwrap();
    let strip = |config: &Config| Config { lines: BTreeMap::new(), ..config.clone() };
    assert_eq!(format!("{:?}", strip(&shipped)), format!("{:?}", strip(&least)));
}
