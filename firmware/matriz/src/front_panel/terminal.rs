//! `matriz panel`: a box's front panel in the terminal, keys as buttons, or as a picture in a file.
//!
//! The same [`Panel`] as behind the display, so what is seen here is what is seen there. The status comes from
//! [`Source`]; a wish goes back to the box, which alone carries it out.

use super::Cells;
use super::source::Source;
use crate::body::Stop;
use crate::clock;
use ::panel::{Brightness, Button, HEIGHT, LAMPS, Lamp, Panel, Picture, Press, WIDTH};
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::{cursor, execute, terminal};
use proto::units::Time;
use std::io::{IsTerminal, Write, stdout};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What `matriz panel` is told on its command line.
#[derive(Args)]
pub struct Options {
    /// The box's socket [default: of the one box that plays here]
    #[arg(long, value_name = "PATH", conflicts_with = "status")]
    socket: Option<PathBuf>,
    /// Lines of `matriz --json` instead: a file, or - for standard input
    #[arg(long, value_name = "FILE")]
    status: Option<PathBuf>,
    /// Write the page as a picture into this file and end
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
    /// The page to begin with
    #[arg(long, value_enum, default_value_t = Page::Play)]
    page: Page,
}

/// The pages by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Page {
    Play,
    Line,
    Box,
    Message,
}

/// How often it is drawn, as on the box.
const FRAME: Duration = Duration::from_nanos(1_000_000_000 / 15);

/// How long to wait for the first status, for a picture.
const FIRST: Duration = Duration::from_secs(10);

/// Points of a picture in a file for one of the display, both ways.
const SCALE: usize = 4;

/// Colours of an OLED: lit and dark points.
const LIT: [u8; 3] = [210, 238, 255];
const DARK: [u8; 3] = [8, 12, 18];

/// What the keys are, in the line below the picture.
const KEYS: &str = "m mute  M leave  - + volume  n next  p page  O off  q quit";

/// Lines of the lamps, the keys and the sentence below the picture.
const BELOW: u16 = 3;

/// Shows the panel until `q`, or writes it.
///
/// # Errors
/// The box is not there, the terminal is none or too small, the file cannot be written: a sentence.
pub fn show(options: &Options) -> anyhow::Result<()> {
    let source = match &options.status {
        Some(path) => Source::of_lines(path)?,
        None => Source::of_box(options.socket.as_deref())?,
    };
    match &options.png {
        Some(file) => write(options, &source, file),
        None => watch(options, source),
    }
}

/// Opens the page that was asked for.
fn open(panel: &mut Panel, now: Time, page: Page) {
    panel.handle_press(now, Press::Double(Button::Page));
    (0..page as usize).for_each(|_| panel.handle_press(now, Press::Short(Button::Page)));
}

fn write(options: &Options, source: &Source, file: &Path) -> anyhow::Result<()> {
    let begun = std::time::Instant::now();
    let status = loop {
        if let Some(status) = source.status() {
            break status;
        }
        if source.is_over() || begun.elapsed() > FIRST {
            bail!("no status has come ({})", source.sentence().unwrap_or_else(|| "nothing".to_owned()));
        }
        std::thread::sleep(FRAME);
    };
    if options.page == Page::Message && status.messages.is_empty() {
        bail!("the box has no message");
    }
    let now = clock::now();
    let mut panel = Panel::new(now);
    panel.handle_status(now, status);
    open(&mut panel, now, options.page);
    save(&panel.draw(now), file).with_context(|| format!("{} cannot be written", file.display()))
}

/// Writes a picture as PNG, enlarged.
fn save(picture: &Picture, file: &Path) -> anyhow::Result<()> {
    let to = std::io::BufWriter::new(std::fs::File::create(file)?);
    let mut encoder = png::Encoder::new(to, (WIDTH * SCALE) as u32, (HEIGHT * SCALE) as u32);
    encoder.set_color(png::ColorType::Rgb);
    let points = (0..HEIGHT * SCALE).flat_map(|y| (0..WIDTH * SCALE).map(move |x| (x / SCALE, y / SCALE)));
    let bytes: Vec<u8> = points.flat_map(|(x, y)| if picture.lit(x, y) { LIT } else { DARK }).collect();
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&bytes)?;
    Ok(writer.finish()?)
}

fn watch(options: &Options, mut source: Source) -> anyhow::Result<()> {
    if !stdout().is_terminal() {
        bail!("standard output is no terminal; --png FILE writes a picture");
    }
    let ended = told_to_end()?;
    let _raw = Raw::begin()?;
    let mut panel = Panel::new(clock::now());
    let (mut last, mut drawn) = (None, String::new());
    open(&mut panel, clock::now(), options.page);
    while !ended.load(Ordering::Relaxed) {
        let news = source.status();
        let is_new = news.is_some();
        last = news.or(last);
        // The last line of a file does not grow old.
        if let Some(status) = last.as_ref().filter(|_| is_new || source.is_over()) {
            panel.handle_status(clock::now(), status.clone());
        }
        let text = draw(&panel, clock::now(), terminal::size()?, source.sentence().as_deref());
        if text != drawn {
            write!(stdout(), "\x1b[H{text}\x1b[J")?;
            stdout().flush()?;
            drawn = text;
        }
        while event::poll(FRAME)? {
            match event::read()? {
                Event::Key(key) if key.kind == KeyEventKind::Release => {}
                Event::Key(key) if is_end(key) => return Ok(()),
                Event::Key(key) => {
                    presses(key.code).iter().for_each(|press| panel.handle_press(clock::now(), *press));
                    break;
                }
                Event::Resize(..) => {
                    drawn.clear();
                    break;
                }
                _ => {}
            }
        }
        while let Some(wish) = panel.poll(clock::now()) {
            source.wish(&wish);
        }
    }
    Ok(())
}

/// Becomes true when the program is told to end (SIGTERM; Ctrl-C is a key here), so that the terminal is given back.
fn told_to_end() -> anyhow::Result<Arc<AtomicBool>> {
    let ended = Arc::new(AtomicBool::new(false));
    let inner = Arc::clone(&ended);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut stop = runtime.block_on(async { Stop::new() }).context("signals cannot be caught")?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(stop.wait());
        inner.store(true, Ordering::Relaxed);
    })?;
    Ok(ended)
}

/// The whole screen: picture, lamps, keys, and a sentence if there is one.
fn draw(panel: &Panel, now: Time, (columns, lines): (u16, u16), sentence: Option<&str>) -> String {
    let Some(cells) = Cells::for_terminal(columns, lines.saturating_sub(BELOW)) else {
        return "The panel wants a terminal of 64 columns and 19 lines.\x1b[K".to_owned();
    };
    let dim = panel.brightness(now) == Brightness::Dim;
    let mut rows = cells.draw(&panel.draw(now));
    if dim {
        rows.iter_mut().for_each(|row| *row = format!("\x1b[2m{row}\x1b[0m"));
    }
    let lamps = LAMPS.into_iter().zip(panel.lights(now));
    let lamps =
        lamps.map(|(lamp, light)| format!("{} {}", if light.lit(now) { '●' } else { '○' }, name(lamp)));
    rows.push(lamps.collect::<Vec<_>>().join("   "));
    rows.push(KEYS.to_owned());
    let fits = |letter: &char| !letter.is_control();
    rows.push(sentence.unwrap_or_default().chars().filter(fits).take(usize::from(columns)).collect());
    rows.iter().map(|row| format!("{row}\x1b[K")).collect::<Vec<_>>().join("\r\n")
}

fn name(lamp: Lamp) -> &'static str {
    match lamp {
        Lamp::Health => "health",
        Lamp::Session => "session",
        Lamp::Signal => "signal",
        Lamp::Trouble => "trouble",
    }
}

fn is_end(key: KeyEvent) -> bool {
    let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    control_c || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
}

/// What a finger would have done.
pub fn presses(key: KeyCode) -> Vec<Press> {
    let short = |button| vec![Press::Begins(button), Press::Short(button)];
    match key {
        KeyCode::Char('m') => short(Button::Mute),
        KeyCode::Char('M') => vec![Press::Long(Button::Mute)],
        KeyCode::Char('-') | KeyCode::Down => short(Button::Down),
        KeyCode::Char('+' | '=') | KeyCode::Up => short(Button::Up),
        KeyCode::Char('n') | KeyCode::Tab => vec![Press::Begins(Button::Up), Press::Both],
        KeyCode::Char('p' | ' ') => short(Button::Page),
        KeyCode::Char('O') => vec![Press::Begins(Button::Page), Press::Long(Button::Page)],
        _ => Vec::new(),
    }
}

/// The terminal while the panel has it; given back however this ends.
struct Raw;

impl Raw {
    fn begin() -> anyhow::Result<Raw> {
        terminal::enable_raw_mode().context("the keys of this terminal cannot be read")?;
        let raw = Raw;
        execute!(stdout(), terminal::EnterAlternateScreen, cursor::Hide)?;
        Ok(raw)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = execute!(stdout(), cursor::Show, terminal::LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_a_press_by_chance() {
        let button = |key| presses(key).last().copied();
        assert_eq!(button(KeyCode::Char('m')), Some(Press::Short(Button::Mute)));
        assert_eq!(button(KeyCode::Char('M')), Some(Press::Long(Button::Mute)));
        assert_eq!(button(KeyCode::Char('-')), Some(Press::Short(Button::Down)));
        assert_eq!(button(KeyCode::Up), Some(Press::Short(Button::Up)));
        assert_eq!(button(KeyCode::Tab), Some(Press::Both));
        assert_eq!(button(KeyCode::Char(' ')), Some(Press::Short(Button::Page)));
        assert_eq!(button(KeyCode::Char('O')), Some(Press::Long(Button::Page)));
        assert_eq!((button(KeyCode::Char('x')), button(KeyCode::Enter)), (None, None));
    }
}
