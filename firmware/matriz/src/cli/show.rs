//! What `matriz status` and `matriz peers` print.
//!
//! Made of [`Status`] alone. The table of the box itself is `crate::table`, which this puts what people have set under.

use crate::table;
use proto::control::{PeerStatus, Status};
use std::fmt::Write;

/// The whole status.
pub fn status(status: &Status) -> String {
    let mut text = table::draw(std::slice::from_ref(status));
    let mut line = |what: &str, how: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {what:<10} {how}");
    };
    line("session", session(status).to_owned());
    line("input", input(status));
    line("card", card(status));
    if let Some(system) = &status.machine.system {
        let pending = system.pending.as_ref().map_or_else(String::new, |pending| format!(", {pending}"));
        line("system", format!("{} in slot {}{pending}", system.version, system.slot));
        if let Some(failed) = &system.failed {
            line("update", failed.clone());
        }
    }
    if let Some(update) = &status.machine.update {
        line("update", update.clone());
    }
    if let Some(folder) = &status.recording {
        line("recording", folder.clone());
    }
    for peer in status.peers.iter().filter(|peer| !settings(peer).is_empty()) {
        line(&peer.name, settings(peer));
    }
    for message in &status.messages {
        line("message", message.clone());
    }
    text
}

/// A line for each of the others.
pub fn peers(status: &Status) -> String {
    let mut text = String::new();
    for peer in &status.peers {
        let heard = if peer.connected { "heard" } else { "not heard" };
        let settings = settings(peer);
        let set = if settings.is_empty() { "as it comes" } else { &settings };
        let _ = writeln!(text, "{:<24} {heard:<9} {set}", peer.name);
    }
    if status.peers.is_empty() {
        text.push_str("nobody else is here\n");
    }
    text
}

/// Whether the box takes part.
pub fn session(status: &Status) -> &'static str {
    if status.in_session { "takes part" } else { "has left; `matriz join` comes back" }
}

/// The own input in words.
pub fn input(status: &Status) -> String {
    let muted = if status.muted { ", muted" } else { "" };
    let clips = if status.clips { ", TOO LOUD: turn the input down" } else { "" };
    format!("gain {:+.1} dB, peak {:.0} dB{muted}{clips}", status.gain_db, status.peak_db)
}

fn card(status: &Status) -> String {
    let machine = &status.machine;
    let celsius = machine.celsius.map_or_else(String::new, |celsius| format!(", processor {celsius:.0} °C"));
    match machine.plays {
        true => format!("{}, period {}, {} xruns{celsius}", machine.card, machine.period, machine.xruns),
        false => format!("none: {}", machine.card),
    }
}

/// How one of the others is set here; empty if nothing is.
pub fn settings(peer: &PeerStatus) -> String {
    let mut words = Vec::new();
    if peer.volume_db != 0.0 {
        words.push(format!("volume {:+.1} dB", peer.volume_db));
    }
    if peer.pan != 0.0 {
        let side = if peer.pan < 0.0 { "left" } else { "right" };
        words.push(format!("pan {:.0} % {side}", peer.pan.abs() * 100.0));
    }
    for (is_so, word) in [(peer.muted, "muted"), (peer.solo, "solo"), (peer.muted_itself, "has muted itself")]
    {
        if is_so {
            words.push(word.to_owned());
        }
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::control::{Machine, System};

    #[test]
    fn what_is_set_is_said_and_what_is_not_is_not() {
        let mut lisboa = PeerStatus { name: "lisboa".to_owned(), connected: true, ..PeerStatus::default() };
        let quiet = Status {
            name: "porto".to_owned(),
            in_session: true,
            peers: vec![lisboa.clone()],
            ..Status::default()
        };
        let text = status(&quiet);
        assert!(
            text.contains("takes part") && !text.contains("muted") && !text.contains("message"),
            "{text}"
        );
        assert!(peers(&quiet).contains("as it comes"));
        (lisboa.volume_db, lisboa.pan, lisboa.muted, lisboa.solo, lisboa.muted_itself) =
            (-6.0, -0.5, true, true, true);
        assert_eq!(settings(&lisboa), "volume -6.0 dB, pan 50 % left, muted, solo, has muted itself");
        let loud = Status {
            muted: true,
            clips: true,
            peers: vec![lisboa],
            recording: Some("takes/a".to_owned()),
            messages: vec!["the disk is full".to_owned()],
            machine: Machine {
                card: "Scarlett".to_owned(),
                plays: true,
                period: 120,
                system: Some(System {
                    slot: "A".to_owned(),
                    version: "1.0.0".to_owned(),
                    pending: Some("1.2.0 is tried at the next start".to_owned()),
                    failed: Some("1.1.0 failed: it did not start, running 1.0.0".to_owned()),
                }),
                update: Some("installing 40 %".to_owned()),
                ..Machine::default()
            },
            ..quiet
        };
        let text = status(&loud);
        for words in [
            "muted, TOO LOUD",
            "takes/a",
            "the disk is full",
            "Scarlett, period 120",
            "volume -6.0 dB",
            "1.0.0 in slot A, 1.2.0 is tried at the next start",
            "1.1.0 failed: it did not start, running 1.0.0",
            "installing 40 %",
        ] {
            assert!(text.contains(words), "{words} is missing:\n{text}");
        }
    }
}
