//! What people wish of the session: mute, faders, leave and come back, another name.
//!
//! Before it: a [`Command`] from a button, the command line or the API. After it: cues for the engine, and a word
//! to the others. A cue is said again until the engine's report has it, so the status can show the report.

use super::guest::Guests;
use super::peer::Peer;
use super::{Action, Session};
use crate::control::{Command, Cue, Gains};
use crate::desk::{Desk, Fader};
use crate::units::Time;

impl Session {
    /// Begins with what people had set before: for a session that follows another one, or a restart.
    pub fn take_over(&mut self, desk: Desk) {
        self.desk = desk;
        if !self.desk.in_session {
            self.rendezvous = LEFT.to_owned();
            self.actions.push_back(Action::Disconnect);
        }
        self.follow_desk(false);
    }

    /// What people have set.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Carries out what somebody wishes.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it: nobody of that name, a value out of range, or that the body must
    /// do it ([`Command::Name`], [`Command::Record`], [`Command::PowerOff`]).
    pub fn handle_command(&mut self, now: Time, command: &Command) -> Result<(), String> {
        let was_in = self.desk.in_session;
        self.desk.handle(command)?;
        match (was_in, self.desk.in_session) {
            (true, false) => self.leave_session(),
            (false, true) => self.join_session(now),
            _ => {}
        }
        self.follow_desk(false);
        self.tell_everybody(now);
        Ok(())
    }

    /// Goes by another name from now on: leaves as the old one and comes back as the new one.
    pub fn rename(&mut self, now: Time, name: &str) {
        if self.identity.name == name {
            return;
        }
        let takes_part = self.desk.in_session;
        if takes_part {
            self.leave_session();
        }
        self.identity.name = name.to_owned();
        if takes_part {
            self.join_session(now);
        }
    }

    /// Says goodbye to everybody, and hears nobody any more. The card goes on.
    fn leave_session(&mut self) {
        self.leave();
        for peer in std::mem::take(&mut self.peers) {
            self.actions.push_back(Action::Engine(Cue::Leave { slot: peer.slot }));
            self.actions.push_back(Action::Unroute { slot: peer.slot });
        }
        self.part_guests();
        self.listed.clear();
        self.offer_due = None;
        self.rendezvous = LEFT.to_owned();
        self.actions.push_back(Action::Disconnect);
        self.say("left the session".to_owned());
        self.follow_pace();
    }

    fn join_session(&mut self, now: Time) {
        self.meet_fixed(now);
        self.rendezvous = "not connected yet".to_owned();
        self.actions.push_back(Action::Connect(Session::hello(&self.identity)));
        self.say("joining the session".to_owned());
    }

    /// Tells the engine what the desk says, if it was not told so; `again`, if its report does not have it.
    pub(super) fn follow_desk(&mut self, again: bool) {
        let mut cues = Vec::new();
        let Desk { muted, gain_db, .. } = self.desk;
        let told = std::mem::replace(&mut self.told, (muted, gain_db));
        if muted != told.0 || (again && muted != self.report.muted) {
            cues.push(Cue::Mute { on: muted });
        }
        if let Some(db) = gain_db
            && (told.1 != gain_db || (again && db != self.report.gain_db))
        {
            cues.push(Cue::Gain { db });
        }
        let somebody_solo = self.is_somebody_solo();
        for Channel { name, slot, told, .. } in channels(&mut self.peers, &mut self.guests) {
            let gains = self.desk.fader(name).gains(somebody_solo);
            let told = std::mem::replace(told, gains);
            if gains != told || (again && gains != self.report.peers[usize::from(slot)].gains) {
                cues.push(Cue::Fader { slot, gains });
            }
        }
        self.actions.extend(cues.into_iter().map(Action::Engine));
    }

    /// The status shows a fader when the engine has it.
    pub(super) fn confirm_faders(&mut self) {
        let somebody_solo = self.is_somebody_solo();
        for Channel { name, slot, fader, .. } in channels(&mut self.peers, &mut self.guests) {
            let wished = self.desk.fader(name);
            if self.report.peers[usize::from(slot)].gains == wished.gains(somebody_solo) {
                *fader = wished;
            }
        }
    }

    /// Only who is here counts: a solo of somebody who has left would be silence that nobody understands.
    fn is_somebody_solo(&self) -> bool {
        self.slots().any(|(_, name)| self.desk.fader(name).solo)
    }

    /// The next report to everybody is sent at once: it has news.
    pub(super) fn tell_everybody(&mut self, now: Time) {
        for peer in self.peers.iter_mut().filter(|peer| peer.way.is_some()) {
            peer.next_control = now;
        }
    }
}

/// Somebody who is heard, as the desk sees it.
pub(super) struct Channel<'a> {
    pub name: &'a str,
    pub slot: u8,
    /// What the engine was last told of its fader, and the fader that the engine has.
    pub told: &'a mut Gains,
    pub fader: &'a mut Fader,
}

fn channels<'a>(peers: &'a mut [Peer], guests: &'a mut Guests) -> impl Iterator<Item = Channel<'a>> {
    let channel = |peer: &'a mut Peer| {
        let Peer { name, slot, told, fader, .. } = peer;
        Channel { name, slot: *slot, told, fader }
    };
    peers.iter_mut().map(channel).chain(guests.channels())
}

/// What the status says in place of the rendezvous.
const LEFT: &str = "the session has been left; join it to come back";
