//! JSON-RPC 2.0: what a text asks for, and the texts that answer it. Pure.
//!
//! Before [`super::talk`], which does what is asked. Every [`Command`] is a method of its own name, with its fields
//! as parameters; besides there are `status`, `subscribe` and `unsubscribe`. The command line makes its requests
//! here too, so that both ends are the same code. Source: jsonrpc.org/specification.

use proto::control::Command;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The methods that are commands: the names of [`Command`]'s variants.
pub const COMMANDS: [&str; 10] =
    ["mute", "volume", "pan", "solo", "gain", "leave", "join", "name", "record", "power_off"];

/// The other methods.
pub const OTHERS: [&str; 3] = ["status", "subscribe", "unsubscribe"];

/// Most requests in a batch.
pub const MOST: usize = 64;

/// Errors by their numbers: the specification's, and ours for a box that refuses.
pub const NO_JSON: i64 = -32_700;
/// No request.
pub const NO_REQUEST: i64 = -32_600;
/// No such method.
pub const NO_METHOD: i64 = -32_601;
/// Parameters that the method does not have, or not so.
pub const NO_PARAMETERS: i64 = -32_602;
/// The box does not do it; the message says why.
pub const REFUSED: i64 = -32_000;

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// A person's wish.
    Command(Command),
    /// The status, once.
    Status,
    /// From now on, without asking again.
    Subscribe(Subscription),
    /// No longer.
    Unsubscribe(Topic),
}

/// What can be subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// The status whenever something in it changes but meters, counters and clocks.
    Changes,
    /// The status, so many times a second.
    Status,
    /// Levels and peaks alone, so many times a second.
    Meters,
}

/// A subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// To what.
    pub to: Topic,
    /// Time between two notifications; changes come when they happen.
    pub every: Duration,
}

/// Why a call cannot be.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// One of the numbers above.
    pub code: i64,
    /// A sentence.
    pub message: String,
}

impl Fault {
    /// A fault with a sentence.
    pub fn new(code: i64, message: impl Into<String>) -> Fault {
        Fault { code, message: message.into() }
    }
}

/// One request of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What the answer is marked with; none: a notification, which is not answered.
    pub id: Option<Value>,
    /// What is asked for.
    pub call: Result<Call, Fault>,
}

/// The requests of a text, and whether they are a batch, whose answers come together.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    /// At least one.
    pub requests: Vec<Request>,
    /// They came as a list.
    pub batch: bool,
}

/// Reads a text; one that makes no sense is a request that is a fault.
pub fn read(text: &str) -> Text {
    let fault = |code, message: String| Text {
        requests: vec![Request { id: Some(Value::Null), call: Err(Fault { code, message }) }],
        batch: false,
    };
    match serde_json::from_str(text) {
        Err(error) => fault(NO_JSON, format!("this is not JSON: {error}")),
        Ok(Value::Array(list)) if list.is_empty() => fault(NO_REQUEST, "an empty batch".to_owned()),
        Ok(Value::Array(list)) if list.len() > MOST => {
            fault(NO_REQUEST, format!("a batch has {MOST} requests at most, and this has {}", list.len()))
        }
        Ok(Value::Array(list)) => Text { requests: list.into_iter().map(request).collect(), batch: true },
        Ok(one) => Text { requests: vec![request(one)], batch: false },
    }
}

fn request(value: Value) -> Request {
    let no = |id: Option<Value>, message: &str| Request {
        id: Some(id.unwrap_or(Value::Null)),
        call: Err(Fault::new(NO_REQUEST, message)),
    };
    let Value::Object(mut request) = value else { return no(None, "a request is an object") };
    let id = request.remove("id");
    if id.as_ref().is_some_and(|id| !(id.is_null() || id.is_string() || id.is_number())) {
        return no(None, "\"id\" is a text or a number");
    }
    if request.get("jsonrpc") != Some(&json!("2.0")) {
        return no(id, "\"jsonrpc\" is \"2.0\" in every request");
    }
    let Some(Value::String(method)) = request.remove("method") else {
        return no(id, "\"method\" is a text");
    };
    let call = match request.remove("params") {
        None => call(&method, Map::new()),
        Some(Value::Object(parameters)) => call(&method, parameters),
        Some(Value::Array(list)) if list.is_empty() => call(&method, Map::new()),
        Some(Value::Array(_)) => Err(Fault::new(NO_PARAMETERS, "parameters are given by name, in an object")),
        Some(_) => return no(id, "\"params\" is an object"),
    };
    Request { id, call }
}

fn call(method: &str, parameters: Map<String, Value>) -> Result<Call, Fault> {
    match method {
        _ if COMMANDS.contains(&method) => command(method, parameters).map(Call::Command),
        "status" => none_besides(method, &parameters, &[]).map(|()| Call::Status),
        "subscribe" => {
            none_besides(method, &parameters, &["to", "per_second"])?;
            subscription(&parameters).map(Call::Subscribe)
        }
        "unsubscribe" => {
            none_besides(method, &parameters, &["to"])?;
            topic(&parameters).map(Call::Unsubscribe)
        }
        _ => {
            let methods = COMMANDS.into_iter().chain(OTHERS).collect::<Vec<_>>().join(", ");
            let method: String = method.chars().take(40).collect();
            Err(Fault::new(NO_METHOD, format!("there is no method \"{method}\"; there are {methods}")))
        }
    }
}

/// The parameters are the command's own fields. One that it does not have is refused: a misspelt `peer` must not mute
/// the box itself.
fn command(method: &str, parameters: Map<String, Value>) -> Result<Command, Fault> {
    let given: Vec<String> =
        parameters.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name.clone()).collect();
    let mut whole = parameters;
    whole.insert("command".to_owned(), Value::from(method));
    let command: Command = serde_json::from_value(Value::Object(whole))
        .map_err(|error| Fault::new(NO_PARAMETERS, format!("{method}: {error}")))?;
    let known = serde_json::to_value(&command).expect("a command becomes JSON");
    match given.iter().find(|name| *name == "command" || known.get(name.as_str()).is_none()) {
        Some(name) => Err(unknown(method, name)),
        None => Ok(command),
    }
}

fn unknown(method: &str, name: &str) -> Fault {
    let name: String = name.chars().take(40).collect();
    Fault::new(NO_PARAMETERS, format!("{method} has no parameter \"{name}\""))
}

fn none_besides(method: &str, parameters: &Map<String, Value>, known: &[&str]) -> Result<(), Fault> {
    match parameters.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(unknown(method, name)),
        None => Ok(()),
    }
}

fn topic(parameters: &Map<String, Value>) -> Result<Topic, Fault> {
    let to = parameters.get("to").cloned().unwrap_or_default();
    let wrong = |_| Fault::new(NO_PARAMETERS, "\"to\" is \"changes\", \"status\" or \"meters\"");
    serde_json::from_value(to).map_err(wrong)
}

fn subscription(parameters: &Map<String, Value>) -> Result<Subscription, Fault> {
    let to = topic(parameters)?;
    let usual = if to == Topic::Meters { 10.0 } else { 4.0 };
    let per_second = match parameters.get("per_second") {
        None => Some(usual),
        Some(value) => value.as_f64().filter(|rate| (1.0..=30.0).contains(rate)),
    };
    let Some(per_second) = per_second else {
        return Err(Fault::new(NO_PARAMETERS, "\"per_second\" is a number from 1 to 30"));
    };
    Ok(Subscription { to, every: Duration::from_secs_f64(1.0 / per_second) })
}

/// The answer to a request, as it is written.
pub fn answer(id: &Value, result: Result<Value, Fault>) -> Value {
    match result {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(Fault { code, message }) => {
            json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
        }
    }
}

/// What a subscriber is told.
pub fn notification(method: &str, parameters: Value) -> Value {
    json!({"jsonrpc": "2.0", "method": method, "params": parameters})
}

/// The request for a command, as the command line makes it.
pub fn request_for(command: &Command) -> Value {
    let mut parameters = serde_json::to_value(command).expect("a command becomes JSON");
    let method = parameters.as_object_mut().and_then(|object| object.shift_remove("command"));
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters})
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// One of each; the compiler knows when one is missing.
    pub fn every_command() -> Vec<Command> {
        let lisboa = || "lisboa".to_owned();
        let all = vec![
            Command::Mute { peer: Some(lisboa()), on: true },
            Command::Volume { peer: lisboa(), db: -6.0 },
            Command::Pan { peer: lisboa(), pan: 0.5 },
            Command::Solo { peer: lisboa(), on: true },
            Command::Gain { db: 3.0 },
            Command::Leave,
            Command::Join,
            Command::Name { name: "gaia".to_owned() },
            Command::Record { on: true },
            Command::PowerOff,
        ];
        for command in &all {
            match command {
                Command::Mute { .. }
                | Command::Volume { .. }
                | Command::Pan { .. }
                | Command::Solo { .. } => {}
                Command::Gain { .. } | Command::Leave | Command::Join | Command::Name { .. } => {}
                Command::Record { .. } | Command::PowerOff => {} // a new one belongs into the list above, too
            }
        }
        all
    }

    fn only(text: &str) -> Request {
        let read = read(text);
        assert_eq!((read.requests.len(), read.batch), (1, false), "{text}");
        read.requests.into_iter().next().unwrap()
    }

    fn fault(text: &str) -> (Value, i64, String) {
        let request = only(text);
        let Fault { code, message } = request.call.unwrap_err();
        (request.id.unwrap(), code, message)
    }

    #[test]
    fn every_command_is_a_method_and_reads_back_as_itself() {
        let all = every_command();
        let mut methods = Vec::new();
        for command in &all {
            let text = request_for(command).to_string();
            assert_eq!(only(&text).call, Ok(Call::Command(command.clone())), "{text}");
            methods.push(request_for(command)["method"].as_str().unwrap().to_owned());
        }
        assert_eq!(methods, COMMANDS);
    }

    #[test]
    fn what_makes_no_sense_is_answered_by_the_specification() {
        for (text, id, code, words) in [
            ("{\"jsonrpc\": \"2.0\", \"method\"", Value::Null, NO_JSON, "not JSON"),
            ("[]", Value::Null, NO_REQUEST, "empty batch"),
            ("1", Value::Null, NO_REQUEST, "object"),
            (r#"{"jsonrpc": "2.0", "method": 1, "params": "bar"}"#, Value::Null, NO_REQUEST, "method"),
            (r#"{"jsonrpc": "1.0", "method": "status", "id": 7}"#, json!(7), NO_REQUEST, "2.0"),
            (r#"{"jsonrpc": "2.0", "method": "status", "id": [7]}"#, Value::Null, NO_REQUEST, "id"),
            (
                r#"{"jsonrpc": "2.0", "method": "status", "params": 3, "id": "a"}"#,
                json!("a"),
                NO_REQUEST,
                "params",
            ),
            (
                r#"{"jsonrpc": "2.0", "method": "foobar", "id": "1"}"#,
                json!("1"),
                NO_METHOD,
                "there are mute, volume",
            ),
            (
                r#"{"jsonrpc": "2.0", "method": "gain", "params": [3], "id": 1}"#,
                json!(1),
                NO_PARAMETERS,
                "by name",
            ),
            (
                r#"{"jsonrpc": "2.0", "method": "gain", "id": 1}"#,
                json!(1),
                NO_PARAMETERS,
                "missing field `db`",
            ),
            (
                r#"{"jsonrpc": "2.0", "method": "mute", "params": {"per": "lisboa", "on": true}, "id": 1}"#,
                json!(1),
                NO_PARAMETERS,
                "mute has no parameter \"per\"",
            ),
            (
                r#"{"jsonrpc": "2.0", "method": "leave", "params": {"command": "power_off"}, "id": 1}"#,
                json!(1),
                NO_PARAMETERS,
                "no parameter \"command\"",
            ),
            (
                r#"{"jsonrpc": "2.0", "method": "subscribe", "params": {"to": "meters", "per_second": 31}, "id": 1}"#,
                json!(1),
                NO_PARAMETERS,
                "1 to 30",
            ),
            (
                r#"{"jsonrpc": "2.0", "method": "subscribe", "params": {"to": "all"}, "id": 1}"#,
                json!(1),
                NO_PARAMETERS,
                "changes",
            ),
        ] {
            let (said_id, said_code, said) = fault(text);
            assert_eq!((said_id, said_code), (id, code), "{text}");
            assert!(said.contains(words), "{text}: {said}");
        }
        let long = format!("[{}]", vec!["1"; MOST + 1].join(","));
        assert!(fault(&long).2.contains("64 requests at most"));
    }

    #[test]
    fn a_batch_is_read_in_order_and_a_request_without_id_wants_no_answer() {
        let text = r#"[{"jsonrpc": "2.0", "method": "leave"}, 1,
            {"jsonrpc": "2.0", "method": "mute", "params": {"peer": null, "on": true}, "id": null}]"#;
        let Text { requests, batch } = read(text);
        assert!(batch);
        assert_eq!(requests[0], Request { id: None, call: Ok(Call::Command(Command::Leave)) });
        assert_eq!(requests[1].call.as_ref().unwrap_err().code, NO_REQUEST);
        let mute = Call::Command(Command::Mute { peer: None, on: true });
        assert_eq!(requests[2], Request { id: Some(Value::Null), call: Ok(mute) });
    }

    #[test]
    fn subscriptions_have_their_usual_rates() {
        let text = r#"{"jsonrpc": "2.0", "method": "subscribe", "params": {"to": "meters"}, "id": 1}"#;
        let every = Duration::from_millis(100);
        assert_eq!(only(text).call, Ok(Call::Subscribe(Subscription { to: Topic::Meters, every })));
        let text = r#"{"jsonrpc": "2.0", "method": "unsubscribe", "params": {"to": "changes"}, "id": 1}"#;
        assert_eq!(only(text).call, Ok(Call::Unsubscribe(Topic::Changes)));
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_strange(text in ".{0,200}") {
            proptest::prop_assert!(!read(&text).requests.is_empty());
        }

        #[test]
        fn no_request_is_too_strange(method in "[a-z_]{0,9}", params in "[\\[{\"a-z0-9:,}\\]]{0,30}") {
            read(&format!(r#"{{"jsonrpc": "2.0", "method": "{method}", "params": {params}, "id": 1}}"#));
        }
    }
}
