//! 128 x 64 points that are lit or dark, laid out as the display's memory is.
//!
//! Pages draw into it with `embedded-graphics`; drivers, terminals and PNG files read it. The layout is that of the
//! SSD1306 and SH1106: eight pages of eight lines, a byte for each column, bit 0 on top (SSD1306 datasheet rev 1.1,
//! section 8.7).

use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use std::convert::Infallible;

/// Columns of the display.
pub const WIDTH: usize = 128;

/// Lines of the display.
pub const HEIGHT: usize = 64;

/// Pages of the display's memory, eight lines each.
pub const PAGES: usize = HEIGHT / 8;

/// What the display shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    pages: [[u8; WIDTH]; PAGES],
}

impl Default for Picture {
    fn default() -> Self {
        Picture { pages: [[0; WIDTH]; PAGES] }
    }
}

impl Picture {
    /// Whether the point in column `x` and line `y` is lit; outside of the display nothing is.
    pub fn lit(&self, x: usize, y: usize) -> bool {
        let byte = self.pages.get(y / 8).and_then(|page| page.get(x));
        byte.is_some_and(|byte| byte >> (y % 8) & 1 == 1)
    }

    /// The bytes as the display's memory has them.
    pub fn pages(&self) -> &[[u8; WIDTH]; PAGES] {
        &self.pages
    }

    /// Lights what is dark and darkens what is lit.
    pub(crate) fn invert(&mut self, area: Rectangle) {
        for point in area.points() {
            let lit = self.at(point);
            self.set(point, !lit);
        }
    }

    /// Fills an area.
    pub(crate) fn fill(&mut self, area: Rectangle, lit: bool) {
        area.points().for_each(|point| self.set(point, lit));
    }

    /// Draws `of`, `scale` times as large, with its upper left corner at `to`.
    pub(crate) fn enlarge(&mut self, of: &Picture, area: Rectangle, scale: u32, to: Point) {
        for point in area.points().filter(|point| of.at(*point)) {
            let corner = to + (point - area.top_left) * scale as i32;
            self.fill(Rectangle::new(corner, Size::new(scale, scale)), true);
        }
    }

    fn at(&self, point: Point) -> bool {
        match (usize::try_from(point.x), usize::try_from(point.y)) {
            (Ok(x), Ok(y)) => self.lit(x, y),
            _ => false,
        }
    }

    fn set(&mut self, point: Point, lit: bool) {
        let (Ok(x), Ok(y)) = (usize::try_from(point.x), usize::try_from(point.y)) else { return };
        let Some(byte) = self.pages.get_mut(y / 8).and_then(|page| page.get_mut(x)) else { return };
        match lit {
            true => *byte |= 1 << (y % 8),
            false => *byte &= !(1 << (y % 8)),
        }
    }
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for y in 0..HEIGHT {
            let line: String = (0..WIDTH).map(|x| if self.lit(x, y) { '#' } else { '.' }).collect();
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

impl OriginDimensions for Picture {
    fn size(&self) -> Size {
        Size::new(WIDTH as u32, HEIGHT as u32)
    }
}

impl DrawTarget for Picture {
    type Color = BinaryColor;
    type Error = Infallible;

    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), Infallible>
    where
        I: IntoIterator<Item = Pixel<BinaryColor>>,
    {
        pixels.into_iter().for_each(|Pixel(point, color)| self.set(point, color.is_on()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_where_the_display_has_it_and_outside_is_nothing() {
        let mut picture = Picture::default();
        for point in [Point::new(5, 9), Point::new(127, 63), Point::new(-1, 3), Point::new(128, 64)] {
            picture.set(point, true);
        }
        assert_eq!((picture.pages[1][5], picture.pages[7][127]), (0b10, 0x80));
        assert!(picture.lit(5, 9) && !picture.lit(5, 8) && !picture.lit(128, 63) && !picture.lit(3, 1_000));
        let lit: u32 = picture.pages.iter().flatten().map(|byte| byte.count_ones()).sum();
        assert_eq!(lit, 2);
    }
}
