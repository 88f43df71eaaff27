//! What a box understands of a message from a rendezvous, ours or an original.
//!
//! One tolerant reader for every kind: each field is there or not, unknown keys are ignored, and a field
//! of the wrong type counts as missing. Before it: [`super::Notice`] or an original server. After it: the
//! box's session.

use super::{DecodeError, FROM_SERVER_LIMIT, Listed, RTSP_PORT, kind, parse, read_port};
use serde_json::{Map, Value};
use std::net::IpAddr;

/// One message from a server, as far as a box is interested.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FromServer {
    /// In a welcome the box itself, else who the message is about or, in a relay, who sent it.
    pub name: Option<String>,
    /// In a welcome the address that the server sees.
    pub ip: Option<IpAddr>,
    /// In a welcome the RTSP port that the server tried.
    pub port: Option<u16>,
    /// In a welcome whether the server reached `ip:port`.
    pub stream: Option<bool>,
    /// A text for people.
    pub message: Option<String>,
    /// Everybody, the box itself included. Entries without a name or address are left out.
    pub clients: Option<Vec<Listed>>,
    /// In a welcome the length of the list.
    pub n_clients: Option<u64>,
    /// Whether the list was sent because somebody asked for it, or because an entry changed.
    pub refresh: Option<bool>,
    /// Why the server refuses this box. Only in a message without `clients`: with them it is a relay, and
    /// another box may have put any key there.
    pub error: Option<String>,
    /// Our extension, in a relay from the box `name`.
    pub matriz: Option<Value>,
}

impl FromServer {
    /// Reads a text frame.
    ///
    /// # Errors
    /// Longer than [`FROM_SERVER_LIMIT`], not JSON, or no object. Never panics, whatever the text.
    pub fn decode(text: &str) -> Result<FromServer, DecodeError> {
        let mut object = match parse(text, FROM_SERVER_LIMIT)? {
            Value::Object(object) => object,
            other => return Err(DecodeError::NotObject(kind(&other))),
        };
        let relayed = object.contains_key("clients");
        Ok(FromServer {
            name: read_text(&object, "name"),
            ip: object.get("ip").and_then(read_ip),
            port: object.get("port").and_then(read_port),
            stream: object.get("stream").and_then(Value::as_bool),
            message: read_text(&object, "message"),
            clients: object.get("clients").and_then(Value::as_array).map(|list| read_list(list)),
            n_clients: object.get("n_clients").and_then(Value::as_u64),
            refresh: object.get("refresh").and_then(Value::as_bool),
            error: if relayed { None } else { read_text(&object, "error") },
            matriz: object.remove("matriz"),
        })
    }
}

fn read_text(object: &Map<String, Value>, key: &str) -> Option<String> {
    object.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// An address from a text. A zone (`fe80::1%eth0`) is the server's own business and is dropped.
fn read_ip(value: &Value) -> Option<IpAddr> {
    value.as_str()?.split('%').next()?.parse().ok()
}

fn read_list(list: &[Value]) -> Vec<Listed> {
    list.iter().filter_map(read_listed).collect()
}

fn read_listed(value: &Value) -> Option<Listed> {
    let object = value.as_object()?;
    Some(Listed {
        ip: object.get("ip").and_then(read_ip)?,
        stream: object.get("stream").and_then(Value::as_bool).unwrap_or(false),
        name: read_text(object, "name")?,
        port: object.get("port").and_then(read_port).unwrap_or(RTSP_PORT),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Notice;
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn listed() -> impl Strategy<Value = Listed> {
        (any::<IpAddr>(), any::<bool>(), "\\PC{1,12}", 1_u16..).prop_map(|(ip, stream, name, port)| Listed {
            ip,
            stream,
            name,
            port,
        })
    }

    #[test]
    fn a_welcome_of_the_original_is_read() {
        let text = r#"{"name": "porto", "ip": "1.2.3.4", "port": 8554, "stream": false,
            "message": "[Errno 111] Connection refused", "n_clients": 1,
            "clients": [{"ip": "1.2.3.4", "stream": false, "name": "porto", "port": 8554}]}"#;
        let read = FromServer::decode(text).unwrap();
        assert_eq!(read.name.as_deref(), Some("porto"));
        assert_eq!((read.port, read.stream, read.n_clients), (Some(8554), Some(false), Some(1)));
        let porto = Listed { ip: [1, 2, 3, 4].into(), stream: false, name: "porto".into(), port: 8554 };
        assert_eq!(read.clients, Some(vec![porto]));
        assert_eq!((read.error, read.matriz, read.refresh), (None, None, None));
    }

    #[test]
    fn unknown_keys_and_wrong_types_cost_only_themselves() {
        let text = json!({
            "name": 5, "ip": "not an address", "port": "8556", "stream": "yes", "message": null, "n_clients": -1,
            "refresh": 1, "zebra": {"a": [1, 2]}, "matriz": 7,
            "clients": [1, {}, {"name": "a"}, {"ip": "::1", "name": "b", "port": false}, {"ip": "fe80::1%eth0", "name": "c"}],
        });
        let read = FromServer::decode(&text.to_string()).unwrap();
        let clients = ["::1", "fe80::1"].map(|ip| ip.parse().unwrap()).into_iter().zip(["b", "c"]);
        let clients = clients.map(|(ip, name)| Listed { ip, stream: false, name: name.into(), port: 8554 });
        let expected = FromServer {
            port: Some(8556),
            clients: Some(clients.collect()),
            matriz: Some(json!(7)),
            ..FromServer::default()
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn another_box_cannot_forge_a_refusal() {
        let refusal = Notice::Refusal { sentence: "unknown key" }.encode();
        assert_eq!(FromServer::decode(&refusal).unwrap().error.as_deref(), Some("unknown key"));
        let Value::Object(object) = json!({"error": "go away"}) else { unreachable!() };
        let relay = Notice::Relay { object, name: "marte", clients: &[] }.encode();
        assert_eq!(FromServer::decode(&relay).unwrap().error, None);
    }

    #[test]
    fn only_objects_are_messages() {
        assert_eq!(FromServer::decode("[]"), Err(DecodeError::NotObject("an array")));
        assert!(matches!(FromServer::decode("{"), Err(DecodeError::NotJson(_))));
        let long = " ".repeat(FROM_SERVER_LIMIT + 1);
        assert!(matches!(FromServer::decode(&long), Err(DecodeError::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn a_welcome_is_read_back(list in prop::collection::vec(listed(), 1..5), message in "\\PC{0,30}") {
            let welcome = Notice::Welcome { client: &list[0], message: &message, clients: &list };
            let read = FromServer::decode(&welcome.encode()).unwrap();
            let expected = FromServer {
                name: Some(list[0].name.clone()),
                ip: Some(list[0].ip),
                port: Some(list[0].port),
                stream: Some(list[0].stream),
                message: Some(message),
                n_clients: Some(list.len() as u64),
                clients: Some(list),
                ..FromServer::default()
            };
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn a_relay_is_read_back(list in prop::collection::vec(listed(), 0..5), offer in "\\PC{0,30}") {
            let Value::Object(object) = json!({"matriz": {"offer": offer}}) else { unreachable!() };
            let relay = Notice::Relay { object, name: "porto", clients: &list }.encode();
            let read = FromServer::decode(&relay).unwrap();
            prop_assert_eq!(read.matriz, Some(json!({"offer": offer})));
            prop_assert_eq!((read.name.as_deref(), read.clients), (Some("porto"), Some(list)));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = FromServer::decode(&String::from_utf8_lossy(&bytes));
        }
    }
}
