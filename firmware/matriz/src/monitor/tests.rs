//! The monitor with given events and times: what it prints, and when it ends.

use super::*;
use chrono::TimeDelta;
use proto::rendezvous::{Listed, Notice};
use serde_json::{Value, json};

fn listed(name: &str, last: u8, stream: bool) -> Listed {
    Listed { ip: [192, 0, 2, last].into(), stream, name: name.into(), port: 8554 }
}

fn told(message: &str, clients: &[Listed]) -> Event {
    Event::Message(Notice::Monitor { message, clients }.encode())
}

struct World {
    monitor: Monitor,
    now: DateTime<Local>,
}

impl World {
    fn new(json: bool) -> World {
        let now = DateTime::from_timestamp(1_764_138_600, 0).unwrap().with_timezone(&Local);
        World {
            monitor: Monitor { roster: Roster::new("test:5000".into(), now), json, accepted: false },
            now,
        }
    }

    /// A second later.
    fn handle(&mut self, event: Event) -> anyhow::Result<Option<String>> {
        self.now += TimeDelta::seconds(1);
        self.monitor.handle(event, self.now)
    }

    fn prints(&mut self, event: Event) -> String {
        self.handle(event).unwrap().expect("something is printed")
    }

    fn line(&mut self, event: Event) -> Value {
        let line = self.prints(event);
        assert!(line.ends_with('\n') && line.matches('\n').count() == 1, "one line: {line}");
        serde_json::from_str(&line).unwrap()
    }

    fn clock(&self) -> String {
        self.now.format("%H:%M:%S").to_string()
    }
}

#[test]
fn the_table_is_aligned_whatever_the_names_and_addresses_are() {
    let mut world = World::new(false);
    let long = "the orchestra of the northern la"; // 32 characters
    assert_eq!(long.chars().count(), 32);
    let ip = "2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap();
    let list = [
        listed("porto", 1, true),
        Listed { ip, ..listed(long, 2, false) },
        listed("évora", 3, true),
        listed("a name of more than thirty-two characters", 4, true),
        listed("evil\u{1b}[2J", 5, false),
    ];
    let table = world.prints(told("[porto] connected with IP 192.0.2.1\n[évora] connected", &list));
    let clock = world.clock();
    let expected = format!(
        "{clock}  5 boxes at test:5000: [porto] connected with IP 192.0.2.1, [évora] connected\n\
         \u{20} box                               since     from                                    stream\n\
         \u{20} porto                             {clock}  192.0.2.1                               reachable, port 8554\n\
         \u{20} the orchestra of the northern la  {clock}  2001:db8:1111:2222:3333:4444:5555:6666  not reachable, port 8554\n\
         \u{20} évora                             {clock}  192.0.2.3                               reachable, port 8554\n\
         \u{20} a name of more than thirty-two …  {clock}  192.0.2.4                               reachable, port 8554\n\
         \u{20} evil[2J                           {clock}  192.0.2.5                               not reachable, port 8554\n"
    );
    assert_eq!(table, expected);
    assert_eq!(world.prints(told("[porto] disconnected", &[])).lines().nth(1), Some("  nobody is there"));
}

#[test]
fn since_is_when_a_box_was_seen_first_without_a_gap() {
    let mut world = World::new(true);
    let (porto, lisboa) = (listed("porto", 1, false), listed("lisboa", 3, true));
    let stamp = |line: &Value, at: usize| line["boxes"][at]["since"].as_str().unwrap().to_owned();
    let first = world.line(told("[porto] connected", std::slice::from_ref(&porto)));
    assert_eq!(stamp(&first, 0), first["time"]);
    let both = world.line(told("[lisboa] connected", &[porto.clone(), lisboa.clone()]));
    assert_eq!(stamp(&both, 0), stamp(&first, 0), "porto was there before");
    assert_eq!(stamp(&both, 1), both["time"]);

    // The rendezvous is away for a while; who is there when it is back never went, as far as one can see.
    let away = world.line(Event::Disconnected("it broke".into()));
    assert_eq!((&away["connected"], &away["message"]), (&json!(false), &json!("it broke")));
    assert_eq!(away["boxes"], both["boxes"], "who was there last");
    let moved = Listed { ip: [192, 0, 2, 9].into(), ..lisboa };
    let back = world.line(told("[porto] connected", &[porto.clone(), moved]));
    assert_eq!((&back["connected"], stamp(&back, 0)), (&json!(true), stamp(&first, 0)));
    assert_eq!(stamp(&back, 1), back["time"], "from another address it is another connection");

    let gone = world.line(told("[porto] disconnected", &[]));
    assert_eq!(gone["boxes"], json!([]));
    let again = world.line(told("[porto] connected", &[porto]));
    assert_eq!(stamp(&again, 0), again["time"]);
}

#[test]
fn a_line_of_json_says_all_that_the_table_says() {
    let mut world = World::new(true);
    let line = world.line(told("[porto] connected with IP 192.0.2.1", &[listed("porto", 1, true)]));
    let time = world.now.to_rfc3339_opts(chrono::SecondsFormat::Millis, false);
    let expected = json!({
        "time": time, "rendezvous": "test:5000", "connected": true,
        "message": "[porto] connected with IP 192.0.2.1",
        "boxes": [{"name": "porto", "ip": "192.0.2.1", "port": 8554, "stream": true, "since": time}],
    });
    assert_eq!(line, expected);
}

#[test]
fn yesterday_has_its_date() {
    let mut world = World::new(false);
    let porto = listed("porto", 1, true);
    world.prints(told("[porto] connected", std::slice::from_ref(&porto)));
    let since = world.now.format("%Y-%m-%d %H:%M").to_string();
    world.now += TimeDelta::days(2);
    let table = world.prints(told("[lisboa] connected", &[porto, listed("lisboa", 3, true)]));
    assert!(table.lines().nth(2).unwrap().contains(&since), "{table}");
    assert!(table.lines().nth(3).unwrap().contains(&format!("  {}          192", world.clock())), "{table}");
}

#[test]
fn a_refusal_ends_it_only_before_the_list_has_come() {
    let unknown =
        "refused by the rendezvous at test:5000: The rendezvous does not know this key: check \"key\".";
    let why = World::new(false).handle(Event::Refused(unknown.into())).unwrap_err().to_string();
    assert!(why.starts_with(unknown) && why.contains("monitor_key"), "{why}");
    let full =
        "refused by the rendezvous at test:5000: There are 16 of your kind here already: try again later.";
    assert_eq!(World::new(false).handle(Event::Refused(full.into())).unwrap_err().to_string(), full);

    let mut world = World::new(false);
    world.prints(told("No clients connected", &[]));
    let silent = "refused by the rendezvous at test:5000: Nothing came for 60 s, not even a pong.";
    assert_eq!(world.handle(Event::Refused(silent.into())).unwrap(), None, "the line makes a new connection");
    assert!(world.handle(Event::Refused(unknown.into())).is_err(), "the key may have been changed meanwhile");
}

#[test]
fn the_key_of_a_box_is_no_monitors() {
    let porto = listed("porto", 1, true);
    let welcome = Notice::Welcome { client: &porto, message: "m", clients: std::slice::from_ref(&porto) };
    let why = World::new(false).handle(Event::Message(welcome.encode())).unwrap_err().to_string();
    assert!(why.starts_with("the key is that of the box porto: a monitor needs"), "{why}");
}

#[test]
fn what_is_no_list_is_not_printed() {
    let mut world = World::new(false);
    for text in ["", "{", "[]", "{\"tempo\": 96}"] {
        assert_eq!(world.handle(Event::Message(text.into())).unwrap(), None, "{text}");
    }
    assert_eq!(world.handle(Event::Connected).unwrap(), None);
    assert_eq!(world.handle(Event::Disconnected("nobody listens".into())).unwrap(), None);
}

#[test]
fn lines_are_commands() {
    let cases = [
        ("refresh\n", Typed::Refresh),
        (" exit \r\n", Typed::Exit),
        ("\n", Typed::Again),
        ("Exit\u{1b}[2J\n", Typed::Unknown("Exit[2J".into())),
    ];
    for (line, expected) in cases {
        assert_eq!(Typed::from(line), expected);
    }
}
