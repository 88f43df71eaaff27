//! What boxes tell each other by RTCP: reports as of RFC 3550, and in an application packet of our own how each receives
//! the other in detail, and whether it has muted itself.
//!
//! Written when a peer's report is due, read when one comes; [`super::line`] judges what it says. The bytes are described
//! in docs/protocol.md.

use super::Identity;
use super::line::Reception;
use super::peer::Peer;
use crate::control::Report;
use crate::rtcp::{self, Writer};
use crate::units::{Time, nanos_to_frames};

/// Marks our own reports among RTCP's application packets: how a peer is received, in detail.
pub(super) const REPORT: [u8; 4] = *b"MTRZ";

/// Of the flags in it: the box has muted itself.
const MUTED: u32 = 1;

/// [`Reception`] and flags as the data of an application packet: five numbers of 32 bits.
fn write_reception(reception: Reception, muted: bool) -> [u8; 20] {
    let Reception { received, lost, bursts, patience_us } = reception;
    let flags = if muted { MUTED } else { 0 };
    let mut data = [0; 20];
    for (word, value) in data.chunks_exact_mut(4).zip([received, lost, bursts, patience_us, flags]) {
        word.copy_from_slice(&value.to_be_bytes());
    }
    data
}

/// The reverse; longer data is from a newer box, which says more, and an older one has no flags.
pub(super) fn read_reception(data: &[u8]) -> Option<(Reception, bool)> {
    let word = |n: usize| data.get(4 * n..4 * n + 4)?.try_into().ok().map(u32::from_be_bytes);
    let [received, lost, bursts, patience_us] = [word(0)?, word(1)?, word(2)?, word(3)?];
    Some((Reception { received, lost, bursts, patience_us }, word(4).unwrap_or(0) & MUTED != 0))
}

/// A report to one peer: what we sent, how we hear it, and our name (RFC 3550 section 6.1); between the
/// whole ones only how we receive it.
pub(super) fn write_control(
    bytes: &mut Vec<u8>,
    identity: &Identity,
    report: &Report,
    peer: &mut Peer,
    now: Time,
) {
    let reception = write_reception(peer.reception(identity.depth), report.muted);
    if !peer.is_whole_report() {
        Writer::new(bytes).app(identity.ssrc, 1, REPORT, &reception);
        return;
    }
    let elapsed = nanos_to_frames(now.nanos_since(report.time)) as i64;
    let rtp = (report.frame + elapsed) as u32;
    Writer::new(bytes)
        .sender_report(
            identity.ssrc,
            rtcp::ntp_from_nanos(now.0),
            rtp.wrapping_add(identity.timestamp_offset),
            report.sent as u32,
            report.sent_bytes as u32,
            &[peer.block(now)],
        )
        .source_description(identity.ssrc, &identity.name)
        .app(identity.ssrc, 1, REPORT, &reception);
}
