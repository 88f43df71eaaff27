//! What a box tells the others so that they can send it music: the extension that travels through the
//! rendezvous.
//!
//! `{"matriz": {"version": 1, "ssrc": ..., "media": [...], "codecs": [...]}}` is an object that no original
//! server knows, so it relays it to every other client and adds the sender's name; original clients
//! ignore it. Before it: [`crate::rendezvous`]. After it: [`crate::session`].

use crate::format::Format;
use crate::rendezvous::Request;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::SocketAddr;

/// The version that this box speaks.
pub const VERSION: u32 = 1;

/// Most addresses of one box that are tried.
const MAX_ADDRESSES: usize = 8;

/// How a box can be reached and what it sends and understands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// [`VERSION`]; a box leaves alone what it does not speak.
    pub version: u32,
    /// The RTP source that the box sends as. It is new at every start, so it also tells a box that was
    /// started again from the one before.
    pub ssrc: u32,
    /// Where its media socket can be reached, as far as it knows itself. The address that the rendezvous
    /// sees is tried as well, with the port of the first entry.
    pub media: Vec<SocketAddr>,
    /// What it sends, and then everything else that it understands.
    pub codecs: Vec<Codec>,
}

/// One way to carry sound in RTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Codec {
    /// As in `a=rtpmap`: `opus` (RFC 7587), `multiopus`, `L16` (RFC 3551), `L24` (RFC 3190), `red` (RFC 2198).
    pub name: String,
    /// RTP payload type.
    pub payload_type: u8,
    /// Length of a packet in microseconds.
    pub frame_us: u32,
    /// Channels, 1 or 2.
    pub channels: u8,
}

/// Why an offer cannot be used. Each is a sentence for the log, to be put after the peer's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Not of the form above.
    #[error("sent an offer that cannot be read ({0}): update the older of the two boxes")]
    Malformed(String),
    /// Another version.
    #[error("speaks version {0} of the offer, this box speaks {VERSION}: update the older of the two boxes")]
    Version(u32),
    /// No codec in common.
    #[error("sends what this box does not understand: set its \"codec\" to \"opus\", or update this box")]
    Codec,
    /// Nowhere to send to.
    #[error("offers no address to send to")]
    Address,
}

impl Codec {
    /// The way to carry `format` in packets of `frame_us` microseconds.
    pub fn of(format: Format, frame_us: u32) -> Codec {
        let (payload_type, channels) = (format.payload_type(), format.layout.channels() as u8);
        Codec { name: format.name().to_owned(), payload_type, frame_us, channels }
    }
}

impl Offer {
    /// The text frame that carries the offer to the rendezvous.
    ///
    /// # Panics
    /// Never: numbers, addresses and our own codec names need no escapes and are short.
    pub fn encode(&self) -> String {
        let value = serde_json::to_value(self).expect("an offer is plain data");
        Request::matriz(value).encode().expect("an offer has no character that needs an escape")
    }

    /// Reads the value of the key `matriz`.
    ///
    /// # Errors
    /// When the box that sent it cannot be played with; says why.
    pub fn decode(value: Value) -> Result<Offer, Unusable> {
        let version = value.get("version").and_then(Value::as_u64).unwrap_or(0);
        if version != u64::from(VERSION) {
            return Err(Unusable::Version(version as u32));
        }
        let mut offer: Offer =
            serde_json::from_value(value).map_err(|error| Unusable::Malformed(error.to_string()))?;
        let sends = offer.codecs.first().and_then(|codec| Format::of(codec.payload_type).zip(Some(codec)));
        if sends.is_none_or(|(format, codec)| format.name() != codec.name) {
            return Err(Unusable::Codec);
        }
        offer.media.retain(|address| is_reachable(*address));
        offer.media.truncate(MAX_ADDRESSES);
        if offer.media.is_empty() { Err(Unusable::Address) } else { Ok(offer) }
    }
}

fn is_reachable(address: SocketAddr) -> bool {
    address.port() != 0 && !address.ip().is_unspecified() && !address.ip().is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rendezvous::FromServer;
    use serde_json::json;

    fn offer() -> Offer {
        let codec = Codec { name: "opus".into(), payload_type: 96, frame_us: 2_500, channels: 1 };
        Offer {
            version: VERSION,
            ssrc: 0xdead_beef,
            media: vec!["192.0.2.7:8600".parse().unwrap(), "[2001:db8::7]:8600".parse().unwrap()],
            codecs: vec![codec],
        }
    }

    #[test]
    fn an_offer_survives_the_relay_of_an_original_server() {
        let mut relayed: Value = serde_json::from_str(&offer().encode()).unwrap();
        relayed["name"] = json!("porto");
        relayed["clients"] = json!([]);
        let message = FromServer::decode(&relayed.to_string()).unwrap();
        assert_eq!(Offer::decode(message.matriz.unwrap()), Ok(offer()));
    }

    #[test]
    fn what_cannot_be_played_with_says_why() {
        let with = |key: &str, value: Value| {
            let mut changed = serde_json::to_value(offer()).unwrap();
            changed[key] = value;
            Offer::decode(changed)
        };
        assert_eq!(with("version", json!(2)), Err(Unusable::Version(2)));
        assert_eq!(with("codecs", json!([])), Err(Unusable::Codec));
        let strange = json!([{"name": "speex", "payload_type": 96, "frame_us": 20_000, "channels": 1}]);
        assert_eq!(with("codecs", strange), Err(Unusable::Codec));
        assert_eq!(with("media", json!(["0.0.0.0:8600", "192.0.2.7:0"])), Err(Unusable::Address));
        assert!(matches!(with("ssrc", json!("x")), Err(Unusable::Malformed(_))));
        assert_eq!(Offer::decode(json!(null)), Err(Unusable::Version(0)));
    }
}
