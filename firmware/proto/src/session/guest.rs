//! Guests: those who play as the original does, and are heard by RTSP.
//!
//! Whoever is in the rendezvous's list and offers nothing that we understand is one, and the sender that the
//! configuration names. A guest takes a slot as a peer does; [`Action::Invite`] is what the body needs to hear
//! it, and it hears us through our own RTSP server. Once it makes an offer it is a peer, and no guest any more.

use super::recent::{Recent, Shares};
use super::wishes::Channel;
use super::{Action, Session};
use crate::control::{Cue, Gains, PeerReport, PeerStatus, Report, SLOTS, Sends};
use crate::desk::Fader;
use crate::rtsp::client::Way;
use crate::units::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

/// Who is listed and has made no offer for this long is no box. Ours answer within a round trip. Our choice.
const NO_OFFER: Duration = Duration::from_secs(3);

/// A guest neither listed nor heard for this long is gone.
const GONE: Duration = Duration::from_secs(5);

/// The guests, and who may become one.
#[derive(Default)]
pub(super) struct Guests {
    guests: Vec<Guest>,
    /// Those in the list of whom an offer is awaited, and until when.
    awaited: BTreeMap<String, Time>,
    /// Those in the list who are boxes, even if they are no peers now.
    boxes: BTreeSet<String>,
    /// Those in the list who cannot be heard, and the sentence that says why.
    refused: BTreeMap<String, String>,
    /// The sender that the configuration names.
    fixed: Option<SocketAddr>,
}

struct Guest {
    name: String,
    at: SocketAddr,
    slot: u8,
    /// In the list, or in the configuration.
    wanted: bool,
    way: String,
    /// Last instant at which it was certainly there.
    heard: Time,
    /// When it was met, and when music from it was first heard.
    met: Time,
    first_heard: Option<Time>,
    report: PeerReport,
    recent: Recent,
    told: Gains,
    fader: Fader,
}

impl Session {
    /// The configuration names a sender that is heard whether there is a rendezvous or not.
    pub fn receive_from(&mut self, now: Time, at: SocketAddr) {
        let own = self.identity.media.iter().any(|own| own.ip() == at.ip()) || at.ip().is_loopback();
        if own && at.port() == self.identity.rtsp_port {
            return self.say(format!("{at} is this box itself: \"receive_from_ip\" names somebody else"));
        }
        self.guests.fixed = Some(at);
        self.meet_fixed(now);
    }

    /// How a guest is reached has changed.
    pub fn handle_guest(&mut self, slot: u8, way: &Way) {
        let Some(guest) = self.guests.guests.iter_mut().find(|guest| guest.slot == slot) else { return };
        let url = format!("rtsp://{}", guest.at);
        guest.way = match way {
            Way::Udp => url,
            Way::Tcp => format!("{url} (TCP)"),
            Way::Nowhere(why) => format!("{url} ({why})"),
        };
        let sentence = match way {
            Way::Nowhere(why) => {
                format!("{} is not heard: rtsp://{} {why}; trying again", guest.name, guest.at)
            }
            _ => format!("hearing {} ({})", guest.name, guest.way),
        };
        self.say(sentence);
    }

    /// There is a new list; `joined` has come, perhaps once more.
    pub(super) fn await_offers(&mut self, now: Time, joined: Option<&str>) {
        let Session { guests, listed, peers, identity, .. } = self;
        let is_listed = |name: &String| listed.iter().any(|listed| listed.name == *name);
        guests.boxes.retain(|name| is_listed(name) && joined != Some(name));
        guests.awaited.retain(|name, _| is_listed(name));
        for guest in &mut guests.guests {
            guest.wanted = guests.fixed == Some(guest.at) || is_listed(&guest.name);
        }
        guests.refused.retain(|name, _| is_listed(name));
        for listed in listed.iter().filter(|listed| listed.name != identity.name) {
            let (name, joins) = (&listed.name, joined == Some(listed.name.as_str()));
            let is_peer = peers.iter().any(|peer| peer.name == *name);
            let patience = match guests.guests.iter().find(|guest| guest.name == *name) {
                Some(guest) if !joins && Some(guest.at) == address(listed.ip, listed.port) => continue,
                Some(_) => Duration::ZERO,
                None if (is_peer && !joins) || guests.boxes.contains(name) => continue,
                None => NO_OFFER,
            };
            guests.awaited.entry(name.clone()).or_insert(now + patience);
        }
        self.meet_fixed(now);
    }

    /// Somebody has made an offer that we understand.
    pub(super) fn welcome_box(&mut self, name: &str) {
        self.guests.awaited.remove(name);
        self.guests.boxes.insert(name.to_owned());
        if let Some(slot) = self.guests.slot(name) {
            self.part_guest(slot, "is a box now");
        }
    }

    /// The engine tells how the guests are heard.
    pub(super) fn handle_guests_report(&mut self, now: Time, report: &Report) {
        for guest in &mut self.guests.guests {
            let of_it = report.peers[usize::from(guest.slot)];
            if of_it.received > guest.report.received {
                guest.heard = now;
            }
            if of_it.playing {
                guest.first_heard.get_or_insert(now);
            }
            guest.report = of_it;
            guest.recent.push(now, &of_it);
        }
    }

    /// Who has waited long enough becomes a guest, and who is gone is none any more.
    pub(super) fn poll_guests(&mut self, now: Time) {
        let due: Vec<String> =
            self.guests.awaited.extract_if(.., |_, until| *until <= now).map(|due| due.0).collect();
        for name in due {
            self.meet_guest(now, name);
        }
        let gone = self.guests.guests.iter().filter(|guest| guest.gone_at().is_some_and(|at| at <= now));
        for slot in gone.map(|guest| guest.slot).collect::<Vec<_>>() {
            self.part_guest(slot, "is gone");
            self.meet_fixed(now);
        }
    }

    /// Somebody listed has made no offer.
    fn meet_guest(&mut self, now: Time, name: String) {
        let Some(at) = self.listed_at(&name) else { return };
        if let Some(peer) = self.peers.iter().find(|peer| peer.name == name) {
            if !peer.is_silent(now) {
                return; // it has joined again and is heard as before
            }
            self.part(peer.ssrc, "is no box any more");
        }
        if let Some(slot) = self.guests.slot(&name) {
            if self.guests.guests.iter().any(|guest| guest.slot == slot && guest.at == at) {
                return self.actions.push_back(Action::Invite { slot, name, at });
            }
            self.part_guest(slot, "has moved");
        }
        if let Some(other) = self.is_heard_at(at, &name) {
            let sentence =
                format!("{name} is not heard: {at} is {other}'s address as well; give each its own \"port\"");
            return self.refuse(name, sentence);
        }
        self.invite(now, name, at);
    }

    /// The configuration's sender becomes a guest, unless it is in the list as well, under its name.
    pub(super) fn meet_fixed(&mut self, now: Time) {
        let Some(at) = self.guests.fixed.filter(|_| self.desk.in_session) else { return };
        let own = &self.identity.name;
        let listed = self
            .listed
            .iter()
            .any(|listed| listed.name != *own && address(listed.ip, listed.port) == Some(at));
        let name = at.ip().to_string();
        match self.guests.guests.iter().find(|guest| guest.at == at) {
            Some(guest) if listed && guest.name == name => self.part_guest(guest.slot, "has a name now"),
            None if !listed => self.invite(now, name, at),
            _ => {}
        }
    }

    fn invite(&mut self, now: Time, name: String, at: SocketAddr) {
        let Some(slot) = self.free_slot() else {
            let sentence = format!("no place for {name}: a box plays with {SLOTS} others at most");
            return self.refuse(name, sentence);
        };
        self.actions.push_back(Action::Engine(Cue::Join { slot }));
        self.actions.push_back(Action::Invite { slot, name: name.clone(), at });
        self.guests.guests.push(Guest {
            name,
            at,
            slot,
            wanted: true,
            way: format!("rtsp://{at}"),
            heard: now,
            met: now,
            first_heard: None,
            report: PeerReport::default(),
            recent: Recent::default(),
            told: Gains::default(),
            fader: Fader::default(),
        });
        self.follow_desk(false);
    }

    /// Says why somebody is not heard, once and not at each new list.
    fn refuse(&mut self, name: String, sentence: String) {
        if self.guests.refused.insert(name, sentence.clone()).as_ref() != Some(&sentence) {
            self.say(sentence);
        }
    }

    fn part_guest(&mut self, slot: u8, how: &str) {
        let Some(index) = self.guests.guests.iter().position(|guest| guest.slot == slot) else { return };
        let guest = self.guests.guests.remove(index);
        self.actions.push_back(Action::Engine(Cue::Leave { slot }));
        self.actions.push_back(Action::Unroute { slot });
        self.say(format!("{} {how}", guest.name));
    }

    /// The box leaves the session: nobody is heard, and nobody is awaited.
    pub(super) fn part_guests(&mut self) {
        let fixed = self.guests.fixed;
        let Guests { guests, .. } =
            std::mem::replace(&mut self.guests, Guests { fixed, ..Guests::default() });
        for Guest { slot, .. } in guests {
            self.actions.push_back(Action::Engine(Cue::Leave { slot }));
            self.actions.push_back(Action::Unroute { slot });
        }
    }

    /// The RTSP server of somebody in the list.
    fn listed_at(&self, name: &str) -> Option<SocketAddr> {
        let listed = self.listed.iter().find(|listed| listed.name == name)?;
        address(listed.ip, listed.port)
    }

    /// Who else has its RTSP server at this address, seen from outside, and is heard already; or this box itself.
    fn is_heard_at(&self, at: SocketAddr, name: &str) -> Option<String> {
        let guests = self.guests.guests.iter().map(|guest| &guest.name);
        let mut heard = self.peers.iter().map(|peer| &peer.name).chain(guests).chain([&self.identity.name]);
        heard.find(|other| *other != name && self.listed_at(other) == Some(at)).cloned()
    }
}

/// Where an RTSP server is, if that makes sense.
fn address(ip: std::net::IpAddr, port: u16) -> Option<SocketAddr> {
    (port != 0).then(|| SocketAddr::new(ip.to_canonical(), port))
}

impl Guests {
    /// Whether one of them has this slot.
    pub fn has(&self, slot: u8) -> bool {
        self.guests.iter().any(|guest| guest.slot == slot)
    }

    /// When to poll at the latest.
    pub fn deadline(&self) -> Option<Time> {
        self.awaited.values().copied().chain(self.guests.iter().filter_map(Guest::gone_at)).min()
    }

    /// What is shown of them.
    pub fn status(&self) -> impl Iterator<Item = PeerStatus> {
        self.guests.iter().map(Guest::status)
    }

    /// Who they are, and in which slot.
    pub fn slots(&self) -> impl Iterator<Item = (u8, &str)> {
        self.guests.iter().map(|guest| (guest.slot, guest.name.as_str()))
    }

    /// As the desk sees them.
    pub fn channels(&mut self) -> impl Iterator<Item = Channel<'_>> {
        self.guests.iter_mut().map(|Guest { name, slot, told, fader, .. }| Channel {
            name,
            slot: *slot,
            told,
            fader,
        })
    }

    fn slot(&self, name: &str) -> Option<u8> {
        self.guests.iter().find(|guest| guest.name == name).map(|guest| guest.slot)
    }
}

impl Guest {
    fn gone_at(&self) -> Option<Time> {
        (!self.wanted).then(|| self.heard + GONE)
    }

    fn status(&self) -> PeerStatus {
        let report = &self.report;
        let Shares { lost: lost_percent, late: late_percent, concealed: concealed_percent } =
            self.recent.shares();
        let Fader { volume_db, pan, muted, solo } = self.fader;
        PeerStatus {
            name: self.name.clone(),
            connected: report.playing,
            connected_after_ms: self.first_heard.map(|at| at.since(self.met).as_millis() as u64),
            way: self.way.clone(),
            depth_ms: report.depth_ms,
            sends: Sends { format: report.format, packet_ms: report.packet as f32 / 48.0, kbits: None },
            received: report.received,
            lost: report.lost,
            late: report.late,
            recovered: report.recovered,
            concealed: report.concealed,
            drift_ppm: report.drift_ppm,
            stretch_ppm: report.stretch_ppm,
            level_db: report.level_db,
            peak_db: report.peak_db,
            volume_db,
            pan,
            muted,
            solo,
            lost_percent,
            late_percent,
            concealed_percent,
            ..PeerStatus::default()
        }
    }
}
