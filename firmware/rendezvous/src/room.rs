//! The room: who is here, and who is told what. Pure: no socket, no clock.
//!
//! The driver gives each connection a number, hands over its frames, its end and the result of its
//! probe, and carries out the [`Outgoing`] that comes back. Before it: `connection` (or the simulated
//! world). After it: [`Notice`]. Source: the protocol of matriz 0.2.7, without its known faults.

use crate::configuration::{Client, Configuration};
use proto::rendezvous::{Listed, Notice, RTSP_PORT, Register, Request, WEB_CLIENT};
use proto::units::Time;
use std::collections::BTreeMap;
use std::net::IpAddr;
use tracing::{debug, info, warn};

mod limits;
mod outgoing;
mod places;
#[cfg(test)]
mod tests;

pub use limits::Limits;
pub use outgoing::{ConnectionId, NORMAL, Outgoing, Outgoings, POLICY};
use outgoing::{send, send_all};
use places::{Occupant, Places};

/// Everybody who is connected.
///
/// The original answers a registration after its probe, so a box behind a closed firewall waits 5 s for
/// its welcome and so do the others for it. Here the welcome goes out when the probe ends or after
/// [`Limits::introduction`], whichever is first, in the second case with `stream` false. When the probe
/// ends later, a refresh tells the outcome: to everybody if the list changed (`stream` became true), and
/// otherwise only to the box itself.
#[derive(Debug)]
pub struct Room {
    limits: Limits,
    connections: BTreeMap<ConnectionId, Connection>,
    places: Places,
    monitor: Option<Client>,
    last_web_refresh: Option<Time>,
}

#[derive(Clone, Copy, Debug)]
struct Connection {
    ip: IpAddr,
    role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    /// Has not registered yet.
    Stranger {
        since: Time,
    },
    /// Sits at this place.
    Client(usize),
    Monitor,
    Web,
}

/// Somebody who registers: which connection, from where, when.
#[derive(Clone, Copy, Debug)]
struct Caller {
    id: ConnectionId,
    ip: IpAddr,
    now: Time,
}

/// How the driver's probe ended: reached, or why not.
pub type Probed = Result<(), String>;

impl Room {
    /// An empty room for the clients of `configuration`.
    pub fn new(configuration: Configuration, limits: Limits) -> Room {
        let Configuration { clients, monitor, tls: _ } = configuration;
        let places = Places::new(clients);
        Room { limits, connections: BTreeMap::new(), places, monitor, last_web_refresh: None }
    }

    /// A WebSocket connection from `ip` is there; its first frame is awaited.
    pub fn connect(&mut self, id: ConnectionId, ip: IpAddr, now: Time) {
        self.connections.insert(id, Connection { ip, role: Role::Stranger { since: now } });
    }

    /// The connection has ended by itself. Does nothing if the room closed it.
    pub fn disconnect(&mut self, id: ConnectionId) -> Outgoings {
        let mut out = Vec::new();
        self.remove(id, &mut out);
        out
    }

    /// A text frame came.
    ///
    /// A first frame that makes no sense is answered with a sentence and the end of the connection. Later
    /// ones are ignored, as the original does: its clients and pages may send things that we do not know,
    /// and a musician must not be thrown out for it in the middle of a piece.
    pub fn handle(&mut self, id: ConnectionId, frame: &str, now: Time) -> Outgoings {
        let mut out = Vec::new();
        let Some(&Connection { ip, role }) = self.connections.get(&id) else { return out };
        match (role, Request::decode(frame)) {
            (Role::Stranger { .. }, Ok(Request::Register(register))) => {
                self.register(Caller { id, ip, now }, &register, &mut out);
            }
            (Role::Stranger { .. }, Ok(_)) => {
                let sentence =
                    "The first message must register: send {\"register\": \"\", \"name\": …, \"key\": …}.";
                self.refuse(id, sentence, &mut out);
            }
            (Role::Stranger { .. }, Err(error)) => {
                debug!(%ip, "{error}");
                self.refuse(id, &capitalised(&error.to_string()), &mut out);
            }
            (_, Err(error)) => debug!(%ip, "ignored: {error}"),
            (_, Ok(Request::Register(_))) => debug!(%ip, "ignored: it has registered already"),
            (_, Ok(Request::Deregister)) => {
                self.remove(id, &mut out);
                out.push((id, Outgoing::Close { code: NORMAL, reason: "Deregistered.".to_owned() }));
            }
            (_, Ok(Request::Refresh)) => self.refresh(id, now, &mut out),
            // A page needs no key, so it may look but not talk to the boxes.
            (Role::Web, Ok(Request::Relay(_))) => debug!(%ip, "ignored: an object from a web page"),
            (_, Ok(Request::Relay(object))) => {
                self.introduce_early(id, &mut out);
                let clients = self.list();
                let notice = Notice::Relay { object, name: self.name(id), clients: &clients };
                self.tell_others(id, notice, &mut out);
            }
        }
        out
    }

    /// The probe that [`Outgoing::Probe`] asked for has ended.
    pub fn probed(&mut self, id: ConnectionId, probed: Probed) -> Outgoings {
        let mut out = Vec::new();
        let Some(place) = self.place(id) else { return out };
        let Some(occupant) = self.places.occupant_mut(place) else { return out };
        let changed = occupant.stream != probed.is_ok();
        occupant.stream = probed.is_ok();
        let message = match probed {
            Ok(()) => format!("Port {} at {} is open", occupant.port, occupant.ip),
            Err(reason) => reason,
        };
        if occupant.welcomed {
            self.correct(id, &message, changed, &mut out);
        } else {
            self.introduce(id, place, &message, &mut out);
        }
        out
    }

    /// Does what is due at `now`.
    pub fn poll(&mut self, now: Time) -> Outgoings {
        let mut out = Vec::new();
        for (id, due) in self.deadlines() {
            if due > now {
                continue;
            }
            match self.connections.get(&id).map(|connection| connection.role) {
                Some(Role::Client(_)) => self.introduce_early(id, &mut out),
                Some(Role::Stranger { .. }) => {
                    let seconds = self.limits.registration.as_secs_f32();
                    self.refuse(id, &format!("No registration came within {seconds} s."), &mut out);
                }
                _ => {}
            }
        }
        out
    }

    /// When [`Room::poll`] has something to do next.
    pub fn deadline(&self) -> Option<Time> {
        self.deadlines().into_iter().map(|(_, due)| due).min()
    }

    /// Whether this connection is known and has registered.
    pub fn is_registered(&self, id: ConnectionId) -> bool {
        self.connections.get(&id).is_some_and(|c| !matches!(c.role, Role::Stranger { .. }))
    }

    /// Everybody who is listed, in the order of the configuration.
    pub fn list(&self) -> Vec<Listed> {
        self.places.list()
    }
}

/// Coming and going.
impl Room {
    fn register(&mut self, caller: Caller, register: &Register, out: &mut Outgoings) {
        let Caller { id, ip, .. } = caller;
        let Register { name, key, port } = register;
        if let Some(place) = self.places.for_key(key) {
            if self.places.name(place) == name {
                self.seat(caller, place, port.unwrap_or(RTSP_PORT), out);
            } else {
                warn!(%ip, "refused: the key does not belong to the name {:?}", shortened(name));
                let sentence = "The key does not belong to the name: check \"name\" and \"key\".";
                self.refuse(id, sentence, out);
            }
        } else if self.monitor.as_ref().is_some_and(|monitor| monitor.key == *key) {
            // The original monitor program sends its key as its name, so the key alone decides.
            self.admit(id, Role::Monitor, out);
        } else if name == WEB_CLIENT {
            self.admit(id, Role::Web, out);
        } else {
            warn!(%ip, "refused: {:?} has an unknown key", shortened(name));
            self.refuse(id, "The rendezvous does not know this key: check \"key\", or ask who runs it.", out);
        }
    }

    /// Gives the place to a new connection. If its key is in use the old one ends, and the others see no
    /// leave, only the join of the new one: they need that to introduce themselves to it.
    fn seat(&mut self, caller: Caller, place: usize, port: u16, out: &mut Outgoings) {
        let Caller { id, ip, now } = caller;
        let occupant = Occupant { id, ip, port, stream: false, since: now, listed: false, welcomed: false };
        if let Some(old) = self.places.seat(place, occupant) {
            if let Some(new) = self.places.occupant_mut(place) {
                new.listed = old.listed;
            }
            let sentence =
                "Another connection has registered with this key, so this one ends: give each box its own.";
            self.refuse(old.id, sentence, out);
        }
        self.set_role(id, Role::Client(place));
        out.push((id, Outgoing::Probe { ip, port }));
    }

    /// The welcome, and the join to everybody else.
    fn introduce(&mut self, id: ConnectionId, place: usize, message: &str, out: &mut Outgoings) {
        let Some(occupant) = self.places.occupant_mut(place) else { return };
        (occupant.listed, occupant.welcomed) = (true, true);
        let Some(client) = self.places.entry(place) else { return };
        info!("{} joined from {}", client.name, client.ip);
        let clients = self.list();
        send(id, Notice::Welcome { client: &client, message, clients: &clients }, out);
        self.tell_others(id, Notice::Joined { name: &client.name, clients: &clients }, out);
        self.tell_monitors(&connected(&client), out);
        self.tell_web(false, out);
    }

    /// Introduces a client whose probe has not ended. Also done when it speaks, so that nobody hears from
    /// a stranger.
    fn introduce_early(&mut self, id: ConnectionId, out: &mut Outgoings) {
        let Some(place) = self.place(id) else { return };
        if let Some(&Occupant { welcomed: false, ip, port, .. }) = self.places.occupant(place) {
            self.introduce(id, place, &format!("Port {port} at {ip} has not answered yet"), out);
        }
    }

    /// The outcome of a probe that took longer than the welcome could wait, and whether it changes the list.
    fn correct(&mut self, id: ConnectionId, message: &str, changed: bool, out: &mut Outgoings) {
        let Some(client) = self.place(id).and_then(|place| self.places.entry(place)) else { return };
        let clients = self.list();
        let notice = Notice::Refresh { name: &client.name, message: Some(message), clients: &clients };
        send(id, notice.clone(), out);
        if changed {
            self.tell_others(id, notice, out);
            self.tell_monitors(message, out);
            // The changed map says it all; the flag would make a page start its players again.
            self.tell_web(false, out);
        }
    }

    fn admit(&mut self, id: ConnectionId, role: Role, out: &mut Outgoings) {
        let limit = if role == Role::Web { self.limits.web_clients } else { self.limits.monitors };
        if self.connections.values().filter(|connection| connection.role == role).count() >= limit {
            let sentence = format!("There are {limit} of your kind here already: try again later.");
            return self.refuse(id, &sentence, out);
        }
        self.set_role(id, role);
        match role {
            Role::Web => self.send_web(&[id], false, out),
            _ => {
                let clients = self.list();
                let mut message = clients.iter().map(connected).collect::<Vec<_>>().join("\n");
                if message.is_empty() {
                    message.push_str("No clients connected");
                }
                send(id, Notice::Monitor { message: &message, clients: &clients }, out);
            }
        }
    }

    /// Forgets a connection, and tells the others if they knew it.
    fn remove(&mut self, id: ConnectionId, out: &mut Outgoings) {
        let place = self.place(id);
        self.connections.remove(&id);
        let Some(place) = place else { return };
        let listed = self.places.free(place).is_some_and(|occupant| occupant.listed);
        if !listed {
            return;
        }
        let name = self.places.name(place);
        info!("{name} left");
        let clients = self.list();
        self.tell_others(id, Notice::Left { name, clients: &clients }, out);
        self.tell_monitors(&format!("[{name}] disconnected"), out);
        self.tell_web(false, out);
    }

    /// Says the sentence and ends the connection. Nobody else hears of it.
    fn refuse(&mut self, id: ConnectionId, sentence: &str, out: &mut Outgoings) {
        self.connections.remove(&id);
        send(id, Notice::Refusal { sentence }, out);
        out.push((id, Outgoing::Close { code: POLICY, reason: sentence.to_owned() }));
    }

    fn refresh(&mut self, id: ConnectionId, now: Time, out: &mut Outgoings) {
        if self.is_web(id) && !self.may_web_refresh(now) {
            return;
        }
        self.introduce_early(id, out);
        let clients = self.list();
        let notice = Notice::Refresh { name: self.name(id), message: None, clients: &clients };
        self.tell_others(id, notice, out);
        self.tell_web(true, out);
    }

    /// A page needs no key, so all pages together may ask only so often.
    fn may_web_refresh(&mut self, now: Time) -> bool {
        let free = self.last_web_refresh.is_none_or(|last| now.since(last) >= self.limits.web_refresh);
        if free {
            self.last_web_refresh = Some(now);
        }
        free
    }
}

/// Telling.
impl Room {
    /// To every welcomed client but `id`. One that waits for its welcome learns all from that.
    fn tell_others(&self, id: ConnectionId, notice: Notice, out: &mut Outgoings) {
        send_all(self.places.welcomed().filter(|&other| other != id), notice, out);
    }

    fn tell_monitors(&self, message: &str, out: &mut Outgoings) {
        send_all(self.with_role(Role::Monitor), Notice::Monitor { message, clients: &self.list() }, out);
    }

    fn tell_web(&self, refresh: bool, out: &mut Outgoings) {
        let pages: Vec<_> = self.with_role(Role::Web).collect();
        self.send_web(&pages, refresh, out);
    }

    fn send_web(&self, pages: &[ConnectionId], refresh: bool, out: &mut Outgoings) {
        let streams = self.places.streams();
        send_all(pages.iter().copied(), Notice::Web { refresh, streams: &streams }, out);
    }
}

/// Looking.
impl Room {
    fn deadlines(&self) -> Vec<(ConnectionId, Time)> {
        let due = |(&id, connection): (&ConnectionId, &Connection)| match connection.role {
            Role::Stranger { since } => Some((id, since + self.limits.registration)),
            Role::Client(place) => {
                let waiting = self.places.occupant(place).filter(|occupant| !occupant.welcomed)?;
                Some((id, waiting.since + self.limits.introduction))
            }
            Role::Monitor | Role::Web => None,
        };
        self.connections.iter().filter_map(due).collect()
    }

    fn place(&self, id: ConnectionId) -> Option<usize> {
        match self.connections.get(&id)?.role {
            Role::Client(place) => Some(place),
            _ => None,
        }
    }

    fn is_web(&self, id: ConnectionId) -> bool {
        self.connections.get(&id).is_some_and(|connection| connection.role == Role::Web)
    }

    fn with_role(&self, role: Role) -> impl Iterator<Item = ConnectionId> {
        self.connections.iter().filter(move |(_, connection)| connection.role == role).map(|(&id, _)| id)
    }

    fn set_role(&mut self, id: ConnectionId, role: Role) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.role = role;
        }
    }

    /// The name that a message from this connection bears.
    fn name(&self, id: ConnectionId) -> &str {
        match (self.place(id), &self.monitor) {
            (Some(place), _) => self.places.name(place),
            (None, Some(monitor)) if !self.is_web(id) => &monitor.name,
            _ => WEB_CLIENT,
        }
    }
}

/// What a monitor is told of a client, in the original's words.
fn connected(client: &Listed) -> String {
    format!("[{}] connected with IP {}", client.name, client.ip)
}

/// A sentence of an error with a capital letter and a full stop.
fn capitalised(error: &str) -> String {
    let mut letters = error.chars();
    letters.next().map(|first| format!("{}{}.", first.to_uppercase(), letters.as_str())).unwrap_or_default()
}

/// The beginning of a name that a stranger sent, for the log.
fn shortened(name: &str) -> String {
    name.chars().take(40).collect()
}
