//! The rendezvous of the simulated world: the real server's room behind virtual connections.
//!
//! Between `world`, which moves its frames with a fixed delay, and [`rendezvous::room::Room`].

use proto::units::Time;
use rendezvous::configuration::{Client, Configuration};
use rendezvous::room::{ConnectionId, Limits, Outgoing, Outgoings, Room};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What the rendezvous wants done, by the index of the box that it concerns.
pub(crate) enum Done {
    Send(usize, String),
    Closed(usize, String),
}

pub(crate) struct Hall {
    clients: Vec<Client>,
    room: Option<Room>,
    next: u64,
    boxes: BTreeMap<ConnectionId, usize>,
}

impl Hall {
    pub fn new() -> Self {
        Hall { clients: Vec::new(), room: None, next: 0, boxes: BTreeMap::new() }
    }

    pub fn add_client(&mut self, name: &str, key: &str) {
        self.clients.push(Client { name: name.to_owned(), key: key.to_owned() });
    }

    pub fn start(&mut self) {
        let configuration = Configuration { clients: self.clients.clone(), monitor: None, tls: None };
        self.room = Some(Room::new(configuration, Limits::default()));
    }

    /// Stops; returns the boxes whose connection broke.
    pub fn stop(&mut self) -> Vec<usize> {
        self.room = None;
        std::mem::take(&mut self.boxes).into_values().collect()
    }

    /// A box connects; false if the rendezvous is away.
    pub fn connect(&mut self, index: usize, ip: IpAddr, now: Time) -> bool {
        let Some(room) = &mut self.room else { return false };
        let id = ConnectionId(self.next);
        self.next += 1;
        self.boxes.insert(id, index);
        room.connect(id, ip, now);
        true
    }

    /// Whether a box is connected.
    pub fn is_here(&self, index: usize) -> bool {
        self.connection(index).is_some()
    }

    pub fn disconnect(&mut self, index: usize) -> Vec<Done> {
        let Some(id) = self.connection(index) else { return Vec::new() };
        self.boxes.remove(&id);
        let out = self.room.as_mut().map(|room| room.disconnect(id)).unwrap_or_default();
        self.carry_out(out)
    }

    pub fn handle(&mut self, index: usize, frame: &str, now: Time) -> Vec<Done> {
        let Some(id) = self.connection(index) else { return Vec::new() };
        let out = self.room.as_mut().map(|room| room.handle(id, frame, now)).unwrap_or_default();
        self.carry_out(out)
    }

    pub fn poll(&mut self, now: Time) -> Vec<Done> {
        let out = self.room.as_mut().map(|room| room.poll(now)).unwrap_or_default();
        self.carry_out(out)
    }

    fn connection(&self, index: usize) -> Option<ConnectionId> {
        self.boxes.iter().find(|(_, of)| **of == index).map(|(id, _)| *id)
    }

    fn carry_out(&mut self, out: Outgoings) -> Vec<Done> {
        let mut done = Vec::new();
        for (id, outgoing) in out {
            match (outgoing, self.boxes.get(&id).copied()) {
                (Outgoing::Send(text), Some(index)) => done.push(Done::Send(index, text.to_string())),
                (Outgoing::Close { reason, .. }, Some(index)) => {
                    self.boxes.remove(&id);
                    done.push(Done::Closed(index, reason));
                }
                // No box here has an RTSP server.
                (Outgoing::Probe { .. }, _) => {
                    let refused = Err("Connection refused".to_owned());
                    let more = self.room.as_mut().map(|room| room.probed(id, refused)).unwrap_or_default();
                    done.extend(self.carry_out(more));
                }
                (_, None) => {}
            }
        }
        done
    }
}
