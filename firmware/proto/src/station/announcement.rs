//! How a station says that it is there: its name as bare text, once a second.
//!
//! Before it: the name template of the settings. After it: one UDP datagram to everybody in the subnet, and the
//! table of those who hear it ([`super::seen`]). There is no header, so whatever comes to that port is a name.
//! Source: mopidy-rtp 0.1.0 (`_broadcast_service_info`), which sends it by IPv4 only.

use std::net::Ipv6Addr;
use std::time::Duration;

/// UDP port that announcements go to, unless all stations of a network agree on another (`broadcast_port`).
pub const PORT: u16 = 46_986;

/// From one announcement to the next.
pub const EVERY: Duration = Duration::from_secs(1);

/// Most bytes of an announcement; mopidy-rtp reads no more.
pub const LONGEST: usize = 1_470;

/// Where it goes by IPv6, which has no broadcast: all nodes of the link (RFC 4291 section 2.7.1). Everybody is in
/// that group without asking, and no switch keeps it back. Our choice.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The name that a template makes: `%hostname` and `%port` are replaced, and nothing else.
pub fn fill(template: &str, hostname: &str, port: u16) -> String {
    template.replace("%hostname", hostname).replace("%port", &port.to_string())
}

/// The datagram that announces `name`: as much of it as fits.
pub fn encode(name: &str) -> &[u8] {
    shorten(name, LONGEST).as_bytes()
}

/// The name in a datagram, without what a terminal would take for a command; `None` if nothing is left of it.
pub fn parse(datagram: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(&datagram[..datagram.len().min(LONGEST)]);
    let plain: String = text.chars().filter(|c| !c.is_control()).collect();
    let name = plain.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// The first whole characters of `text` that fit into so many bytes.
pub fn shorten(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_originals_template_is_filled_as_the_original_does() {
        let name = fill("Mopidy RTP Service on %hostname:%port", "192.168.0.1", 7_128);
        assert_eq!(name, "Mopidy RTP Service on 192.168.0.1:7128");
        assert_eq!(encode(&name), b"Mopidy RTP Service on 192.168.0.1:7128");
        assert_eq!(fill("%host %name 100%", "a", 1), "%host %name 100%", "nothing else is replaced");
    }

    #[test]
    fn what_is_no_name_is_none() {
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b" \r\n\0"), None);
        assert_eq!(parse(b"porto\x1b[2J\n").unwrap(), "porto[2J");
        assert_eq!(parse(b"\xff\xfe").unwrap(), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_name_that_is_too_long_ends_with_a_whole_character() {
        let name = "é".repeat(1_000);
        assert_eq!(parse(encode(&name)).unwrap(), "é".repeat(735));
        assert_eq!(shorten("aé", 2), "a");
    }

    proptest! {
        #[test]
        fn what_is_announced_is_heard(name in "[^\\p{Cc}]{0,300}") {
            let name = name.trim();
            prop_assert_eq!(parse(encode(name)).unwrap_or_default(), name);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            if let Some(name) = parse(&bytes) {
                prop_assert!(!name.is_empty() && !name.chars().any(char::is_control));
                prop_assert!(name.len() <= 3 * LONGEST);
            }
        }
    }
}
