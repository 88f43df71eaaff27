//! TCP ports for strangers: open on all addresses, with so many connections at a time and so many of one address.
//!
//! What players of the RTSP server and listeners of a station have in common before anything is said. Who comes once too
//! often is the caller's to turn away; a task that has ended makes room.

use std::collections::HashMap;
use std::future::{Future, pending};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::TcpListener;
use tokio::task::{Id, JoinSet};

/// Opens a port on all addresses, of IPv6 too where the system has it; also gives what stands for all of them.
///
/// # Errors
/// What the system says: the port is taken, or may not be opened.
pub fn open(port: u16) -> std::io::Result<(TcpListener, IpAddr)> {
    let open = |ip: IpAddr| {
        let listener = std::net::TcpListener::bind(SocketAddr::new(ip, port))?;
        listener.set_nonblocking(true)?;
        Ok((TcpListener::from_std(listener)?, ip))
    };
    open(Ipv6Addr::UNSPECIFIED.into()).or_else(|_: std::io::Error| open(Ipv4Addr::UNSPECIFIED.into()))
}

/// Those who are connected, a task for each.
pub struct Visitors {
    most: usize,
    most_of_one_address: usize,
    tasks: JoinSet<()>,
    addresses: HashMap<Id, IpAddr>,
}

impl Visitors {
    /// Nobody yet.
    pub fn new(most: usize, most_of_one_address: usize) -> Visitors {
        Visitors { most, most_of_one_address, tasks: JoinSet::new(), addresses: HashMap::new() }
    }

    /// Whether one more may come from this address.
    pub fn has_room(&self, ip: IpAddr) -> bool {
        let of_it = self.addresses.values().filter(|address| **address == ip).count();
        self.tasks.len() < self.most && of_it < self.most_of_one_address
    }

    /// Receives one from this address.
    pub fn receive(&mut self, ip: IpAddr, visit: impl Future<Output = ()> + Send + 'static) {
        let task = self.tasks.spawn(visit);
        self.addresses.insert(task.id(), ip);
    }

    /// Waits until somebody goes; for ever while nobody is there.
    pub async fn one_goes(&mut self) {
        let Some(ended) = self.tasks.join_next_with_id().await else { return pending().await };
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        self.addresses.remove(&id);
    }

    /// Waits until all have gone.
    pub async fn all_go(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::Semaphore;

    #[tokio::test]
    async fn who_goes_makes_room_for_one_of_the_same_address() {
        let [one, other, third]: [IpAddr; 3] = [1, 2, 3].map(|last| [192, 0, 2, last].into());
        let mut visitors = Visitors::new(3, 2);
        let doors = [(); 3].map(|()| std::sync::Arc::new(Semaphore::new(0)));
        for (ip, door) in [one, one, other].into_iter().zip(&doors) {
            assert!(visitors.has_room(ip));
            let door = door.clone();
            visitors.receive(ip, async move { drop(door.acquire().await) });
        }
        assert!(!visitors.has_room(third), "three are there");
        doors[2].add_permits(1);
        visitors.one_goes().await;
        assert!(visitors.has_room(third) && !visitors.has_room(one), "two of one address are there");
        doors[0].add_permits(1);
        visitors.one_goes().await;
        assert!(visitors.has_room(one));
        doors[1].add_permits(1);
        visitors.all_go().await;
    }
}
