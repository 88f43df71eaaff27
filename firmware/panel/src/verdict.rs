//! How a peer is heard, in one plain sentence, and its way in one word.
//!
//! The sentence names whose line it is only where that can be told: if everybody who is heard loses packets, it is
//! most likely our own.

use crate::letters::shorten;
use proto::control::{PeerStatus, Status};
use std::net::{IpAddr, SocketAddr};

/// So many percent of the packets, or of the sound, are worth a word.
const NOTABLE: f32 = 1.0;

/// A delay that most musicians play worse with, in milliseconds (Chafe et al., "Effect of temporal separation on
/// synchronization in rhythmic performance", Perception 39, 2010: tempo is lost above 25 to 30 ms one way).
const LONG_MS: f32 = 30.0;

/// Sound travels so far in a millisecond, in metres.
const METRES_PER_MS: f32 = 0.343;

/// Letters of a line, and lines, that the sentence has.
pub(crate) const LETTERS: usize = 20;
#[cfg(test)]
const LINES: usize = 2;

/// Most letters of a name in it, so that it fits.
const NAME: usize = 12;

/// Whether the peer is not heard as it should be.
pub(crate) fn suffers(peer: &PeerStatus) -> bool {
    !peer.connected || peer.lost_percent.max(peer.late_percent).max(peer.concealed_percent) >= NOTABLE
}

/// Why what a peer plays comes broken, in one word for the margin: nothing if it does not.
pub(crate) fn ailment(peer: &PeerStatus) -> Option<&'static str> {
    let worst = peer.lost_percent.max(peer.late_percent).max(peer.concealed_percent);
    match worst >= NOTABLE {
        false => None,
        true if peer.lost_percent > peer.late_percent => Some("lost"),
        true => Some("late"),
    }
}

/// How the peer is heard, for a person.
pub(crate) fn verdict(status: &Status, peer: &PeerStatus) -> String {
    let name = shorten(&peer.name, NAME);
    let PeerStatus { lost_percent, late_percent, concealed_percent, .. } = *peer;
    let delay = peer.delay_ms.unwrap_or(0.0);
    match peer {
        _ if !status.in_session => "You are not in the session".to_owned(),
        PeerStatus { connected: false, .. } => format!("{name}: no sound from there"),
        _ if lost_percent >= NOTABLE && everybody_loses(status) => {
            format!("Your line loses {}", percent(lost_percent))
        }
        _ if lost_percent >= NOTABLE => format!("{name}: his line loses {}", percent(lost_percent)),
        _ if late_percent >= NOTABLE => format!("{name}: {} come too late", percent(late_percent)),
        _ if concealed_percent >= NOTABLE => format!("{name}: {} are made up", percent(concealed_percent)),
        PeerStatus { muted: true, .. } => format!("{name}: muted by you"),
        PeerStatus { muted_itself: true, .. } => format!("{name}: has muted himself"),
        _ if delay >= LONG_MS => format!("{name}: as if {:.0} m away", delay * METRES_PER_MS),
        PeerStatus { relayed: true, .. } => format!("{name}: well, by a detour"),
        _ => format!("{name}: all is well"),
    }
}

/// Everybody who is heard, and that is more than one, loses packets on the way here.
fn everybody_loses(status: &Status) -> bool {
    let heard = || status.peers.iter().filter(|peer| peer.connected);
    heard().count() > 1 && heard().all(|peer| peer.lost_percent >= NOTABLE)
}

/// The way a peer's packets take, in a word.
pub(crate) fn way(peer: &PeerStatus) -> &'static str {
    let address = peer.way.parse::<SocketAddr>().map(|address| address.ip().to_canonical());
    match address {
        _ if !peer.connected => "away",
        _ if peer.relayed => "relayed",
        Ok(IpAddr::V4(v4)) if v4.is_private() || v4.is_link_local() || v4.is_loopback() => "LAN",
        Ok(IpAddr::V6(v6)) if v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_loopback() => "LAN",
        _ => "direct",
    }
}

/// A share for a person: `0.4 %`, `2 %`.
fn percent(share: f32) -> String {
    format!("{} %", short(share))
}

/// A number in at most three signs: one decimal below ten, none above; what is no number is a dash.
pub(crate) fn short(number: f32) -> String {
    match number {
        n if !n.is_finite() => "-".to_owned(),
        n if n < 0.05 => "0".to_owned(),
        n if n < 9.95 && (n - n.round()).abs() >= 0.05 => format!("{n:.1}"),
        n => format!("{:.0}", n.min(999.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str) -> PeerStatus {
        let way = "203.0.113.9:8600".to_owned();
        PeerStatus { name: name.into(), connected: true, way, delay_ms: Some(12.0), ..Default::default() }
    }

    fn said(change: impl Fn(&mut PeerStatus)) -> String {
        let mut porto = peer("Porto");
        change(&mut porto);
        let status = Status { in_session: true, peers: vec![porto, peer("Lisboa")], ..Default::default() };
        verdict(&status, &status.peers[0])
    }

    #[test]
    fn the_worst_is_said_first_and_in_plain_words() {
        assert_eq!(said(|_| {}), "Porto: all is well");
        assert_eq!(said(|porto| porto.lost_percent = 2.0), "Porto: his line loses 2 %");
        assert_eq!(said(|porto| porto.late_percent = 1.25), "Porto: 1.2 % come too late");
        assert_eq!(said(|porto| porto.concealed_percent = 10.4), "Porto: 10 % are made up");
        assert_eq!(said(|porto| porto.delay_ms = Some(50.0)), "Porto: as if 17 m away");
        assert_eq!(said(|porto| (porto.muted, porto.late_percent) = (true, 3.0)), "Porto: 3 % come too late");
        assert_eq!(said(|porto| porto.muted = true), "Porto: muted by you");
        assert_eq!(said(|porto| porto.muted_itself = true), "Porto: has muted himself");
        assert_eq!(said(|porto| porto.relayed = true), "Porto: well, by a detour");
        assert_eq!(said(|porto| porto.connected = false), "Porto: no sound from there");
    }

    #[test]
    fn what_everybody_loses_is_our_own_line() {
        let losing = |name: &str| PeerStatus { lost_percent: 2.5, ..peer(name) };
        let peers = vec![losing("Porto"), losing("Lisboa")];
        let mut status = Status { in_session: true, peers, ..Default::default() };
        assert_eq!(verdict(&status, &status.peers[0]), "Your line loses 2.5 %");
        status.peers.pop();
        assert_eq!(verdict(&status, &status.peers[0]), "Porto: his line loses 2.5 %");
        status.in_session = false;
        assert_eq!(verdict(&status, &status.peers[0]), "You are not in the session");
    }

    #[test]
    fn no_sentence_is_longer_than_its_place() {
        let changes: [fn(&mut PeerStatus); 9] = [
            |_| {},
            |peer| peer.lost_percent = 99.9,
            |peer| peer.late_percent = 8.8,
            |peer| peer.concealed_percent = 8.8,
            |peer| peer.delay_ms = Some(9_000.0),
            |peer| peer.muted = true,
            |peer| peer.muted_itself = true,
            |peer| peer.relayed = true,
            |peer| peer.connected = false,
        ];
        for name in
            ["Vila Nova de Famalicão 1", "WWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWW", "St. Blasien im Schwarzwald"]
        {
            for change in changes {
                let mut peer = peer(name);
                change(&mut peer);
                let status = Status { in_session: true, ..Default::default() };
                let sentence = verdict(&status, &peer);
                assert!(crate::letters::wrap(&sentence, LETTERS).len() <= LINES, "{sentence}");
            }
        }
    }

    #[test]
    fn a_way_is_a_word() {
        let by = |address: &str| way(&PeerStatus { way: address.into(), ..peer("Porto") });
        assert_eq!(["192.168.1.7:8600", "127.0.0.1:8602", "[fd00::1]:8600"].map(by), ["LAN"; 3]);
        assert_eq!(["203.0.113.9:8600", "[2001:db8::1]:1", "no way found yet"].map(by), ["direct"; 3]);
        assert_eq!(way(&PeerStatus { relayed: true, ..peer("Porto") }), "relayed");
        assert_eq!(way(&PeerStatus { connected: false, ..peer("Porto") }), "away");
    }

    #[test]
    fn numbers_have_three_signs_at_most() {
        let shown = [0.0, 0.4, 2.0, 9.94, 9.96, 12.3, 128.4, 5_000.0, f32::NAN, -3.0].map(short);
        assert_eq!(shown, ["0", "0.4", "2", "9.9", "10", "12", "128", "999", "-", "0"]);
    }
}
