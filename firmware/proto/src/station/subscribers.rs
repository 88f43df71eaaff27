//! Who gets a station's sound, and until when.
//!
//! Before it: subscriptions, signs of life, and what the network says of datagrams that did not arrive. After it:
//! [`super::Station`], which sends. A subscription says nothing of when it ends (mopidy-rtp never ended one), so
//! a listener is believed to be there as long as it shows it: by a report (RTCP), by subscribing again, or at least
//! by not being refused.

use crate::units::Time;
use std::net::SocketAddr;
use std::time::Duration;

/// A listener that has reported goes when it has not reported for so long. Players report every five seconds or so
/// (RFC 3550 section 6.2), ours every two. Our choice.
const SILENT_REPORTER: Duration = Duration::from_secs(20);

/// A listener at whom nobody takes the sound goes after so long: a player that is being started again has come back
/// by then. Our choice.
const REFUSED: Duration = Duration::from_secs(10);

/// Refusals that are farther apart do not belong together: something arrived in between. Our choice.
const APART: Duration = Duration::from_secs(3);

/// A listener that neither reports nor is refused (a wall that swallows datagrams) goes after so long, unless it
/// subscribes again. Our choice.
const SILENT: Duration = Duration::from_secs(600);

/// If nobody has looked for so long, the station itself stood still, and nobody's silence counts. Our choice.
const STOOD_STILL: Duration = Duration::from_secs(3);

/// What a subscription was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscribed {
    /// There is one listener more.
    New,
    /// It was there already.
    Again,
    /// There is no room.
    Full,
}

/// The listeners, each with something of the station's (`T`).
#[derive(Clone, Debug)]
pub struct Subscribers<T> {
    most: usize,
    list: Vec<Subscriber<T>>,
    looked: Time,
}

/// One listener.
#[derive(Clone, Debug)]
pub struct Subscriber<T> {
    /// Where the sound goes.
    pub to: SocketAddr,
    /// Who it says that it is, in its reports.
    pub source: Option<u32>,
    /// What the station keeps of it.
    pub of_station: T,
    /// The last sign of life.
    sign: Time,
    /// The first and the last of the refusals that belong together.
    refused: Option<(Time, Time)>,
}

impl<T> Subscribers<T> {
    /// Room for so many.
    pub fn new(most: usize, now: Time) -> Self {
        Subscribers { most, list: Vec::new(), looked: now }
    }

    /// Somebody wants the sound at this address; a repeated wish counts once.
    pub fn subscribe(&mut self, now: Time, to: SocketAddr, of_station: impl FnOnce() -> T) -> Subscribed {
        if let Some(listener) = self.at(to) {
            listener.show(now);
            Subscribed::Again
        } else if self.list.len() >= self.most {
            Subscribed::Full
        } else {
            let of_station = of_station();
            self.list.push(Subscriber { to, source: None, of_station, sign: now, refused: None });
            Subscribed::New
        }
    }

    /// The listener at this address leaves; whether there was one.
    pub fn unsubscribe(&mut self, to: SocketAddr) -> bool {
        let before = self.list.len();
        self.list.retain(|listener| listener.to != to);
        self.list.len() < before
    }

    /// A report came from there, of a listener that calls itself `source`.
    pub fn handle_report(&mut self, now: Time, from: SocketAddr, source: u32) {
        if let Some(listener) = self.at(from) {
            listener.source = Some(source);
            listener.show(now);
        }
    }

    /// A datagram was refused there.
    pub fn handle_refusal(&mut self, now: Time, to: SocketAddr) {
        if let Some(listener) = self.at(to) {
            let first =
                listener.refused.filter(|(_, last)| now.since(*last) < APART).map_or(now, |(first, _)| first);
            listener.refused = Some((first, now));
        }
    }

    /// Takes out those that have vanished; to be called about once a second.
    pub fn expire(&mut self, now: Time) -> Vec<SocketAddr> {
        let passed = now.since(self.looked);
        self.looked = now;
        if passed > STOOD_STILL {
            self.list.iter_mut().for_each(|listener| listener.show(now));
        }
        let gone: Vec<SocketAddr> = self
            .list
            .iter()
            .filter(|listener| listener.has_vanished(now))
            .map(|listener| listener.to)
            .collect();
        self.list.retain(|listener| !gone.contains(&listener.to));
        gone
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Subscriber<T>> {
        self.list.iter()
    }

    /// All of them, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Subscriber<T>> {
        self.list.iter_mut()
    }

    fn at(&mut self, to: SocketAddr) -> Option<&mut Subscriber<T>> {
        self.list.iter_mut().find(|listener| listener.to == to)
    }
}

impl<T> Subscriber<T> {
    fn show(&mut self, now: Time) {
        self.sign = now;
        self.refused = None;
    }

    fn has_vanished(&self, now: Time) -> bool {
        let refused = self.refused.is_some_and(|(first, last)| last.since(first) >= REFUSED);
        let patience = if self.source.is_some() { SILENT_REPORTER } else { SILENT };
        refused || now.since(self.sign) >= patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn to(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 2], port))
    }

    fn at(milliseconds: u64) -> Time {
        Time(0) + Duration::from_millis(milliseconds)
    }

    /// Looks every second from `from` on, `each` before it; when somebody vanished, in seconds.
    fn until_gone(
        list: &mut Subscribers<()>,
        from: u64,
        mut each: impl FnMut(&mut Subscribers<()>, Time),
    ) -> Option<u64> {
        (from..from + 1_000).find(|second| {
            let now = at(second * 1_000);
            each(list, now);
            !list.expire(now).is_empty()
        })
    }

    #[test]
    fn the_ninth_is_refused_and_a_repeated_subscription_counts_once() {
        let mut list = Subscribers::new(8, at(0));
        for port in 1..=8 {
            assert_eq!(list.subscribe(at(0), to(port), || ()), Subscribed::New);
        }
        assert_eq!(list.subscribe(at(0), to(8), || ()), Subscribed::Again);
        assert_eq!(list.subscribe(at(0), to(9), || ()), Subscribed::Full);
        assert!(!list.unsubscribe(to(9)) && list.unsubscribe(to(1)));
        assert_eq!(list.subscribe(at(0), to(9), || ()), Subscribed::New);
        assert_eq!(list.count(), 8);
    }

    #[test]
    fn whom_nobody_hears_of_any_more_goes() {
        let listener = |_: ()| {
            let mut list = Subscribers::new(8, at(0));
            list.subscribe(at(0), to(1), || ());
            list
        };
        assert_eq!(until_gone(&mut listener(()), 1, |_, _| {}), Some(600), "silent, but not refused");
        let mut reporting = listener(());
        assert_eq!(until_gone(&mut reporting, 1, |list, now| list.handle_report(now, to(1), 7)), None);
        assert_eq!(until_gone(&mut reporting, 1_001, |_, _| {}), Some(1_020));
        let refused = |list: &mut Subscribers<()>, now| list.handle_refusal(now, to(1));
        assert_eq!(until_gone(&mut listener(()), 1, refused), Some(11));
    }

    #[test]
    fn a_player_that_is_started_late_or_refuses_now_and_then_stays() {
        let mut list = Subscribers::new(8, at(0));
        list.subscribe(at(0), to(1), || ());
        let now_and_then = |list: &mut Subscribers<()>, now: Time| {
            if now.0 % 4_000_000_000 == 0 {
                list.handle_refusal(now, to(1));
            }
        };
        assert_eq!(until_gone(&mut list, 1, now_and_then), Some(600));
        let mut list = Subscribers::new(8, at(0));
        list.subscribe(at(0), to(1), || ());
        let again_each_five_seconds = |list: &mut Subscribers<()>, now: Time| {
            list.handle_refusal(now, to(1));
            if now.0 % 5_000_000_000 == 0 {
                assert_eq!(list.subscribe(now, to(1), || ()), Subscribed::Again);
            }
        };
        assert_eq!(until_gone(&mut list, 1, again_each_five_seconds), None);
    }

    #[test]
    fn a_station_that_stood_still_keeps_its_listeners() {
        let mut list = Subscribers::new(8, at(0));
        list.subscribe(at(0), to(1), || ());
        list.handle_report(at(500), to(1), 7);
        assert!(list.expire(at(1_000)).is_empty());
        assert!(list.expire(at(3_600_000)).is_empty());
        assert_eq!(until_gone(&mut list, 3_601, |_, _| {}), Some(3_620), "and forgets those that are gone");
    }

    proptest! {
        #[test]
        fn there_are_never_more_than_allowed_and_nobody_is_there_twice(
            wishes in prop::collection::vec((0_u8..5, 1_u16..15, 0_u64..5_000), 0..200), most in 1_usize..10,
        ) {
            let mut list = Subscribers::new(most, at(0));
            let mut now = 0;
            for (what, port, later) in wishes {
                now += later;
                match what {
                    0 | 1 => drop(list.subscribe(at(now), to(port), || ())),
                    2 => drop(list.unsubscribe(to(port))),
                    3 => list.handle_refusal(at(now), to(port)),
                    _ => drop(list.expire(at(now))),
                }
                let mut there: Vec<_> = list.iter().map(|listener| listener.to).collect();
                there.sort();
                there.dedup();
                prop_assert!(there.len() == list.count() && list.count() <= most);
            }
        }
    }
}
