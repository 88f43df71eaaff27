//! `matriz status --watch`: the live table on the whole screen, with meters.
//!
//! Asks the box ten times a second and draws what it says. [`draw`] knows nothing but the status and the screen's
//! size, so a test draws on paper. q, Esc or Ctrl-C end it.

use super::client::{Client, Failure};
use super::show;
use proto::control::{PeerStatus, Status};
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table};
use std::io::IsTerminal;
use std::time::Duration;

/// How often the screen is drawn: the engine's meters move as often.
const EVERY: Duration = Duration::from_millis(100);

/// Cells of a meter, and what it shows from its left to its right end, in dB full scale.
const METER: usize = 20;
const LEAST_DB: f32 = -60.0;

/// Shows the box until a key ends it.
pub fn run(mut client: Client) -> Result<(), Failure> {
    if !std::io::stdout().is_terminal() {
        let what = "--watch draws on a terminal, and this is none: use --json, or leave --watch out";
        return Err(Failure::Here(what.to_owned()));
    }
    // Before the screen is taken: what is wrong then is said where it can be read.
    let mut status = client.status()?;
    let mut terminal = ratatui::init();
    let ended = loop {
        if let Err(error) = terminal.draw(|frame| draw(frame, &status)) {
            break Err(Failure::Here(format!("the terminal cannot be drawn on: {error}")));
        }
        match is_over() {
            Ok(true) => break Ok(()),
            Ok(false) => {}
            Err(error) => break Err(Failure::Here(format!("the keyboard cannot be read: {error}"))),
        }
        match client.status() {
            Ok(now) => status = now,
            Err(failure) => break Err(failure),
        }
    };
    ratatui::restore();
    ended
}

/// Waits until it is time to draw again; true if a key says that it is enough.
fn is_over() -> std::io::Result<bool> {
    if !event::poll(EVERY)? {
        return Ok(false);
    }
    let Event::Key(key) = event::read()? else { return Ok(false) };
    let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    let ends = control_c || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc);
    Ok(key.kind == KeyEventKind::Press && ends)
}

/// Draws the status.
pub fn draw(frame: &mut Frame, status: &Status) {
    let messages = status.messages.len().min(3) as u16;
    let rows =
        [Constraint::Length(3), Constraint::Min(2), Constraint::Length(messages), Constraint::Length(1)];
    let [head, peers, below, keys] = Layout::vertical(rows).areas(frame.area());
    frame.render_widget(Paragraph::new(head_lines(status)), head);
    frame.render_widget(peer_table(status), peers);
    let warning = Style::new().fg(Color::Yellow);
    let lines = status.messages.iter().take(3).map(|message| Line::styled(message.clone(), warning));
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), below);
    frame.render_widget(Paragraph::new(Line::styled("q ends this; the box plays on", dim())), keys);
}

fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

fn head_lines(status: &Status) -> Vec<Line<'static>> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let session =
        if status.in_session { status.rendezvous.clone() } else { show::session(status).to_owned() };
    let name = Line::from(vec![Span::styled(status.name.clone(), bold), Span::raw(format!("   {session}"))]);
    let meter = meter(status.level_db, status.peak_db);
    let own = Line::from(format!("{:<16}{meter} {}", "you", show::input(status)));
    let own = if status.clips { own.style(Style::new().fg(Color::Red)) } else { own };
    let machine = &status.machine;
    let card = match machine.plays {
        true => format!(
            "{}, period {}, {} xruns, {} late",
            machine.card, machine.period, machine.xruns, status.overruns
        ),
        false => machine.card.clone(),
    };
    vec![name, own, Line::styled(card, dim())]
}

fn peer_table(status: &Status) -> Table<'static> {
    let head = ["peer", "level", "delay", "depth", "lost", "late", "set"].map(Cell::from);
    let widths = [16, METER as u16, 7, 6, 5, 5, 15].map(Constraint::Length);
    let rows = status.peers.iter().map(row);
    Table::new(rows, widths).header(Row::new(head).style(dim())).column_spacing(1)
}

fn row(peer: &PeerStatus) -> Row<'static> {
    if !peer.connected {
        let name = peer.name.clone();
        return Row::new([name, "is not heard".to_owned()]).style(dim());
    }
    let delay = peer.delay_ms.map_or_else(|| "-".to_owned(), |delay| format!("{delay:.1} ms"));
    let set = if peer.muted_itself && !peer.muted { "muted itself".to_owned() } else { short(peer) };
    let cells = [
        peer.name.clone(),
        meter(peer.level_db, peer.peak_db),
        delay,
        format!("{:.1}", peer.depth_ms),
        format!("{:.1}%", peer.lost_percent),
        format!("{:.1}%", peer.late_percent),
        set,
    ];
    let style = if peer.muted || peer.muted_itself { dim() } else { Style::new() };
    Row::new(cells).style(style)
}

/// How a peer is set here, in 15 cells.
fn short(peer: &PeerStatus) -> String {
    if peer.muted {
        return "muted".to_owned();
    }
    let solo = if peer.solo { "S " } else { "" };
    let volume = if peer.volume_db == 0.0 { String::new() } else { format!("{:+.0}dB ", peer.volume_db) };
    let pan = match peer.pan {
        0.0 => String::new(),
        pan if pan < 0.0 => format!("L{:.0}", pan.abs() * 100.0),
        pan => format!("R{:.0}", pan * 100.0),
    };
    format!("{solo}{volume}{pan}").trim_end().to_owned()
}

/// A meter of 20 cells: the level as a bar, the peak as a line.
fn meter(level_db: f32, peak_db: f32) -> String {
    let cells = |db: f32| ((db - LEAST_DB) / -LEAST_DB * METER as f32).clamp(0.0, METER as f32) as usize;
    let (level, peak) = (cells(level_db), cells(peak_db).min(METER - 1));
    let cell = |at: usize| match at {
        _ if at < level => '█',
        _ if at == peak && peak_db > LEAST_DB => '│',
        _ => '·',
    };
    (0..METER).map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn drawn(status: &Status, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, status)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..height).map(line).collect()
    }

    fn full() -> Status {
        let peer = |n: usize| PeerStatus {
            name: format!("a long name of box {n:02} "),
            connected: n != 3,
            level_db: -18.0,
            peak_db: -6.0,
            delay_ms: Some(123.4),
            depth_ms: 12.3,
            lost_percent: 99.9,
            late_percent: 100.0,
            volume_db: -60.0,
            pan: -1.0,
            solo: true,
            ..PeerStatus::default()
        };
        Status {
            name: "porto".to_owned(),
            rendezvous: "connected".to_owned(),
            in_session: true,
            peers: (0..15).map(peer).collect(),
            messages: vec!["the disk is full".to_owned(); 5],
            ..Status::default()
        }
    }

    #[test]
    fn fifteen_peers_and_three_messages_fit_80_by_24() {
        let lines = drawn(&full(), 80, 24);
        for n in 0..15 {
            let line = &lines[4 + n];
            assert!(line.starts_with("a long name of b"), "{lines:#?}");
            assert_eq!(line.contains("is not heard"), n == 3, "{line}");
            assert_eq!(line.ends_with("100.0 S -60dB L100"), n != 3, "{line}");
        }
        assert_eq!(lines.iter().filter(|line| line.contains("the disk is full")).count(), 3);
        assert!(lines[23].starts_with("q ends"), "{lines:#?}");
    }

    #[test]
    fn a_screen_of_any_size_is_drawn_on() {
        for (width, height) in [(1, 1), (7, 3), (20, 5), (200, 60)] {
            drawn(&full(), width, height);
            drawn(&Status::default(), width, height);
        }
    }

    #[test]
    fn a_meter_goes_from_one_end_to_the_other() {
        assert_eq!(meter(-120.0, -120.0), "·".repeat(20));
        assert_eq!(meter(0.0, 0.0), "█".repeat(20));
        assert_eq!(meter(-30.0, -15.0), format!("{}{}│{}", "█".repeat(10), "·".repeat(5), "·".repeat(4)));
    }
}
