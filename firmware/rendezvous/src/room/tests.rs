//! The room, driven by hand: given times, given probes, no socket.

use super::*;
use crate::configuration::Client;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// A room and what everybody in it was sent.
struct World {
    room: Room,
    now: Time,
    next: u64,
    sent: BTreeMap<ConnectionId, Vec<Value>>,
    probes: Vec<(ConnectionId, IpAddr, u16)>,
    closed: BTreeMap<ConnectionId, (u16, String)>,
    left: BTreeSet<ConnectionId>,
}

impl World {
    fn new() -> World {
        World::with(Limits::default())
    }

    fn with(limits: Limits) -> World {
        let client = |(name, key): (&str, &str)| Client { name: name.into(), key: key.into() };
        let configuration = Configuration {
            clients: [("porto", "key1"), ("montemor", "key2"), ("lisboa", "key3")].map(client).into(),
            monitor: Some(client(("monitor", "monitorkey"))),
            tls: None,
        };
        World {
            room: Room::new(configuration, limits),
            now: Time(0),
            next: 0,
            sent: BTreeMap::new(),
            probes: Vec::new(),
            closed: BTreeMap::new(),
            left: BTreeSet::new(),
        }
    }

    fn take(&mut self, out: Outgoings) {
        for (id, outgoing) in out {
            let gone = self.closed.contains_key(&id) || self.left.contains(&id);
            assert!(!gone, "nothing is sent to {id:?} after its end: {outgoing:?}");
            match outgoing {
                Outgoing::Send(text) => {
                    let value = serde_json::from_str(&text).expect("the room sends JSON");
                    self.sent.entry(id).or_default().push(value);
                }
                Outgoing::Probe { ip, port } => self.probes.push((id, ip, port)),
                Outgoing::Close { code, reason } => assert!(self.closed.insert(id, (code, reason)).is_none()),
            }
        }
    }

    fn connect(&mut self, last: u8) -> ConnectionId {
        let id = ConnectionId(self.next);
        self.next += 1;
        self.room.connect(id, [10, 0, 0, last].into(), self.now);
        id
    }

    fn says(&mut self, id: ConnectionId, frame: impl ToString) {
        let out = self.room.handle(id, &frame.to_string(), self.now);
        self.take(out);
    }

    fn register(&mut self, last: u8, name: &str, key: &str) -> ConnectionId {
        let id = self.connect(last);
        self.says(id, json!({"register": "", "name": name, "key": key, "port": 8554}));
        id
    }

    fn probed(&mut self, id: ConnectionId, probed: Probed) {
        let out = self.room.probed(id, probed);
        self.take(out);
    }

    /// Registers with an open port, and forgets what was said about it.
    fn join(&mut self, last: u8, name: &str, key: &str) -> ConnectionId {
        let id = self.register(last, name, key);
        self.probed(id, Ok(()));
        self.sent.clear();
        id
    }

    fn leaves(&mut self, id: ConnectionId) {
        let out = self.room.disconnect(id);
        self.left.insert(id);
        self.take(out);
    }

    fn wait(&mut self, duration: Duration) {
        self.now = self.now + duration;
        let out = self.room.poll(self.now);
        self.take(out);
    }

    fn heard(&mut self, id: ConnectionId) -> Vec<Value> {
        self.sent.remove(&id).unwrap_or_default()
    }

    fn names(&self) -> Vec<String> {
        self.room.list().into_iter().map(|listed| listed.name).collect()
    }
}

fn entry(last: u8, name: &str, stream: bool) -> Value {
    json!({"ip": format!("10.0.0.{last}"), "stream": stream, "name": name, "port": 8554})
}

#[test]
fn a_registration_is_answered_when_its_probe_ends() {
    let mut world = World::new();
    let porto = world.register(1, "porto", "key1");
    assert_eq!(world.probes, [(porto, [10, 0, 0, 1].into(), 8554)]);
    assert_eq!(world.heard(porto), Vec::<Value>::new());
    assert!(world.names().is_empty(), "nobody hears of it before");

    world.probed(porto, Ok(()));
    let welcome = json!({
        "name": "porto", "ip": "10.0.0.1", "port": 8554, "stream": true,
        "message": "Port 8554 at 10.0.0.1 is open",
        "clients": [entry(1, "porto", true)], "n_clients": 1,
    });
    assert_eq!(world.heard(porto), [welcome]);
    assert_eq!(world.room.deadline(), None);
}

#[test]
fn the_welcome_does_not_wait_for_a_slow_probe() {
    let mut world = World::new();
    let lisboa = world.join(3, "lisboa", "key3");
    let porto = world.register(1, "porto", "key1");
    assert_eq!(world.room.deadline(), Some(Time(250_000_000)));
    world.wait(Duration::from_millis(249));
    assert!(world.sent.is_empty());
    world.wait(Duration::from_millis(1));
    let welcome = world.heard(porto).remove(0);
    assert_eq!(welcome["stream"], false);
    assert_eq!(welcome["message"], "Port 8554 at 10.0.0.1 has not answered yet");
    assert_eq!(
        world.heard(lisboa)[0]["clients"],
        json!([entry(1, "porto", false), entry(3, "lisboa", true)])
    );

    world.probed(porto, Ok(()));
    let refresh = json!({
        "refresh": true, "message": "Port 8554 at 10.0.0.1 is open",
        "clients": [entry(1, "porto", true), entry(3, "lisboa", true)], "name": "porto",
    });
    assert_eq!(world.heard(porto), std::slice::from_ref(&refresh));
    assert_eq!(world.heard(lisboa), [refresh]);
}

#[test]
fn a_late_probe_that_fails_is_told_to_the_box_alone() {
    let mut world = World::new();
    let lisboa = world.join(3, "lisboa", "key3");
    let porto = world.register(1, "porto", "key1");
    world.wait(Duration::from_millis(250));
    world.sent.clear();
    world.probed(porto, Err("timed out".into()));
    assert_eq!(world.heard(porto)[0]["message"], "timed out");
    assert_eq!(world.heard(lisboa), Vec::<Value>::new());
}

#[test]
fn who_speaks_is_introduced_first() {
    let mut world = World::new();
    let lisboa = world.join(3, "lisboa", "key3");
    let porto = world.register(1, "porto", "key1");
    world.says(porto, json!({"matriz": 1}));
    let heard = world.heard(lisboa);
    assert_eq!(heard[0]["message"], "[porto] connected to config server");
    assert_eq!(heard[1]["matriz"], 1);
    assert_eq!(world.heard(porto).len(), 1, "its welcome, and no copy of its own object");
}

#[test]
fn the_list_is_in_the_order_of_the_configuration() {
    let mut world = World::new();
    world.join(3, "lisboa", "key3");
    world.join(1, "porto", "key1");
    world.join(2, "montemor", "key2");
    assert_eq!(world.names(), ["porto", "montemor", "lisboa"]);
}

#[test]
fn a_second_connection_with_a_key_replaces_the_first() {
    let mut world = World::new();
    let (old, lisboa) = (world.join(1, "porto", "key1"), world.join(3, "lisboa", "key3"));
    let new = world.register(9, "porto", "key1");
    assert_eq!(world.heard(old)[0]["error"], world.closed[&old].1);
    assert_eq!(world.closed[&old].0, POLICY);
    assert_eq!(world.names(), ["porto", "lisboa"]);
    assert_eq!(world.heard(lisboa), Vec::<Value>::new(), "no leave");

    world.leaves(old);
    world.probed(old, Ok(()));
    assert_eq!(world.heard(lisboa), Vec::<Value>::new(), "the old connection's end means nothing any more");
    world.probed(new, Err("refused".into()));
    let heard = world.heard(lisboa);
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0]["message"], "[porto] connected to config server");
    assert_eq!(heard[0]["clients"], json!([entry(9, "porto", false), entry(3, "lisboa", true)]));
}

#[test]
fn a_replacement_that_leaves_before_its_welcome_is_heard_to_leave() {
    let mut world = World::new();
    let (_, lisboa) = (world.join(1, "porto", "key1"), world.join(3, "lisboa", "key3"));
    let new = world.register(9, "porto", "key1");
    world.leaves(new);
    let heard = world.heard(lisboa);
    assert_eq!(heard[0]["message"], "[porto] disconnected from config server");
    assert_eq!(heard[0]["clients"], json!([entry(3, "lisboa", true)]));
}

#[test]
fn who_leaves_before_its_welcome_was_never_here() {
    let mut world = World::new();
    let lisboa = world.join(3, "lisboa", "key3");
    let porto = world.register(1, "porto", "key1");
    world.leaves(porto);
    assert_eq!(world.heard(lisboa), Vec::<Value>::new());
}

#[test]
fn wrong_keys_and_names_are_refused_and_nobody_hears_of_it() {
    let mut world = World::new();
    let lisboa = world.join(3, "lisboa", "key3");
    let monitor = world.register(8, "monitor", "monitorkey");
    let page = world.register(7, "webclient", "x");
    world.sent.clear();
    for (name, key) in [("porto", "key9"), ("porto", "key2"), ("lisboa", ""), ("webclient", "key1")] {
        let refused = world.register(6, name, key);
        assert_eq!(world.closed[&refused].0, POLICY, "{name} {key}");
        let heard = world.heard(refused);
        assert_eq!(heard[0]["error"], heard[0]["message"]);
        assert!(!heard[0].to_string().contains("key9"), "a key is never repeated");
        world.leaves(refused);
    }
    assert!(world.sent.is_empty());
    assert_eq!(world.names(), ["lisboa"]);
    let _ = (lisboa, monitor, page);
}

#[test]
fn the_first_frame_must_register() {
    let mut world = World::new();
    for frame in ["{}", "", "{\"refresh\": true}", "{\"deregister\": 1}", "{\"matriz\": 1}", "[]"] {
        let id = world.connect(1);
        world.says(id, frame);
        assert_eq!(world.closed[&id].0, POLICY, "{frame}");
        assert_eq!(world.heard(id)[0]["error"], world.closed[&id].1);
    }
}

#[test]
fn later_frames_that_make_no_sense_are_ignored() {
    let mut world = World::new();
    let (porto, lisboa) = (world.join(1, "porto", "key1"), world.join(3, "lisboa", "key3"));
    world.sent.clear();
    for frame in ["", "{}", "[]", "{\"a\": ", "{\"register\": \"\", \"name\": \"porto\", \"key\": \"key1\"}"]
    {
        world.says(porto, frame);
    }
    assert!(world.sent.is_empty() && world.closed.is_empty());
    assert_eq!(world.names(), ["porto", "lisboa"]);
    let _ = lisboa;
}

#[test]
fn deregister_leaves_at_once() {
    let mut world = World::new();
    let (porto, lisboa) = (world.join(1, "porto", "key1"), world.join(3, "lisboa", "key3"));
    world.says(porto, json!({"deregister": "deregister"}));
    assert_eq!(world.closed[&porto].0, NORMAL);
    let left = json!({
        "message": "[porto] disconnected from config server", "clients": [entry(3, "lisboa", true)], "name": "porto",
    });
    assert_eq!(world.heard(lisboa), [left]);
}

#[test]
fn a_connection_that_does_not_register_is_refused_in_time() {
    let mut world = World::new();
    let silent = world.connect(1);
    assert_eq!(world.room.deadline(), Some(Time(10_000_000_000)));
    world.wait(Duration::from_secs(9));
    assert!(world.closed.is_empty());
    world.wait(Duration::from_secs(1));
    assert_eq!(world.heard(silent)[0]["error"], "No registration came within 10 s.");
    assert_eq!(world.room.deadline(), None);
}

#[test]
fn monitors_see_everybody_come_and_go_with_the_right_count() {
    let mut world = World::new();
    let first = world.register(8, "monitor", "monitorkey");
    let nobody = json!({"message": "No clients connected", "info": "Connected clients: 0", "clients": []});
    assert_eq!(world.heard(first), [nobody]);
    let porto = world.register(1, "porto", "key1");
    world.probed(porto, Ok(()));
    let one = json!({
        "message": "[porto] connected with IP 10.0.0.1", "info": "Connected clients: 1",
        "clients": [entry(1, "porto", true)],
    });
    assert_eq!(world.heard(first), std::slice::from_ref(&one));
    // The original monitor program sends its key as its name.
    let second = world.register(9, "monitorkey", "monitorkey");
    assert_eq!(world.heard(second), [one]);
    world.leaves(porto);
    let none = json!({"message": "[porto] disconnected", "info": "Connected clients: 0", "clients": []});
    assert_eq!(world.heard(first), std::slice::from_ref(&none));
    assert_eq!(world.heard(second), [none]);
}

#[test]
fn a_monitor_may_refresh_and_relay() {
    let mut world = World::new();
    let porto = world.join(1, "porto", "key1");
    let monitor = world.register(8, "monitorkey", "monitorkey");
    world.says(monitor, json!({"refresh": true}));
    world.says(monitor, json!({"chat": "olá"}));
    let list = json!([entry(1, "porto", true)]);
    let refresh = json!({"refresh": true, "clients": list, "name": "monitor"});
    assert_eq!(world.heard(porto), [refresh, json!({"chat": "olá", "clients": list, "name": "monitor"})]);
}

#[test]
fn web_pages_see_the_flat_map_at_once_and_at_every_change() {
    let mut world = World::new();
    let map = |refresh: bool, porto: bool| json!({"restart": false, "refresh": refresh, "porto": porto, "montemor": false, "lisboa": false});
    let page = world.register(7, "webclient", "anything");
    assert_eq!(world.heard(page), [map(false, false)]);
    let porto = world.register(1, "porto", "key1");
    world.wait(Duration::from_millis(250));
    world.probed(porto, Ok(()));
    assert_eq!(world.heard(page), [map(false, false), map(false, true)]);
    world.says(porto, json!({"refresh": true}));
    assert_eq!(world.heard(page), [map(true, true)]);
    world.says(porto, json!({"chat": 1}));
    assert_eq!(world.heard(page), Vec::<Value>::new(), "a relayed object changes nothing");
    world.leaves(porto);
    assert_eq!(world.heard(page), [map(false, false)]);
    world.leaves(page);
    world.join(1, "porto", "key1");
    assert_eq!(world.heard(page), Vec::<Value>::new(), "a page that left is told nothing");
}

#[test]
fn web_pages_may_ask_for_a_refresh_now_and_then_but_not_talk_to_boxes() {
    let mut world = World::new();
    let porto = world.join(1, "porto", "key1");
    let pages = [world.register(7, "webclient", "x"), world.register(7, "webclient", "y")];
    world.sent.clear();
    for page in pages {
        world.says(page, json!({"matriz": "evil"}));
        world.says(page, json!({"refresh": true}));
    }
    let heard = world.heard(porto);
    assert_eq!(heard, [json!({"refresh": true, "clients": [entry(1, "porto", true)], "name": "webclient"})]);
    world.wait(Duration::from_secs(1));
    world.says(pages[1], json!({"refresh": true}));
    assert_eq!(world.heard(porto).len(), 1);
}

#[test]
fn there_is_a_limit_to_those_who_only_look() {
    let mut world = World::with(Limits { web_clients: 2, monitors: 1, ..Limits::default() });
    let pages: Vec<_> = (0..3).map(|_| world.register(7, "webclient", "x")).collect();
    assert_eq!(world.closed.keys().collect::<Vec<_>>(), [&pages[2]]);
    world.leaves(pages[0]);
    world.register(7, "webclient", "x");
    world.register(8, "monitor", "monitorkey");
    assert_eq!(world.closed.len(), 1);
    world.register(8, "monitor", "monitorkey");
    assert_eq!(world.closed.len(), 2);
}

#[test]
fn a_client_that_says_no_port_is_listed_with_the_documented_one() {
    let mut world = World::new();
    let porto = world.connect(1);
    world.says(porto, json!({"register": "", "name": "porto", "key": "key1"}));
    assert_eq!(world.probes, [(porto, [10, 0, 0, 1].into(), 8554)]);
}

/// Something that happens to a room, with numbers that choose whom it happens to.
#[derive(Clone, Debug)]
enum Step {
    Connect,
    Arrive(usize),
    Register(usize, usize),
    Speak(usize, usize),
    Probed(usize, bool),
    Leave(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let n = || 0_usize..64;
    prop_oneof![
        Just(Step::Connect),
        n().prop_map(Step::Arrive),
        (n(), n()).prop_map(|(who, r#as)| Step::Register(who, r#as)),
        (n(), n()).prop_map(|(who, what)| Step::Speak(who, what)),
        (n(), any::<bool>()).prop_map(|(who, open)| Step::Probed(who, open)),
        n().prop_map(Step::Leave),
        (0_u64..400).prop_map(Step::Wait),
    ]
}

impl World {
    fn identify(&mut self, id: ConnectionId, r#as: usize) {
        let identities =
            ["porto/key1", "montemor/key2", "lisboa/key3", "monitor/monitorkey", "webclient/", "porto/x"];
        let (name, key) = identities[r#as % identities.len()].split_once('/').unwrap();
        self.says(id, json!({"register": "", "name": name, "key": key}));
    }

    fn step(&mut self, step: &Step) {
        let pick = |who: usize| ConnectionId(who as u64 % self.next.max(1));
        match *step {
            Step::Connect => drop(self.connect(1)),
            Step::Arrive(r#as) => {
                let new = self.connect(1);
                self.identify(new, r#as);
            }
            Step::Register(who, r#as) => self.identify(pick(who), r#as),
            Step::Speak(who, what) => {
                let frames = ["{\"refresh\": true}", "{\"deregister\": 1}", "{\"matriz\": 1}", "nonsense"];
                self.says(pick(who), frames[what % frames.len()]);
            }
            Step::Probed(who, open) => {
                self.probed(pick(who), if open { Ok(()) } else { Err("closed".into()) })
            }
            Step::Leave(who) if self.next > 0 => self.leaves(pick(who)),
            Step::Leave(_) => {}
            Step::Wait(milliseconds) => self.wait(Duration::from_millis(milliseconds)),
        }
    }
}

impl World {
    /// Unless somebody waits for its welcome, what each box, monitor and page was told last is how things are.
    fn everybody_knows(&self) -> Result<(), TestCaseError> {
        if self.room.deadlines().iter().any(|&(id, _)| self.room.is_registered(id)) {
            return Ok(());
        }
        let (list, map) = (json!(self.room.list()), self.room.places.streams());
        for (id, sent) in &self.sent {
            if self.closed.contains_key(id) || self.left.contains(id) {
                continue;
            }
            match sent.iter().rev().find_map(|message| message.get("clients")) {
                Some(told) => prop_assert_eq!(told, &list),
                None => {
                    let told = sent.last().expect("somebody who was sent something");
                    for &(name, reachable) in &map {
                        prop_assert_eq!(&told[name], &json!(reachable));
                    }
                }
            }
        }
        Ok(())
    }
}

proptest! {
    /// [`World::take`] checks as well that nothing is sent to those who are gone.
    #[test]
    fn whatever_happens_everybody_knows_the_right_list(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            world.everybody_knows()?;
            let names = world.names();
            let place = |name: &String| ["porto", "montemor", "lisboa"].iter().position(|n| n == name);
            prop_assert!(names.is_sorted_by(|a, b| place(a) < place(b)), "{names:?}: in order, nobody twice");
        }
        world.wait(Duration::from_millis(250));
        world.everybody_knows()?;
    }
}
