//! The table in the terminal: the others, the way to them, and how they are heard.
//!
//! Draws [`Status`] and nothing else, for one box (`matriz`) or several (`matriz demo`).

use proto::control::{PeerStatus, Sends, Status};
use std::fmt::Write;

/// The boxes as text, a line for each pair.
pub fn draw(boxes: &[Status]) -> String {
    let mut text = String::new();
    for status in boxes {
        let Status { name, rendezvous, uptime_ms, level_db, cycles, overruns, sends, .. } = status;
        let seconds = uptime_ms / 1_000;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{name}  {seconds} s, sends {level_db:.0} dB ({}), {overruns} of {cycles} cycles late; rendezvous: \
             {rendezvous}",
            in_words(sends)
        );
        let _ = writeln!(
            text,
            "  {:<16} {:<21} {:>8} {:>8} {:>6} {:>6} {:>6} {:>9} {:>7}",
            "peer", "way", "delay", "depth", "lost", "late", "conc.", "drift", "level"
        );
        if status.peers.is_empty() {
            let _ = writeln!(text, "  nobody else is here yet");
        }
        for peer in &status.peers {
            draw_peer(&mut text, peer);
        }
    }
    text
}

fn draw_peer(text: &mut String, peer: &PeerStatus) {
    let PeerStatus { name, way, depth_ms, lost, late, concealed, drift_ppm, level_db, .. } = peer;
    let delay = peer.delay_ms.map_or_else(|| "-".to_owned(), |delay| format!("{delay:.1} ms"));
    let _ = match peer.connected {
        true => writeln!(
            text,
            "  {name:<16} {way:<21} {delay:>8} {depth_ms:>5.1} ms {lost:>6} {late:>6} {concealed:>6} \
             {drift_ppm:>5.0} ppm {level_db:>4.0} dB"
        ),
        false => writeln!(text, "  {name:<16} {way:<21} is not heard"),
    };
}

/// For instance `Opus mono, 2.5 ms, 96 kbit/s`.
fn in_words(sends: &Sends) -> String {
    let packet = (sends.packet_ms * 100.0).round() / 100.0;
    let rate = sends.kbits.map_or_else(String::new, |kbits| format!(", {kbits:.0} kbit/s"));
    format!("{}, {packet} ms{rate}", sends.format)
}

/// `text`, drawn over what was there before, without a blank moment between the two.
pub fn redraw(text: &str) -> String {
    format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_per_peer_under_the_head() {
        let peer = PeerStatus {
            name: "lisboa".into(),
            connected: true,
            way: "192.0.2.7:8600".into(),
            delay_ms: Some(12.34),
            depth_ms: 2.5,
            drift_ppm: -99.6,
            level_db: -20.0,
            ..Default::default()
        };
        let away = PeerStatus { name: "marte".into(), way: "no way found yet".into(), ..Default::default() };
        let status = Status { name: "porto".into(), peers: vec![peer, away], ..Default::default() };
        let text = draw(&[status]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[2].contains("lisboa") && lines[2].contains("12.3 ms") && lines[2].contains("-100 ppm"));
        assert_eq!(lines[1].len(), lines[2].len(), "the columns stand under their heads:\n{text}");
        assert!(lines[3].contains("marte") && lines[3].contains("not heard"));
    }
}
