//! The panel's picture as text: a terminal's cells as points.
//!
//! Half blocks have two points in a cell and are as sharp as the display, but take 128 columns and 32 lines; Braille
//! has eight and fits into 64 by 16, so also into a terminal of 80 by 24 (Unicode 16.0, Block Elements and Braille
//! Patterns).

use ::panel::{HEIGHT, Picture, WIDTH};

/// How points become cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cells {
    /// `▀` and `▄`: one column, two lines.
    Half,
    /// Braille: two columns, four lines.
    Braille,
}

/// The points of a Braille cell by column and line, as bits above U+2800.
const BRAILLE: [[u32; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];

impl Cells {
    /// What a terminal of so many columns and lines has room for.
    pub fn for_terminal(columns: u16, lines: u16) -> Option<Cells> {
        let fit = |cells: &Cells| {
            let (width, height) = cells.size();
            usize::from(columns) >= width && usize::from(lines) >= height
        };
        [Cells::Half, Cells::Braille].into_iter().find(fit)
    }

    /// Columns and lines of the whole picture.
    pub fn size(self) -> (usize, usize) {
        match self {
            Cells::Half => (WIDTH, HEIGHT / 2),
            Cells::Braille => (WIDTH / 2, HEIGHT / 4),
        }
    }

    /// The picture, line by line.
    pub fn draw(self, picture: &Picture) -> Vec<String> {
        let (width, height) = self.size();
        let cell = |x, y| match self {
            Cells::Half => half(picture, x, y),
            Cells::Braille => braille(picture, x, y),
        };
        (0..height).map(|y| (0..width).map(|x| cell(x, y)).collect()).collect()
    }
}

fn half(picture: &Picture, x: usize, y: usize) -> char {
    match (picture.lit(x, 2 * y), picture.lit(x, 2 * y + 1)) {
        (true, true) => '█',
        (true, false) => '▀',
        (false, true) => '▄',
        (false, false) => ' ',
    }
}

fn braille(picture: &Picture, x: usize, y: usize) -> char {
    let mut bits = 0;
    for (dx, column) in BRAILLE.iter().enumerate() {
        for (dy, bit) in column.iter().enumerate() {
            bits |= if picture.lit(2 * x + dx, 4 * y + dy) { *bit } else { 0 };
        }
    }
    match bits {
        0 => ' ',
        bits => char::from_u32(0x2800 + bits).expect("one of the 256 Braille patterns"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::panel::Panel;
    use proto::units::Time;

    #[test]
    fn every_point_is_in_its_cell() {
        let picture = Panel::new(Time(0)).draw(Time(0));
        let (half, braille) = (Cells::Half.draw(&picture), Cells::Braille.draw(&picture));
        let cell = |lines: &[String], x: usize, y: usize| lines[y].chars().nth(x).unwrap();
        for (x, y) in (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x, y))) {
            let blocks = if y % 2 == 0 { ['▀', '█'] } else { ['▄', '█'] };
            assert_eq!(blocks.contains(&cell(&half, x, y / 2)), picture.lit(x, y), "{x} {y}");
            let bits = (cell(&braille, x / 2, y / 4) as u32).saturating_sub(0x2800);
            assert_eq!(bits & BRAILLE[x % 2][y % 4] != 0, picture.lit(x, y), "{x} {y}");
        }
    }

    #[test]
    fn it_fits_where_it_is_said_to() {
        assert_eq!(Cells::for_terminal(128, 32), Some(Cells::Half));
        assert_eq!(Cells::for_terminal(80, 24), Some(Cells::Braille));
        assert_eq!((Cells::for_terminal(63, 24), Cells::for_terminal(200, 15)), (None, None));
    }
}
