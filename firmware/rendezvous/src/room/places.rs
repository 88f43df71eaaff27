//! The places of a room: one for each client of the configuration, in its order, taken or free.
//!
//! Answers who sits where and what the list says. Who is told of a change is `room`'s business.

use super::ConnectionId;
use crate::configuration::Client;
use proto::rendezvous::Listed;
use proto::units::Time;
use std::net::IpAddr;

/// All places and who sits there.
#[derive(Debug)]
pub struct Places {
    clients: Vec<Client>,
    occupants: Vec<Option<Occupant>>,
}

/// Who sits at a place.
#[derive(Clone, Copy, Debug)]
pub struct Occupant {
    pub id: ConnectionId,
    pub ip: IpAddr,
    /// The TCP port of its RTSP server.
    pub port: u16,
    /// The probe reached it.
    pub stream: bool,
    /// When it registered.
    pub since: Time,
    /// The others know of it. True from the start when it replaces one whom they knew.
    pub listed: bool,
    /// It has got its welcome.
    pub welcomed: bool,
}

impl Places {
    /// Free places for these clients.
    pub fn new(clients: Vec<Client>) -> Places {
        let occupants = vec![None; clients.len()];
        Places { clients, occupants }
    }

    /// The place that this key opens.
    pub fn for_key(&self, key: &str) -> Option<usize> {
        self.clients.iter().position(|client| client.key == key)
    }

    /// Whose place it is.
    pub fn name(&self, place: usize) -> &str {
        &self.clients[place].name
    }

    pub fn occupant(&self, place: usize) -> Option<&Occupant> {
        self.occupants[place].as_ref()
    }

    pub fn occupant_mut(&mut self, place: usize) -> Option<&mut Occupant> {
        self.occupants[place].as_mut()
    }

    /// Seats somebody and says who sat there before.
    pub fn seat(&mut self, place: usize, occupant: Occupant) -> Option<Occupant> {
        self.occupants[place].replace(occupant)
    }

    /// Frees the place and says who sat there.
    pub fn free(&mut self, place: usize) -> Option<Occupant> {
        self.occupants[place].take()
    }

    /// What the list says of this place, if somebody sits there.
    pub fn entry(&self, place: usize) -> Option<Listed> {
        let &Occupant { ip, port, stream, .. } = self.occupant(place)?;
        Some(Listed { ip, stream, name: self.name(place).to_owned(), port })
    }

    /// Everybody who is listed, in the order of the configuration.
    pub fn list(&self) -> Vec<Listed> {
        let listed = |&place: &usize| self.occupant(place).is_some_and(|occupant| occupant.listed);
        (0..self.clients.len()).filter(listed).filter_map(|place| self.entry(place)).collect()
    }

    /// Every client, here or not, and whether its stream is reachable.
    pub fn streams(&self) -> Vec<(&str, bool)> {
        let reachable = |occupant: &Option<Occupant>| occupant.is_some_and(|o| o.listed && o.stream);
        let all = self.clients.iter().zip(&self.occupants);
        all.map(|(client, occupant)| (client.name.as_str(), reachable(occupant))).collect()
    }

    /// The connections of those who have got their welcome.
    pub fn welcomed(&self) -> impl Iterator<Item = ConnectionId> {
        self.occupants.iter().flatten().filter(|occupant| occupant.welcomed).map(|occupant| occupant.id)
    }
}
