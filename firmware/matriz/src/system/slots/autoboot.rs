//! The codec of `autoboot.txt`, in which the firmware reads which boot partition to start.
//!
//! A person may have changed the file with any editor, so it is read whatever line ends and padding it has, and
//! changed by replacing its two digits where they stand: nothing moves, and no other byte differs. The firmware
//! reads the first 512 bytes, one sector, and so do we. Source: Raspberry Pi documentation, "autoboot.txt".

use super::Slot;

/// Bytes of the file that count: a sector of the card.
pub const SECTOR: usize = 512;

/// How the lines begin that name a partition.
const KEY: &str = "boot_partition=";

/// The line that lets `[tryboot]` choose a partition (and no other file of settings).
const TRYBOOT: &str = "tryboot_a_b=1";

/// The file, and where its two digits are. The lines may name the same slot only if a person wrote that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Autoboot {
    /// At most a sector.
    bytes: Vec<u8>,
    /// Where the digit of `[all]` is.
    all: usize,
    /// Where the digit of `[tryboot]` is.
    tryboot: usize,
}

/// Why the file is not one that the box may change; each is a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// There is nothing in it.
    #[error("autoboot.txt is empty: {REPAIR}")]
    Empty,
    /// A line that the box did not write, or a person miswrote; lines are counted from one.
    #[error("autoboot.txt, line {0}: {1:?} is not a line of it: {REPAIR}")]
    Line(usize, String),
    /// A line that is there twice.
    #[error("autoboot.txt, line {0}: this is said twice: take one away")]
    Twice(usize),
    /// A line that is not there.
    #[error("autoboot.txt lacks {0}: {REPAIR}")]
    Lacks(&'static str),
}

/// What a person can do.
const REPAIR: &str = "put the file of the image that the card was flashed with back, or flash it again";

/// Under which heading a line stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    All,
    Tryboot,
}

impl Autoboot {
    /// Reads the file's first sector.
    ///
    /// # Errors
    /// It is none of ours: a sentence. The file should be left alone then.
    pub fn decode(bytes: &[u8]) -> Result<Autoboot, Wrong> {
        let bytes = &bytes[..bytes.len().min(SECTOR)];
        let (mut all, mut tryboot, mut tries) = (None, None, false);
        let mut section = Section::All; // what comes before any heading holds always
        let mut from = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        for (number, raw) in (1..).zip(bytes[from..].split(|byte| *byte == b'\n')) {
            let begin = from;
            from += raw.len() + 1;
            let line = String::from_utf8_lossy(raw);
            let line = line.trim_end_matches(['\r', ' ', '\t', '\0']);
            match line {
                "" => {}
                "[all]" => section = Section::All,
                "[tryboot]" => section = Section::Tryboot,
                TRYBOOT if section == Section::All => tries = true,
                _ if line.starts_with('#') => {}
                _ => {
                    let digit = line.strip_prefix(KEY).and_then(Slot::of_digit);
                    digit.ok_or_else(|| Wrong::Line(number, line.to_owned()))?;
                    let place = if section == Section::All { &mut all } else { &mut tryboot };
                    if place.replace(begin + KEY.len()).is_some() {
                        return Err(Wrong::Twice(number));
                    }
                }
            }
        }
        let blank = bytes.iter().all(|byte| byte.is_ascii_whitespace() || *byte == 0);
        match (all, tryboot) {
            _ if blank => Err(Wrong::Empty),
            (None, _) => Err(Wrong::Lacks("boot_partition of [all]")),
            (_, None) => Err(Wrong::Lacks("boot_partition of [tryboot]")),
            _ if !tries => Err(Wrong::Lacks(TRYBOOT)),
            (Some(all), Some(tryboot)) => Ok(Autoboot { bytes: bytes.to_vec(), all, tryboot }),
        }
    }

    /// What starts when the power comes.
    pub fn committed(&self) -> Slot {
        self.slot(self.all)
    }

    /// What starts once, when the firmware was told to try.
    pub fn tried(&self) -> Slot {
        self.slot(self.tryboot)
    }

    /// The same file with `slot` as what starts when the power comes, and the other one to be tried. It is as long
    /// as before, and differs in the two digits at most.
    pub fn with_committed(&self, slot: Slot) -> Autoboot {
        let mut changed = self.clone();
        changed.bytes[self.all] = slot.digit();
        changed.bytes[self.tryboot] = slot.other().digit();
        changed
    }

    /// The file's first sector: 512 bytes, or all of it if it is shorter.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn slot(&self, at: usize) -> Slot {
        let digit = char::from(self.bytes[at]).to_string();
        Slot::of_digit(&digit).expect("decode has found a digit there, and we write no others")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHIPPED: &str = include_str!("../../../../../image/setup/autoboot.txt");

    #[test]
    fn the_shipped_file_commits_a_and_tries_b() {
        let shipped = Autoboot::decode(SHIPPED.as_bytes()).unwrap();
        assert_eq!((shipped.committed(), shipped.tried(), shipped.bytes().len()), (Slot::A, Slot::B, SECTOR));
        let other = shipped.with_committed(Slot::B);
        assert_eq!((other.committed(), other.tried()), (Slot::B, Slot::A));
        assert_eq!(other.with_committed(Slot::A).bytes(), SHIPPED.as_bytes());
        let differ = shipped.bytes().iter().zip(other.bytes()).filter(|(one, two)| one != two).count();
        assert_eq!(differ, 2, "two digits");
    }

    #[test]
    fn what_editors_make_of_it_is_read() {
        let swapped = SHIPPED.replace("=2", "=x").replace("=3", "=2").replace("=x", "=3");
        let bare = "tryboot_a_b=1\nboot_partition=3\n[tryboot]\nboot_partition=2";
        let same = [
            swapped.clone(),
            swapped.replace('\n', "\r\n"), // longer than a sector: its end does not count
            format!("\u{feff}{swapped}"),
            swapped.trim_end_matches(['#', '\n']).to_owned(),
            swapped.replace("=3\n", "=3 \t\n"),
            format!("{bare}\0\0\0"),
            bare.to_owned(),
            format!("[all]\r\n{}", bare.replace('\n', "\r\n")),
        ];
        for text in same {
            let read = Autoboot::decode(text.as_bytes()).unwrap_or_else(|wrong| panic!("{text:?}: {wrong}"));
            assert_eq!((read.committed(), read.tried()), (Slot::B, Slot::A), "{text:?}");
            let back = read.with_committed(Slot::A);
            assert_eq!(back.bytes().len(), text.len().min(SECTOR));
            assert_eq!(Autoboot::decode(back.bytes()).unwrap().committed(), Slot::A, "{text:?}");
        }
    }

    #[test]
    fn a_person_who_changed_one_digit_is_understood_and_we_never_write_both_the_same() {
        let both = Autoboot::decode(SHIPPED.replace("=2", "=3").as_bytes()).unwrap();
        assert_eq!((both.committed(), both.tried()), (Slot::B, Slot::B));
        assert_eq!(both.with_committed(Slot::B).tried(), Slot::A);
    }

    #[test]
    fn what_is_not_ours_is_told_in_a_sentence() {
        let told = |text: &str| Autoboot::decode(text.as_bytes()).unwrap_err().to_string();
        let cases = [
            (" \n\0", "autoboot.txt is empty: "),
            ("[all]\nboot_partition=2\n", "autoboot.txt lacks boot_partition of [tryboot]: "),
            ("[tryboot]\nboot_partition=2\n", "autoboot.txt lacks boot_partition of [all]: "),
            ("boot_partition=2\n[tryboot]\nboot_partition=3\n", "autoboot.txt lacks tryboot_a_b=1: "),
            ("[all]\nboot_partition=1\n", "autoboot.txt, line 2: \"boot_partition=1\" is not a line of it: "),
            ("[all]\nboot_partition=23\n", "autoboot.txt, line 2: \"boot_partition=23\" is not"),
            ("[pi4]\n", "autoboot.txt, line 1: \"[pi4]\" is not a line of it: put the file of the image"),
            ("boot_partition=2\n[all]\nboot_partition=2", "autoboot.txt, line 3: this is said twice: take"),
            ("\u{1F3B5}", "autoboot.txt, line 1: "),
        ];
        for (text, begin) in cases {
            assert!(told(text).starts_with(begin), "{text:?}: {}", told(text));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_told(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Autoboot::decode(&bytes);
        }

        /// Lines of ours in any order: what is accepted can be changed and is read again as what it was changed to.
        #[test]
        fn what_is_accepted_can_be_changed(lines in proptest::collection::vec(
            proptest::sample::select(vec![
                "[all]", "[tryboot]", "tryboot_a_b=1", "boot_partition=2", "boot_partition=3", "# a", "", "x",
            ]), 0..12), end in proptest::sample::select(vec!["\n", "\r\n", " \n"])) {
            let text = lines.join(end);
            if let Ok(read) = Autoboot::decode(text.as_bytes()) {
                for slot in Slot::BOTH {
                    let changed = Autoboot::decode(read.with_committed(slot).bytes()).unwrap();
                    prop_assert_eq!((changed.committed(), changed.tried()), (slot, slot.other()));
                }
            }
        }
    }
}
