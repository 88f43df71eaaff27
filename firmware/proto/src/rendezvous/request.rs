//! What a client sends to the rendezvous: register, deregister, refresh, or an object to relay.
//!
//! Two encodings are read: plain JSON, and a JSON *string that holds JSON*, which is what a browser
//! sends after stringifying twice. Written is plain JSON only, always with `port` and never with a
//! backslash, because an original server unescapes the frame before it parses it.
//! Before it: the box's session. After it: `rendezvous::room`.

use super::{
    DecodeError, EncodeError, FRAME_LIMIT, RTSP_PORT, WEB_CLIENT, kind, needs_escape, parse, read_port,
};
use serde_json::{Map, Value, json};
use std::fmt;

/// One frame from a client to the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Must be the first frame.
    Register(Register),
    /// The client leaves.
    Deregister,
    /// Send the list to all others once more, with the refresh flag.
    Refresh,
    /// Any other object that is not empty: passed on to all other clients with a key.
    Relay(Map<String, Value>),
}

/// Who a client says it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Register {
    /// The name by which the others know it; `webclient` for a web page.
    pub name: String,
    /// The secret that goes with the name. Empty when a web page sent something else than a text.
    pub key: String,
    /// The TCP port of its RTSP server, [`RTSP_PORT`] if it says none.
    pub port: Option<u16>,
}

impl Request {
    /// Reads a text frame in either encoding.
    ///
    /// # Errors
    /// Longer than [`FRAME_LIMIT`], not JSON, no object, an empty one, or a registration that lacks
    /// something. Never panics, whatever the text.
    pub fn decode(text: &str) -> Result<Request, DecodeError> {
        let value = match parse(text, FRAME_LIMIT)? {
            Value::String(inner) => parse(&inner, FRAME_LIMIT)?,
            plain => plain,
        };
        let object = match value {
            Value::Object(object) => object,
            other => return Err(DecodeError::NotObject(kind(&other))),
        };
        if object.is_empty() {
            Err(DecodeError::Empty)
        } else if object.contains_key("register") {
            Register::read(&object).map(Request::Register)
        } else if object.contains_key("deregister") {
            Ok(Request::Deregister)
        } else if object.contains_key("refresh") {
            Ok(Request::Refresh)
        } else {
            Ok(Request::Relay(object))
        }
    }

    /// The relay of our extension: the object `{"matriz": value}`.
    pub fn matriz(value: Value) -> Request {
        Request::Relay(Map::from_iter([("matriz".to_owned(), value)]))
    }

    /// Writes the frame as an original server reads it.
    ///
    /// # Errors
    /// A text in it needs a backslash, or the frame is longer than [`FRAME_LIMIT`].
    pub fn encode(&self) -> Result<String, EncodeError> {
        let text = match self {
            Request::Register(register) => {
                let Register { name, key, port } = register;
                let port = port.unwrap_or(RTSP_PORT);
                json!({"register": "", "name": name, "key": key, "port": port}).to_string()
            }
            Request::Deregister => json!({"deregister": "deregister"}).to_string(),
            Request::Refresh => json!({"refresh": true}).to_string(),
            Request::Relay(object) => {
                serde_json::to_string(object).expect("a map with string keys is always valid JSON")
            }
        };
        if text.contains('\\') {
            return Err(EncodeError::Escape { what: "the frame".to_owned(), character: '\\' });
        }
        if text.len() > FRAME_LIMIT { Err(EncodeError::TooLong(text.len())) } else { Ok(text) }
    }
}

impl Register {
    /// A registration that every server understands.
    ///
    /// # Errors
    /// Name or key is empty or has a character that JSON would escape.
    pub fn new(name: &str, key: &str, port: u16) -> Result<Register, EncodeError> {
        check("the name", name, true)?;
        check("the key", key, false)?;
        Ok(Register { name: name.to_owned(), key: key.to_owned(), port: Some(port) })
    }

    fn read(object: &Map<String, Value>) -> Result<Register, DecodeError> {
        let name = text(object, "name")?;
        let key = match text(object, "key") {
            // A web page needs no key, so whatever it sends as one is fine.
            Err(DecodeError::NotText(_)) if name == WEB_CLIENT => String::new(),
            key => key?,
        };
        let port = match object.get("port") {
            None | Some(Value::Null) => None,
            Some(value) => Some(read_port(value).ok_or_else(|| DecodeError::Port(value.to_string()))?),
        };
        Ok(Register { name, key, port })
    }
}

/// The key is a secret, so it stays out of logs.
impl fmt::Debug for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Register").field("name", &self.name).field("port", &self.port).finish_non_exhaustive()
    }
}

/// The text that `object` holds at `key`.
fn text(object: &Map<String, Value>, key: &'static str) -> Result<String, DecodeError> {
    match object.get(key) {
        None => Err(DecodeError::Missing(key)),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(DecodeError::NotText(key)),
    }
}

/// Checks a name or key; only what is no secret is shown in the sentence.
fn check(what: &'static str, text: &str, show: bool) -> Result<(), EncodeError> {
    if text.is_empty() {
        return Err(EncodeError::Empty(what));
    }
    match needs_escape(text) {
        None => Ok(()),
        Some(character) => {
            let what = if show { format!("{what} {text:?}") } else { what.to_owned() };
            Err(EncodeError::Escape { what, character })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn register(name: &str, key: &str, port: Option<u16>) -> Request {
        Request::Register(Register { name: name.into(), key: key.into(), port })
    }

    #[test]
    fn the_original_registration_is_read_in_both_encodings() {
        let plain = r#"{"register": "", "name": "porto", "key": "key1", "port": 8554}"#;
        let twice = r#""{\"register\": \"\", \"name\": \"porto\", \"key\": \"key1\", \"port\": 8554}""#;
        let expected = register("porto", "key1", Some(8554));
        assert_eq!(Request::decode(plain), Ok(expected.clone()));
        assert_eq!(Request::decode(twice), Ok(expected));
    }

    #[test]
    fn a_registration_without_port_and_one_with_its_port_as_text_are_read() {
        let without = r#"{"register": "", "name": "porto", "key": "key1"}"#;
        assert_eq!(Request::decode(without), Ok(register("porto", "key1", None)));
        let text = r#"{"register": "", "name": "porto", "key": "key1", "port": "8556"}"#;
        assert_eq!(Request::decode(text), Ok(register("porto", "key1", Some(8556))));
    }

    #[test]
    fn a_web_page_may_send_anything_as_its_key() {
        for key in ["null", "7", "[]", "\"\""] {
            let frame = format!(r#"{{"register": "", "name": "webclient", "key": {key}}}"#);
            assert_eq!(Request::decode(&frame), Ok(register("webclient", "", None)));
        }
    }

    #[test]
    fn what_is_wrong_with_a_frame_is_said() {
        let error = |text: &str| Request::decode(text).unwrap_err();
        assert_eq!(error("{}"), DecodeError::Empty);
        assert_eq!(error("[1]"), DecodeError::NotObject("an array"));
        assert_eq!(error(r#""\"twice\"""#), DecodeError::NotObject("a text"));
        assert!(error("{\"refresh\": tru}").to_string().contains("line 1 column 16"));
        assert_eq!(error(r#"{"register": ""}"#), DecodeError::Missing("name"));
        assert_eq!(error(r#"{"register": "", "name": "porto"}"#), DecodeError::Missing("key"));
        assert_eq!(error(r#"{"register": "", "name": 5, "key": ""}"#), DecodeError::NotText("name"));
        assert_eq!(error(r#"{"register": "", "name": "porto", "key": 1}"#), DecodeError::NotText("key"));
        for port in ["0", "65536", "-1", "8554.5", "\"rtsp\"", "true"] {
            let frame = format!(r#"{{"register": "", "name": "a", "key": "b", "port": {port}}}"#);
            assert_eq!(error(&frame), DecodeError::Port(port.to_owned()));
        }
        let long = format!("\"{}\"", "a".repeat(FRAME_LIMIT));
        assert_eq!(error(&long), DecodeError::TooLong { bytes: FRAME_LIMIT + 2, limit: FRAME_LIMIT });
    }

    #[test]
    fn frames_are_written_as_the_original_client_writes_them() {
        let written = Register::new("porto", "key1", 8554).map(Request::Register).unwrap().encode().unwrap();
        assert_eq!(written, r#"{"register":"","name":"porto","key":"key1","port":8554}"#);
        assert_eq!(register("porto", "key1", None).encode().unwrap(), written, "the port is always there");
        assert_eq!(Request::Deregister.encode().unwrap(), r#"{"deregister":"deregister"}"#);
        assert_eq!(Request::Refresh.encode().unwrap(), r#"{"refresh":true}"#);
        assert_eq!(Request::matriz(json!([1])).encode().unwrap(), r#"{"matriz":[1]}"#);
    }

    #[test]
    fn what_an_original_server_would_misread_is_not_written() {
        let error = Register::new("a\"b", "key1", 1).unwrap_err().to_string();
        assert!(error.contains(r#"the name "a\"b""#), "{error}");
        let error = Register::new("porto", "secret\n", 1).unwrap_err().to_string();
        assert!(error.contains("the key") && !error.contains("secret"), "{error}");
        assert_eq!(Register::new("", "key1", 1), Err(EncodeError::Empty("the name")));
        assert!(matches!(Request::matriz(json!("a\\b")).encode(), Err(EncodeError::Escape { .. })));
        assert!(matches!(register("a\"", "b", None).encode(), Err(EncodeError::Escape { .. })));
        let long = Request::matriz(json!("a".repeat(FRAME_LIMIT)));
        assert!(matches!(long.encode(), Err(EncodeError::TooLong(_))));
    }

    #[test]
    fn a_key_is_not_in_the_debug_text() {
        assert!(!format!("{:?}", register("porto", "secret", None)).contains("secret"));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-zA-Zçãõé0-9 :/.'-]{0,20}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec(("[a-z_]{1,8}", inner), 0..6)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    fn request() -> impl Strategy<Value = Request> {
        prop_oneof![
            ("[a-zA-Zçãõ0-9 -]{1,12}", "[!-~&&[^\"\\\\]]{1,12}", 1_u16..).prop_map(|(name, key, port)| {
                Request::Register(Register::new(&name, &key, port).expect("plain characters only"))
            }),
            Just(Request::Deregister),
            Just(Request::Refresh),
            value().prop_map(Request::matriz),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_in_both_encodings(request in request()) {
            let plain = request.encode().unwrap();
            let twice = serde_json::to_string(&plain).unwrap();
            prop_assert_eq!(Request::decode(&plain).unwrap(), request.clone());
            prop_assert_eq!(Request::decode(&twice).unwrap(), request);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Request::decode(&String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn arbitrary_almost_json_never_panics(
            text in "[\\[\\]{}:,\"\\\\0-9eu. ]{0,40}",
            value in value(),
            key in "register|deregister|refresh|name|key|port",
        ) {
            let _ = Request::decode(&text);
            let _ = Request::decode(&json!({ key: value.clone(), "register": value }).to_string());
        }
    }
}
