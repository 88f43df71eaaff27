//! The stations that are there, as somebody sees them who listens to announcements and to DNS-SD.
//!
//! Before it: datagrams on the announcement port, and services found. After it: the list of `matriz stations`.
//! Keyed by address, as in mopidy-rtp; what is not announced any more, or withdrawn, goes. Only DNS-SD knows the
//! port: without it a station has the usual one.

use super::uri::Host;
use crate::units::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// A station that has not been heard for so long is gone: five announcements. Our choice.
pub const GONE_AFTER: Duration = Duration::from_millis(5_500);

/// Most addresses, and services, that are remembered: a flood of them costs nobody more. Our choice.
const MOST: usize = 256;

/// One line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Station {
    /// What it calls itself.
    pub name: String,
    /// Where it is.
    pub host: Host,
    /// Its TCP port, if it says one.
    pub port: Option<u16>,
}

/// What was seen so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The last announcement of each address, and when it came.
    announced: BTreeMap<Host, (String, Time)>,
    /// Services by their DNS-SD name.
    services: BTreeMap<String, Service>,
}

/// A station as DNS-SD tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What it calls itself.
    pub name: String,
    /// Its TCP port.
    pub port: u16,
    /// Where it can be reached.
    pub hosts: Vec<Host>,
}

impl Seen {
    /// `host` has announced itself.
    pub fn handle_announcement(&mut self, now: Time, host: Host, name: String) {
        self.announced.retain(|_, (_, at)| now.since(*at) < GONE_AFTER);
        if self.announced.len() < MOST || self.announced.contains_key(&host) {
            self.announced.insert(host, (name, now));
        }
    }

    /// The service `id` is there, or has changed.
    pub fn handle_service(&mut self, id: &str, service: Service) {
        if self.services.len() < MOST || self.services.contains_key(id) {
            self.services.insert(id.to_owned(), service);
        }
    }

    /// The service `id` is gone.
    pub fn handle_service_gone(&mut self, id: &str) {
        self.services.remove(id);
    }

    /// The stations that are there now, by name.
    pub fn list(&self, now: Time) -> Vec<Station> {
        let mut stations: BTreeMap<&Host, Station> = BTreeMap::new();
        for Service { name, port, hosts } in self.services.values() {
            for host in hosts {
                let station = Station { name: name.clone(), host: host.clone(), port: Some(*port) };
                stations.insert(host, station);
            }
        }
        let there = self.announced.iter().filter(|(_, (_, at))| now.since(*at) < GONE_AFTER);
        for (host, (name, _)) in there {
            let new = || Station { name: String::new(), host: host.clone(), port: None };
            // What it announces is what all others show, the original's too.
            stations.entry(host).or_insert_with(new).name.clone_from(name);
        }
        let mut stations: Vec<Station> = stations.into_values().collect();
        stations.sort_by(|a, b| (&a.name, &a.host).cmp(&(&b.name, &b.host)));
        stations
    }

    /// The TCP port of the station at `host`, if it is known.
    pub fn port(&self, host: &Host) -> Option<u16> {
        self.services.values().find(|service| service.hosts.contains(host)).map(|service| service.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn host(last: u8) -> Host {
        Host::new(Ipv4Addr::new(10, 0, 0, last).into(), None)
    }

    fn at(seconds: u64) -> Time {
        Time(0) + Duration::from_secs(seconds)
    }

    #[test]
    fn a_station_is_there_as_long_as_it_says_so() {
        let mut seen = Seen::default();
        seen.handle_announcement(at(0), host(2), "porto".to_owned());
        seen.handle_announcement(at(0), host(1), "lisboa".to_owned());
        seen.handle_announcement(at(4), host(1), "lisboa 2".to_owned());
        let names =
            |seconds| seen.list(at(seconds)).into_iter().map(|station| station.name).collect::<Vec<_>>();
        assert_eq!(names(5), ["lisboa 2", "porto"]);
        assert_eq!(names(6), ["lisboa 2"]);
        assert_eq!(names(10), [""; 0]);
    }

    #[test]
    fn the_service_knows_the_port_and_the_announcement_the_name() {
        let mut seen = Seen::default();
        let service = Service { name: "porto (2)".to_owned(), port: 7_129, hosts: vec![host(1), host(2)] };
        seen.handle_service("a", service);
        seen.handle_announcement(at(0), host(1), "porto".to_owned());
        seen.handle_announcement(at(0), host(3), "original".to_owned());
        let list = seen.list(at(1));
        let lines: Vec<_> = list.iter().map(|it| (it.name.as_str(), it.host.clone(), it.port)).collect();
        let expected = [
            ("original", host(3), None),
            ("porto", host(1), Some(7_129)),
            ("porto (2)", host(2), Some(7_129)),
        ];
        assert_eq!(lines, expected);
        assert_eq!((seen.port(&host(2)), seen.port(&host(3))), (Some(7_129), None));
        seen.handle_service_gone("a");
        assert_eq!(seen.list(at(1)).len(), 2);
        assert_eq!(seen.port(&host(1)), None);
    }

    #[test]
    fn a_flood_of_names_is_bounded_and_passes() {
        let mut seen = Seen::default();
        for n in 0..10_000_u32 {
            let host = Host::new(Ipv4Addr::from_bits(n).into(), None);
            seen.handle_announcement(at(0), host.clone(), "x".to_owned());
            let service = Service { name: "x".to_owned(), port: 1, hosts: vec![host] };
            seen.handle_service(&n.to_string(), service);
        }
        assert!(seen.announced.len() <= MOST && seen.services.len() <= MOST);
        seen.handle_announcement(at(6), host(9), "porto".to_owned());
        assert!(seen.list(at(6)).iter().any(|station| station.name == "porto"));
    }
}
