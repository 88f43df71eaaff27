//! Whether music is playing, which an update would end.
//!
//! The box that runs is asked through its socket, like any program would (docs/api.md). One that does not answer plays
//! nothing that an update could spoil, and may be what the update is for.

use crate::cli::client::{Client, Failure};
use proto::control::Status;
use std::path::Path;

/// What is going on, as the begin of a sentence; `socket` is the box's, or where one usually is.
///
/// # Errors
/// It cannot be told: a sentence.
pub fn music(socket: Option<&Path>) -> Result<Option<String>, String> {
    match Client::find(socket).and_then(|mut client| client.status()) {
        Ok(status) => Ok(going_on(&status)),
        Err(Failure::NoBox(why)) => {
            tracing::info!("nobody plays: {why}");
            Ok(None)
        }
        Err(failure) => Err(format!("whether music is playing cannot be told ({failure})")),
    }
}

fn going_on(status: &Status) -> Option<String> {
    let heard = status.peers.iter().filter(|peer| peer.connected).map(|peer| peer.name.as_str());
    let heard: Vec<&str> = heard.filter(|_| status.in_session).collect();
    match (&status.recording, heard.is_empty()) {
        (Some(_), _) => Some(format!("{} is recording", status.name)),
        (None, false) => Some(format!("{} plays with {}", status.name, heard.join(", "))),
        (None, true) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::control::PeerStatus;

    #[test]
    fn music_is_somebody_who_is_heard_or_a_recording() {
        let peer =
            |name: &str, connected| PeerStatus { name: name.to_owned(), connected, ..PeerStatus::default() };
        let mut status = Status { name: "porto".to_owned(), in_session: true, ..Status::default() };
        assert_eq!(going_on(&status), None);
        status.peers = vec![peer("gaia", false)];
        assert_eq!(going_on(&status), None);
        status.peers.extend([peer("lisboa", true), peer("faro", true)]);
        assert_eq!(going_on(&status).unwrap(), "porto plays with lisboa, faro");
        status.in_session = false;
        assert_eq!(going_on(&status), None);
        status.recording = Some("takes/a".to_owned());
        assert_eq!(going_on(&status).unwrap(), "porto is recording");
    }

    #[test]
    fn where_no_box_is_nobody_plays() {
        assert_eq!(music(Some(Path::new("/nowhere/a.sock"))), Ok(None));
    }
}
