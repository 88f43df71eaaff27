//! The addresses of stations as people write them: `rtp:stations`, `rtp:192.168.0.118`.
//!
//! Before it: the command line. After it: a connection to the station's TCP port. `rtp:ADDRESS` is the original's;
//! a port, and IPv6 with the network card in it (RFC 4007 section 11), are ours.

use super::line;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// Where a station is: its address, and for IPv6 in the same link the network card that leads there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host {
    /// The address.
    pub ip: IpAddr,
    /// Name of the network card, only with an IPv6 address that means nothing without it (`fe80::…`).
    pub card: Option<String>,
}

impl Host {
    /// A host; `card` is kept only where the address needs it.
    pub fn new(ip: IpAddr, card: Option<&str>) -> Host {
        let ip = ip.to_canonical();
        let local = matches!(ip, IpAddr::V6(ip) if is_link_local(ip));
        Host { ip, card: card.filter(|_| local).map(str::to_owned) }
    }
}

/// Whether an address is of its link only (RFC 4291 section 2.5.6).
pub fn is_link_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xffc0 == 0xfe80
}

impl fmt::Display for Host {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.card {
            Some(card) => write!(out, "{}%{card}", self.ip),
            None => write!(out, "{}", self.ip),
        }
    }
}

/// What `rtp:` may be followed by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uri {
    /// `rtp:stations`: the list of all.
    Stations,
    /// One station.
    Station {
        /// Where it is.
        host: Host,
        /// Its TCP port, if it is not to be looked for.
        port: Option<u16>,
    },
}

impl Uri {
    /// The address of a station; its port is left out where it is the usual one.
    pub fn station(host: Host, port: u16) -> Uri {
        Uri::Station { host, port: Some(port).filter(|port| *port != line::PORT) }
    }
}

/// It is no address of a station.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no station: write rtp:ADDRESS, such as rtp:192.168.0.118, rtp:192.168.0.118:7129 or \
     rtp:[fe80::1%eth0]:7129, or the name of one; `matriz stations` lists them"
)]
pub struct NoUri(String);

impl FromStr for Uri {
    type Err = NoUri;

    fn from_str(text: &str) -> Result<Uri, NoUri> {
        let no = || NoUri(text.chars().filter(|c| !c.is_control()).take(80).collect());
        let place = text.strip_prefix("rtp:").ok_or_else(no)?;
        if place == "stations" {
            return Ok(Uri::Stations);
        }
        if let Some(host) = host(place) {
            return Ok(Uri::Station { host, port: None });
        }
        let (inside, rest) = match place.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or_else(no)?,
            None => place.split_at(place.rfind(':').ok_or_else(no)?),
        };
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(port.parse().ok().filter(|port| *port > 0).ok_or_else(no)?),
            None if rest.is_empty() => None,
            None => return Err(no()),
        };
        Ok(Uri::Station { host: host(inside).ok_or_else(no)?, port })
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Uri::Stations => out.write_str("rtp:stations"),
            Uri::Station { host, port: None } => write!(out, "rtp:{host}"),
            Uri::Station { host, port: Some(port) } if host.ip.is_ipv6() => {
                write!(out, "rtp:[{host}]:{port}")
            }
            Uri::Station { host, port: Some(port) } => write!(out, "rtp:{host}:{port}"),
        }
    }
}

/// An address, with `%` and a network card after it where it needs one.
fn host(text: &str) -> Option<Host> {
    let (ip, card) = text.split_once('%').map_or((text, None), |(ip, card)| (ip, Some(card)));
    let ip: IpAddr = ip.parse().ok()?;
    let named = |card: &str| !card.is_empty() && card.len() <= 15 && card.chars().all(is_of_a_card);
    match card {
        Some(card) => {
            let host = Host::new(ip, Some(card));
            (named(card) && host.card.is_some()).then_some(host)
        }
        None => Some(Host::new(ip, None)),
    }
}

/// What Linux allows in a card's name, less what would end it here.
fn is_of_a_card(c: char) -> bool {
    c.is_ascii_graphic() && !matches!(c, '/' | '[' | ']' | '%' | ':')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_originals_words_and_ours() {
        let read = |text: &str| text.parse::<Uri>().unwrap();
        assert_eq!(read("rtp:stations"), Uri::Stations);
        for text in [
            "rtp:192.168.0.118",
            "rtp:192.168.0.118:7129",
            "rtp:fe80::1%eth0",
            "rtp:[fe80::1%eth0]:7129",
            "rtp:2001:db8::7",
            "rtp:[2001:db8::7]:1",
        ] {
            assert_eq!(read(text).to_string(), text);
        }
        assert_eq!(read("rtp:[2001:db8::7]"), read("rtp:2001:db8::7"));
        assert_eq!(Uri::station(Host::new("10.0.0.1".parse().unwrap(), None), 7_128), read("rtp:10.0.0.1"));
        assert_eq!(Host::new("::ffff:10.0.0.1".parse().unwrap(), Some("eth0")).to_string(), "10.0.0.1");
    }

    #[test]
    fn what_is_no_address_is_refused_in_a_sentence() {
        for text in [
            "",
            "rtp:",
            "rtp:porto",
            "192.168.0.1",
            "rtp:1.2.3.4:",
            "rtp:1.2.3.4:0",
            "rtp:1.2.3.4:70000",
            "rtp:[",
            "rtp:[::1",
            "rtp:[::1]7129",
            "rtp:1.2.3.4%eth0",
            "rtp:fe80::1%",
            "rtp:fe80::1%a/b",
            "rtp:\n",
        ] {
            let why = text.parse::<Uri>().unwrap_err().to_string();
            assert!(why.contains("rtp:ADDRESS") && !why.contains('\n'), "{text:?}: {why}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(ip: IpAddr, card in "[a-z0-9.@-]{1,15}", port in prop::option::of(1_u16..)) {
            let uri = Uri::Station { host: Host::new(ip, Some(&card)), port };
            prop_assert_eq!(uri.to_string().parse::<Uri>(), Ok(uri));
        }

        #[test]
        fn arbitrary_text_never_panics(text in "(rtp:)?[\\[]?[0-9a-f:.%\\]]{0,30}|\\PC{0,40}") {
            let _ = text.parse::<Uri>();
        }
    }
}
