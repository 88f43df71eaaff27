//! The front panel, pure: [`Panel`] makes pictures and lamps of the box's `Status`, and wishes of its buttons.
//!
//! Nothing here reads a clock or touches a pin: whatever decides takes `now`. Before it come the pins, or the keys
//! of a terminal; [`Buttons`] makes presses of their edges. After it come whatever shows a [`Picture`] of 128 x 64
//! points, and the session, which alone carries out a `Command`. The panel shows what the `Status` says, not what
//! was asked for; only a volume that is being turned is shown before the box has confirmed it.

mod buttons;
mod lamps;
mod letters;
mod meter;
mod pages;
mod panel;
mod picture;
mod verdict;

pub use buttons::{Button, Buttons, Press};
pub use lamps::{LAMPS, Lamp, Light, lights};
pub use panel::{Brightness, Panel};
pub use picture::{HEIGHT, PAGES, Picture, WIDTH};
