//! Who is there, by the rendezvous: its list introduces, and the offers that it relays say how to reach each other.
//!
//! Before: text frames of the rendezvous, by [`Session::handle_rendezvous`]. After: a [`Peer`] with a slot, and our own
//! offer when somebody may not know us. The frames are those of [`crate::rendezvous`] and [`crate::offer`].

use super::peer::Peer;
use super::{Action, FromRendezvous, Identity, Session};
use crate::control::{Cue, SLOTS};
use crate::format::Format;
use crate::offer::{Codec, Offer, VERSION};
use crate::red::RED;
use crate::rendezvous::{FromServer, Listed};
use crate::units::Time;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Offers caused by several messages within this time are sent as one.
const GATHER: Duration = Duration::from_millis(10);

impl Session {
    /// Something came from the rendezvous.
    pub fn handle_rendezvous(&mut self, now: Time, event: FromRendezvous) {
        if !self.desk.in_session {
            return; // the last words of a line that is being closed
        }
        match event {
            FromRendezvous::Connected => self.rendezvous = "connecting".to_owned(),
            FromRendezvous::Away(why) => self.rendezvous = why,
            FromRendezvous::Message(text) => match FromServer::decode(&text) {
                Ok(message) => self.handle_message(now, message),
                Err(error) => self.say(format!("the rendezvous sent something that is left alone: {error}")),
            },
        }
    }

    fn handle_message(&mut self, now: Time, message: FromServer) {
        if let Some(why) = message.error {
            self.rendezvous = why;
            return;
        }
        if let Some(list) = message.clients {
            // A join tells of somebody whom we may know already: its box was started again.
            let joined = message.name.as_ref().filter(|_| message.message.is_some());
            self.handle_list(now, list, joined, message.n_clients.is_some());
        }
        if let (Some(name), Some(value)) = (message.name, message.matriz)
            && name != self.identity.name
        {
            match Offer::decode(value) {
                Ok(offer) => self.handle_offer(now, name, offer),
                Err(why) => self.say(format!("{name} {why}")),
            }
        }
    }

    /// The list of everybody. To newcomers we offer ourselves; to all when we are the newcomer.
    fn handle_list(&mut self, now: Time, list: Vec<Listed>, joined: Option<&String>, welcome: bool) {
        self.rendezvous = "connected".to_owned();
        let own = &self.identity.name;
        let is_new =
            |name: &String| joined == Some(name) || !self.listed.iter().any(|listed| listed.name == *name);
        let newcomer = list.iter().any(|listed| listed.name != *own && is_new(&listed.name));
        if welcome {
            self.offer_due = Some(now);
        } else if newcomer {
            self.offer_due.get_or_insert(now + GATHER);
        }
        self.listed = list;
        for listed in self.listed.iter().filter(|listed| listed.name != self.identity.name) {
            self.desk.meet(&listed.name);
        }
        for peer in &mut self.peers {
            peer.listed = self.listed.iter().any(|listed| listed.name == peer.name);
        }
        self.await_offers(now, joined.map(String::as_str));
    }

    fn handle_offer(&mut self, now: Time, name: String, offer: Offer) {
        let address = self.listed.iter().find(|listed| listed.name == name).map(|listed| listed.ip);
        if self.peers.iter().any(|peer| peer.ssrc == offer.ssrc && peer.name != name && !peer.listed) {
            self.part(offer.ssrc, &format!("is called {name} now")); // its goodbye was lost
        }
        if offer.ssrc == self.identity.ssrc || self.belongs_to_another(offer.ssrc, &name) {
            return self.say(format!("{name} has the same RTP source as another box: start it again"));
        }
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.name == name && peer.ssrc == offer.ssrc) {
            peer.meet_again(now, candidates(&offer, address));
            return self.welcome_box(&name);
        }
        let own = self.identity.format;
        if !offer.codecs.iter().any(|codec| codec.payload_type == own.payload_type()) {
            return self.say(format!(
                "{name} does not understand {}: set \"codec\" to \"opus\", or update {name}",
                own.name()
            ));
        }
        self.welcome_box(&name);
        let Some(slot) = self.free_slot() else {
            return self.say(format!("no place for {name}: a box plays with {SLOTS} others at most"));
        };
        // It may know us only by name: it has come after our last offer.
        self.offer_due.get_or_insert(now + GATHER);
        let former = self.peers.iter().find(|peer| peer.name == name).map(|peer| peer.ssrc);
        let redundancy = offer.codecs.iter().any(|codec| codec.name == "red" && codec.payload_type == RED);
        self.desk.meet(&name);
        let peer = Peer::new(now, name, offer.ssrc, slot, candidates(&offer, address), redundancy);
        self.actions.push_back(Action::Engine(Cue::Join { slot }));
        self.actions.push_back(peer.route());
        self.peers.push(peer);
        self.follow_pace();
        if let Some(former) = former {
            self.part(former, "was started again");
        }
        self.follow_desk(false);
    }

    fn belongs_to_another(&self, ssrc: u32, name: &str) -> bool {
        self.peers.iter().any(|peer| peer.ssrc == ssrc && peer.name != name)
    }

    /// What we say of ourselves.
    pub(super) fn offer(&self) -> Offer {
        let Identity { ssrc, media, format, .. } = &self.identity;
        let frame_us = u32::from(self.pace.frames) * 125 / 6; // 48 frames are a millisecond
        let mut codecs = vec![Codec::of(*format, frame_us)];
        for format in Format::all().map(|format| Codec::of(format, frame_us)) {
            if !codecs.iter().any(|codec| codec.payload_type == format.payload_type) {
                codecs.push(format);
            }
        }
        codecs.push(Codec { name: "red".to_owned(), payload_type: RED, ..codecs[0].clone() });
        Offer { version: VERSION, ssrc: *ssrc, media: media.clone(), codecs }
    }
}

/// Where a peer may be reached: what it says itself, and the address that the rendezvous sees.
fn candidates(offer: &Offer, seen: Option<IpAddr>) -> Vec<SocketAddr> {
    let mut candidates = offer.media.clone();
    if let (Some(ip), Some(first)) = (seen, offer.media.first()) {
        let seen = SocketAddr::new(ip, first.port());
        if !candidates.contains(&seen) {
            candidates.push(seen);
        }
    }
    candidates
}
