//! What the rendezvous sends to its clients, written exactly as the original server writes it.
//!
//! Before it: `rendezvous::room`, which decides who is told what. After it: [`super::FromServer`] in a
//! box of ours, or an original client, which reads `clients` and ignores the keys that it does not know.

use super::Listed;
use serde_json::{Map, Value, json};

/// One frame from the server to a client.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice<'a> {
    /// To the client that has just registered.
    Welcome {
        /// The client itself, as the others see it.
        client: &'a Listed,
        /// What the reachability probe found.
        message: &'a str,
        /// Everybody, the receiver included.
        clients: &'a [Listed],
    },
    /// To all others when `name` came.
    Joined {
        /// Who came.
        name: &'a str,
        /// Everybody, the receiver included.
        clients: &'a [Listed],
    },
    /// To all others when `name` went.
    Left {
        /// Who went.
        name: &'a str,
        /// Everybody who is left, the receiver included.
        clients: &'a [Listed],
    },
    /// The list once more, because `name` asked for it or because it changed.
    Refresh {
        /// Who asked for it, or whose entry changed.
        name: &'a str,
        /// What changed, if something did.
        message: Option<&'a str>,
        /// Everybody, the receiver included.
        clients: &'a [Listed],
    },
    /// An object from `name` that the server does not understand and passes on.
    Relay {
        /// The object as it came. Its own `name` and `clients`, if any, are overwritten.
        object: Map<String, Value>,
        /// The sender.
        name: &'a str,
        /// Everybody, the receiver included.
        clients: &'a [Listed],
    },
    /// To monitors.
    Monitor {
        /// What happened, for people.
        message: &'a str,
        /// Everybody.
        clients: &'a [Listed],
    },
    /// To web pages: a flat map from name to whether its stream is reachable.
    Web {
        /// Whether the page is asked to load everything again.
        refresh: bool,
        /// Every client of the configuration, and whether it is here and its stream reachable.
        streams: &'a [(&'a str, bool)],
    },
    /// A refusal (ours, not the original's); the server closes the connection after it.
    Refusal {
        /// What is wrong and what to do.
        sentence: &'a str,
    },
}

impl Notice<'_> {
    /// The text frame.
    pub fn encode(self) -> String {
        let value = match self {
            Notice::Welcome { client: Listed { ip, stream, name, port }, message, clients } => json!({
                "name": name, "ip": ip, "port": port, "stream": stream, "message": message,
                "clients": clients, "n_clients": clients.len(),
            }),
            Notice::Joined { name, clients } => json!({
                "message": format!("[{name}] connected to config server"), "clients": clients, "name": name,
            }),
            Notice::Left { name, clients } => json!({
                "message": format!("[{name}] disconnected from config server"), "clients": clients, "name": name,
            }),
            Notice::Refresh { name, message: None, clients } => {
                json!({"refresh": true, "clients": clients, "name": name})
            }
            Notice::Refresh { name, message: Some(message), clients } => {
                json!({"refresh": true, "message": message, "clients": clients, "name": name})
            }
            Notice::Relay { mut object, name, clients } => {
                object.insert("clients".to_owned(), json!(clients));
                object.insert("name".to_owned(), json!(name));
                Value::Object(object)
            }
            Notice::Monitor { message, clients } => json!({
                "message": message, "info": format!("Connected clients: {}", clients.len()), "clients": clients,
            }),
            Notice::Web { refresh, streams } => web(refresh, streams),
            Notice::Refusal { sentence } => json!({"error": sentence, "message": sentence}),
        };
        value.to_string()
    }
}

/// The flat map of the web page. `restart` told pages that the broadcast's encoder was restarted at a
/// join; ours never is.
fn web(refresh: bool, streams: &[(&str, bool)]) -> Value {
    let flags = [("restart", false), ("refresh", refresh)];
    let pairs = flags.iter().chain(streams).map(|&(name, on)| (name.to_owned(), Value::Bool(on)));
    Value::Object(pairs.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn porto() -> Listed {
        Listed { ip: [1, 2, 3, 4].into(), stream: true, name: "porto".into(), port: 8554 }
    }

    const LIST: &str = r#"[{"ip":"1.2.3.4","stream":true,"name":"porto","port":8554}]"#;

    #[test]
    fn the_welcome_is_the_originals() {
        let (porto, message) = (porto(), "Port 8554 at 1.2.3.4 is open");
        let welcome = Notice::Welcome { client: &porto, message, clients: std::slice::from_ref(&porto) };
        let expected = format!(
            r#"{{"name":"porto","ip":"1.2.3.4","port":8554,"stream":true,"message":"{message}","clients":{LIST},"n_clients":1}}"#
        );
        assert_eq!(welcome.encode(), expected);
    }

    #[test]
    fn join_leave_and_refresh_are_the_originals() {
        let list = [porto()];
        let joined = Notice::Joined { name: "porto", clients: &list }.encode();
        let text =
            format!(r#"{{"message":"[porto] connected to config server","clients":{LIST},"name":"porto"}}"#);
        assert_eq!(joined, text);
        let left = Notice::Left { name: "marte", clients: &list }.encode();
        assert!(left.starts_with(r#"{"message":"[marte] disconnected from config server","clients":["#));
        let refresh = Notice::Refresh { name: "porto", message: None, clients: &list }.encode();
        assert_eq!(refresh, format!(r#"{{"refresh":true,"clients":{LIST},"name":"porto"}}"#));
    }

    #[test]
    fn a_relay_cannot_lie_about_its_sender() {
        let Value::Object(object) = json!({"name": "marte", "clients": [], "chat": "olá"}) else {
            unreachable!()
        };
        let relay = Notice::Relay { object, name: "porto", clients: &[porto()] }.encode();
        assert_eq!(relay, format!(r#"{{"name":"porto","clients":{LIST},"chat":"olá"}}"#));
    }

    #[test]
    fn the_monitors_count_is_right() {
        let monitor = Notice::Monitor { message: "m", clients: &[porto()] }.encode();
        assert_eq!(monitor, format!(r#"{{"message":"m","info":"Connected clients: 1","clients":{LIST}}}"#));
    }

    #[test]
    fn the_web_map_is_flat() {
        let web = Notice::Web { refresh: true, streams: &[("porto", true), ("lisboa", false)] }.encode();
        assert_eq!(web, r#"{"restart":false,"refresh":true,"porto":true,"lisboa":false}"#);
    }

    #[test]
    fn a_refusal_says_its_sentence_to_old_and_new_clients() {
        let refusal = Notice::Refusal { sentence: "no" }.encode();
        assert_eq!(refusal, r#"{"error":"no","message":"no"}"#);
    }
}
