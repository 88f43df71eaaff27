//! Stations that listen to each other: who must not get what from whom, so that nothing goes round.
//!
//! A station that listens to another passes on what it hears, together with its own sound. If the other one listens
//! to it as well, directly or through more stations, that would be a ring, and the sound in it would never end.
//! So each station says in every packet whom it hears ([`super::sources`]), each listener says in its reports who it
//! is, and there is one rule: **a station passes nothing on to a listener whom it hears**, but sends him its own
//! sound alone. All stations of a ring follow it at the same time, and stay with it as long as the ring is there,
//! since the lists name whom a station listens to and not what it just sends.
//! Source: RFC 3550 sections 7.1 (contributing sources) and 8.2 (loop detection); the rule is ours.

use super::sources::MOST;
use crate::units::Time;
use std::net::IpAddr;
use std::time::Duration;

/// Who was not heard for so long is not listened to any more: longer than any pause on the way, since a ring that
/// opens for a moment is heard. Our choice.
const HEARD_FOR: Duration = Duration::from_secs(5);

/// What a listener gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Share {
    /// Everything: our own sound, and what we hear.
    Everything,
    /// Our own sound alone.
    Own,
}

/// Whom this station hears.
#[derive(Clone, Debug)]
pub struct Ring {
    own: u32,
    heard: Option<Heard>,
}

#[derive(Clone, Debug)]
struct Heard {
    from: IpAddr,
    /// The station that we listen to, the one that it listens to, and so on, to the end or to ourselves.
    sources: Vec<u32>,
    at: Time,
}

impl Ring {
    /// A station with this source, which hears nobody.
    pub fn new(own: u32) -> Ring {
        Ring { own, heard: None }
    }

    /// Its source.
    pub fn own(&self) -> u32 {
        self.own
    }

    /// A packet of the station that we listen to has come, with its source and those behind it.
    pub fn handle_packet(&mut self, now: Time, from: IpAddr, source: u32, behind: impl Iterator<Item = u32>) {
        let heard = self.heard.get_or_insert_with(|| Heard { from, sources: Vec::new(), at: now });
        (heard.from, heard.at) = (from, now);
        heard.sources.clear();
        for next in std::iter::once(source).chain(behind.take(MOST)) {
            // What comes after the first that comes again has gone round, and may be no longer true.
            if heard.sources.contains(&next) {
                break;
            }
            heard.sources.push(next);
            if next == self.own {
                break;
            }
        }
    }

    /// We listen to nobody any more.
    pub fn handle_rest(&mut self) {
        self.heard = None;
    }

    /// What a listener gets: the one at this address, who says that he is this source, if he has said so yet.
    pub fn share(&self, now: Time, listener: IpAddr, source: Option<u32>) -> Share {
        let Some(heard) = self.heard(now) else { return Share::Everything };
        let in_ring = match source {
            Some(source) => heard.sources.contains(&source),
            None => heard.from == listener,
        };
        // A list that is full may lack somebody: so long a chain ends here.
        if in_ring || heard.sources.len() > MOST { Share::Own } else { Share::Everything }
    }

    /// Whom our packets name: the station that we listen to, and those behind it.
    pub fn sources(&self, now: Time) -> &[u32] {
        self.heard(now).map_or(&[], |heard| &heard.sources)
    }

    /// Whether the station that we listen to hears us, directly or through others.
    pub fn is_closed(&self, now: Time) -> bool {
        self.sources(now).contains(&self.own)
    }

    fn heard(&self, now: Time) -> Option<&Heard> {
        self.heard.as_ref().filter(|heard| now.since(heard.at) < HEARD_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn ip(of: u32) -> IpAddr {
        Ipv4Addr::from_bits(of).into()
    }

    /// Stations by their sources; each listens to the one that `listens` gives, and hears a packet of it.
    struct Network {
        stations: Vec<(Ring, u32)>,
    }

    impl Network {
        fn new(listens: &[(u32, u32)]) -> Network {
            Network { stations: listens.iter().map(|(own, to)| (Ring::new(*own), *to)).collect() }
        }

        fn ring(&self, of: u32) -> &Ring {
            &self.stations.iter().find(|(ring, _)| ring.own == of).unwrap().0
        }

        /// Everybody gets one packet.
        fn round(&mut self, now: Time) {
            for at in 0..self.stations.len() {
                let to = self.stations[at].1;
                if to != 0 {
                    let behind = self.ring(to).sources(now).to_vec();
                    self.stations[at].0.handle_packet(now, ip(to), to, behind.into_iter());
                }
            }
        }

        /// What `listener` gets of the station that it listens to.
        fn share(&self, now: Time, listener: u32) -> Share {
            let (_, to) = self.stations.iter().find(|(ring, _)| ring.own == listener).unwrap();
            self.ring(*to).share(now, ip(listener), Some(listener))
        }
    }

    #[test]
    fn two_that_listen_to_each_other_get_each_others_own_sound() {
        let mut network = Network::new(&[(1, 2), (2, 1), (3, 1)]);
        for n in 0..50 {
            let now = Time(n * 20_000_000);
            network.round(now);
            let shares = [1, 2, 3].map(|listener| network.share(now, listener));
            assert_eq!(shares, [Share::Own, Share::Own, Share::Everything], "packet {n}");
        }
        assert!(network.ring(1).is_closed(Time(0)) && !network.ring(3).is_closed(Time(0)));
    }

    #[test]
    fn a_ring_of_many_passes_nothing_on_once_the_lists_have_gone_round() {
        for length in 2..=15_u32 {
            let listens: Vec<_> = (1..=length).map(|own| (own, own % length + 1)).collect();
            let mut network = Network::new(&listens);
            for n in 0..40 {
                let now = Time(n * 20_000_000);
                network.round(now);
                let open = (1..=length).filter(|own| network.share(now, *own) == Share::Everything).count();
                assert!(open == 0 || n < i64::from(length), "{length} stations, packet {n}: {open}");
            }
        }
    }

    #[test]
    fn a_chain_is_passed_on_and_a_ring_that_opens_as_well() {
        let now = Time(0);
        let mut network = Network::new(&[(1, 0), (2, 1), (3, 2)]);
        (0..3).for_each(|_| network.round(now));
        assert_eq!((network.share(now, 2), network.share(now, 3)), (Share::Everything, Share::Everything));
        assert_eq!(network.ring(3).sources(now), [2, 1]);

        let mut network = Network::new(&[(1, 2), (2, 1)]);
        network.round(now);
        network.stations[0] = (network.ring(1).clone(), 0);
        network.stations[0].0.handle_rest();
        network.round(now);
        assert_eq!(network.ring(1).share(now, ip(2), Some(2)), Share::Everything);
        assert!(!network.ring(2).is_closed(now));
    }

    #[test]
    fn whom_nobody_hears_any_more_does_not_stay_in_the_lists_of_a_ring() {
        let now = Time(0);
        let mut network = Network::new(&[(1, 3), (2, 1), (3, 0)]);
        (0..3).for_each(|_| network.round(now));
        assert_eq!(network.ring(2).sources(now), [1, 3]);
        network.stations[0].1 = 2;
        (0..3).for_each(|_| network.round(now));
        assert_eq!((network.ring(1).sources(now), network.ring(2).sources(now)), (&[2, 1][..], &[1, 2][..]));
        assert_eq!(network.ring(1).share(now, ip(3), Some(3)), Share::Everything);
    }

    #[test]
    fn who_has_not_said_who_he_is_is_known_by_his_address() {
        let mut ring = Ring::new(1);
        ring.handle_packet(Time(0), ip(2), 2, [].into_iter());
        assert_eq!(ring.share(Time(0), ip(2), None), Share::Own);
        assert_eq!(ring.share(Time(0), ip(2), Some(7)), Share::Everything, "another program at that address");
        assert_eq!(ring.share(Time(0), ip(3), None), Share::Everything);
        assert_eq!(ring.share(Time(0) + HEARD_FOR, ip(2), None), Share::Everything, "it is gone");
    }

    #[test]
    fn a_chain_that_is_longer_than_the_list_ends() {
        let mut ring = Ring::new(1);
        ring.handle_packet(Time(0), ip(2), 2, 100..114);
        assert_eq!(ring.share(Time(0), ip(3), Some(3)), Share::Everything);
        ring.handle_packet(Time(0), ip(2), 2, 100..200);
        assert_eq!(ring.share(Time(0), ip(3), Some(3)), Share::Own);
    }
}
