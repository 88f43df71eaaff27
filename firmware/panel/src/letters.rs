//! Letters: the faces that the pages are set in, and how a text is made to fit.
//!
//! A face is one size of the fixed fonts of X11 that come with `embedded-graphics`, in all the alphabets of Europe
//! that ISO 8859 has: a letter is taken from the first part that knows it. Nothing is cut off: a name that is too
//! long loses its middle, for what tells two long names apart is often their end; a sentence is wrapped.

use crate::picture::Picture;
use embedded_graphics::mono_font::{
    MonoFont, MonoTextStyle, iso_8859_2, iso_8859_3, iso_8859_4, iso_8859_5, iso_8859_7, iso_8859_9,
    iso_8859_10, iso_8859_13, iso_8859_14, iso_8859_15, iso_8859_16,
};
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::prelude::*;
use embedded_graphics::text::{Baseline, Text};

/// One size of letters.
pub(crate) struct Face {
    /// The same size in all alphabets; the first that has a letter draws it.
    fonts: [&'static MonoFont<'static>; 11],
    /// Points from one letter to the next.
    pub(crate) width: i32,
    /// Points from the top of an accent to the bottom of a g.
    pub(crate) height: i32,
}

/// The alphabets of one font. A function cannot be given a name that each of eleven modules has.
macro_rules! face {
    ($font:ident, $width:literal, $height:literal) => {
        Face {
            fonts: [
                &iso_8859_15::$font, // the west
                &iso_8859_2::$font,  // the middle
                &iso_8859_16::$font, // the south-east
                &iso_8859_3::$font,  // Maltese
                &iso_8859_9::$font,  // Turkish
                &iso_8859_13::$font, // the Baltic
                &iso_8859_4::$font,
                &iso_8859_10::$font, // the north
                &iso_8859_14::$font, // Celtic
                &iso_8859_5::$font,  // Cyrillic
                &iso_8859_7::$font,  // Greek
            ],
            width: $width,
            height: $height,
        }
    };
}

/// Marks, units and long sentences.
pub(crate) static SMALL: Face = face!(FONT_6X10, 6, 10);
/// Facts and short sentences: 18 letters are a line.
pub(crate) static TEXT: Face = face!(FONT_7X13, 7, 13);
/// Names and heads.
pub(crate) static BOLD: Face = face!(FONT_7X13_BOLD, 7, 13);
/// Numbers that are read from afar.
pub(crate) static LARGE: Face = face!(FONT_9X18_BOLD, 9, 18);

/// What stands for letters that were left out.
const ELLIPSIS: char = '…';

impl Face {
    /// How many points `text` takes from left to right.
    pub(crate) fn measure(&self, text: &str) -> i32 {
        plain(text).count() as i32 * self.width
    }

    /// Draws `text` with the upper left corner of its first letter at `x`, `y`.
    pub(crate) fn draw(&self, picture: &mut Picture, x: i32, y: i32, text: &str) {
        let mut here = Point::new(x, y);
        for letter in plain(text) {
            self.draw_letter(picture, here, letter);
            here.x += self.width;
        }
    }

    /// Draws `text` so that it ends before column `right`.
    pub(crate) fn draw_right(&self, picture: &mut Picture, right: i32, y: i32, text: &str) {
        self.draw(picture, right - self.measure(text), y, text);
    }

    /// Draws `text` in the middle of the line.
    pub(crate) fn draw_middle(&self, picture: &mut Picture, y: i32, text: &str) {
        self.draw(picture, (128 - self.measure(text)) / 2, y, text);
    }

    fn draw_letter(&self, picture: &mut Picture, at: Point, letter: char) {
        let baseline = self.fonts[0].baseline as i32;
        if letter == ELLIPSIS {
            // No part of ISO 8859 has one.
            let dots = [0, 1, 2].map(|dot| at + Point::new(self.width * dot / 3 + 1, baseline));
            let Ok(()) = picture.draw_iter(dots.map(|dot| Pixel(dot, BinaryColor::On)));
            return;
        }
        let font = self.fonts.iter().find(|font| has(font, letter)).unwrap_or(&self.fonts[0]);
        let style = MonoTextStyle::new(font, BinaryColor::On);
        let mut bytes = [0; 4];
        let text = letter.encode_utf8(&mut bytes);
        let Ok(_) = Text::with_baseline(text, at, style, Baseline::Top).draw(picture);
    }
}

/// Whether the font knows the letter; for one that it does not know it draws a question mark.
fn has(font: &MonoFont, letter: char) -> bool {
    letter == '?' || font.glyph_mapping.index(letter) != font.glyph_mapping.index('?')
}

/// The letters of `text` as a face can draw them: what typesetting has many of becomes what typewriters have one of,
/// and accents that stand alone (U+0300 to U+036F) are left out.
fn plain(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(|letter| !('\u{300}'..='\u{36f}').contains(letter)).map(|letter| match letter {
        '−' | '–' | '—' | '‐' | '‑' => '-',
        '‘' | '’' => '\'',
        '“' | '”' | '„' => '"',
        letter if letter.is_control() => ' ',
        letter => letter,
    })
}

/// `text` in at most `most` letters: too long, its middle is left out.
pub(crate) fn shorten(text: &str, most: usize) -> String {
    let letters: Vec<char> = plain(text).collect();
    if letters.len() <= most || most < 3 {
        return letters.into_iter().take(most).collect();
    }
    let tail = (most - 1) / 3;
    let head: String = letters[..most - 1 - tail].iter().collect();
    let tail: String = letters[letters.len() - tail..].iter().collect();
    format!("{}{ELLIPSIS}{}", head.trim_end(), tail.trim_start())
}

/// `text` in lines of at most `most` letters, broken between words; a word that is longer than a line is broken where
/// the line ends.
pub(crate) fn wrap(text: &str, most: usize) -> Vec<String> {
    let mut lines = vec![Vec::new()];
    let text: String = plain(text).collect();
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        let line = lines.last().map_or(0, Vec::len);
        if line > 0 && line + 1 + letters.len() > most {
            lines.push(Vec::new());
        }
        for (n, letter) in letters.into_iter().enumerate() {
            let line = lines.last_mut().expect("there is one from the start");
            match line.len() {
                0 => line.push(letter),
                length if n == 0 && length + 1 < most => line.extend([' ', letter]),
                length if length < most => line.push(letter),
                _ => lines.push(vec![letter]),
            }
        }
    }
    lines.into_iter().map(|line| line.into_iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_european_alphabet_has_its_letters() {
        let names =
            "Évora Łódź Győr Plzeň Șișești İğdır Rīga Šiauliai Þórshöfn Ŵrecsam Żejtun Αθήνα Пловдив Œuvre";
        for face in [&SMALL, &TEXT, &BOLD, &LARGE] {
            for letter in plain(names) {
                assert!(face.fonts.iter().any(|font| has(font, letter)), "{letter} cannot be drawn");
                let same = face.fonts.iter().all(|font| font.baseline == face.fonts[0].baseline);
                assert!(
                    same && face.fonts[0].character_size == Size::new(face.width as u32, face.height as u32)
                );
            }
        }
        assert!(!TEXT.fonts.iter().any(|font| has(font, '夜')), "and what none has becomes a question mark");
    }

    #[test]
    fn a_long_name_keeps_its_beginning_and_its_end() {
        assert_eq!(shorten("Porto", 5), "Porto");
        assert_eq!(shorten("Conservatório de Lisboa 2", 14), "Conservat…oa 2");
        assert_eq!(shorten("Vila Nova de Gaia", 9), "Vila N…ia");
        assert_eq!(shorten("e\u{301}tude", 5), "etude");
        for (most, name) in
            (0..40).flat_map(|most| ["", "é", "Vila Nova de Famalicão 1"].map(|name| (most, name)))
        {
            assert!(shorten(name, most).chars().count() <= most, "{name} in {most}");
        }
    }

    #[test]
    fn sentences_break_between_words_and_words_only_where_they_must() {
        let lines = wrap("matriz.toml, line 12: there is no key \"medai_port\"", 18);
        assert_eq!(lines, ["matriz.toml, line", "12: there is no", "key \"medai_port\""]);
        assert_eq!(wrap("/var/lib/matriz/recordings", 10), ["/var/lib/m", "atriz/reco", "rdings"]);
        assert_eq!(wrap("no /var/lib/matriz", 10), ["no", "/var/lib/m", "atriz"]);
        assert_eq!(wrap("", 10), [""]);
    }
}
