//! What can be known of a bundle without RAUC: where it begins, how long it is about, and whether its end is there.
//!
//! A bundle is a squashfs, its dm-verity hash tree, a CMS signature and the length of that in eight bytes (RAUC's
//! reference, "Bundle Formats"). This spares somebody who sends the wrong file, or half of one, the wait. Whether it
//! is genuine only RAUC says. Superblock: the kernel's fs/squashfs/squashfs_fs.h. Tree: dm-verity's on-disk format.

use anyhow::{Context, ensure};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// As many bytes of the beginning as are looked at: up to and with `bytes_used`.
pub const HEAD: usize = 48;

/// What every squashfs begins with.
const MAGIC: &[u8] = b"hsqs";

/// The largest squashfs: a root slot of 256 MiB and a boot slot of 64 MiB, uncompressed (`image/layout.cfg`), and
/// what a file system needs around them.
const MOST: u64 = (256 + 64 + 4) << 20;

/// dm-verity's blocks, in bytes, and how many hashes (SHA-256) one holds.
const BLOCK: u64 = 4_096;
const HASHES: u64 = BLOCK / 32;

/// RAUC's own limit of a signature is 64 KiB (`max-bundle-signature-size`).
const SIGNATURE: u64 = 64 << 10;

/// Whether the bytes that came first may be the beginning of a bundle; fewer than [`HEAD`] are judged as far as they go.
pub fn begins(bytes: &[u8]) -> bool {
    let known = bytes.len().min(MAGIC.len());
    bytes[..known] == MAGIC[..known]
}

/// What a bundle's first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the squashfs, in whole blocks.
    squashfs: u64,
}

impl Head {
    /// Reads it.
    ///
    /// # Errors
    /// A sentence: it is no bundle, or larger than a box can take.
    pub fn read(bytes: &[u8; HEAD]) -> anyhow::Result<Head> {
        ensure!(
            begins(bytes),
            "this is no bundle: it begins in another way; send a file that ends in .raucb"
        );
        let used = u64::from_le_bytes(bytes[40..48].try_into().expect("eight bytes"));
        ensure!(
            (1..=MOST).contains(&used),
            "this is no bundle of a box: it says that it holds {}, and a box has room for {}",
            megabytes(used),
            megabytes(MOST)
        );
        Ok(Head { squashfs: used.next_multiple_of(BLOCK) })
    }

    /// About how many bytes the whole bundle has.
    pub fn about(self) -> u64 {
        let mut tree = 0;
        let mut blocks = self.squashfs / BLOCK;
        while blocks > 1 {
            blocks = blocks.div_ceil(HASHES);
            tree += blocks;
        }
        self.squashfs + tree * BLOCK + 2 * BLOCK
    }

    /// More than this no bundle with this beginning has.
    pub fn most(self) -> u64 {
        self.about() + SIGNATURE
    }

    /// Whether the end of the bundle is there.
    ///
    /// # Errors
    /// A sentence: it was cut off.
    pub fn ends(self, file: &File) -> anyhow::Result<()> {
        let length = file.metadata().context("the bundle cannot be read")?.len();
        let whole = self.signature(file, length).context("the bundle cannot be read")?;
        ensure!(
            whole,
            "the bundle is cut off: {} of about {} came; send it again",
            megabytes(length),
            megabytes(self.about())
        );
        Ok(())
    }

    /// Whether the last eight bytes say how long a signature is that lies between them and the squashfs.
    fn signature(self, file: &File, length: u64) -> std::io::Result<bool> {
        let Some(end) = length.checked_sub(8) else { return Ok(false) };
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, end)?;
        let signature = u64::from_be_bytes(bytes);
        let begins = end.checked_sub(signature).filter(|_| (1..=SIGNATURE).contains(&signature));
        let Some(begins) = begins.filter(|begins| *begins >= self.squashfs) else { return Ok(false) };
        // DER: a sequence (X.690 section 8.9).
        let mut first = [0];
        file.read_exact_at(&mut first, begins)?;
        Ok(first == [0x30])
    }
}

/// A length for a person.
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A bundle of so many bytes of squashfs as far as this file can tell: its content is noise.
    pub fn made_up(squashfs: u64) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..squashfs.next_multiple_of(BLOCK)).map(|n| (n * 7 % 251) as u8).collect();
        bytes[..4].copy_from_slice(MAGIC);
        bytes[40..48].copy_from_slice(&squashfs.to_le_bytes());
        bytes.extend([0xAA; BLOCK as usize]); // a tree
        bytes.extend([0x30, 0x82]);
        bytes.extend([0x55; 1_500]);
        bytes.extend(1_502_u64.to_be_bytes());
        bytes
    }

    fn head(bytes: &[u8]) -> anyhow::Result<Head> {
        Head::read(bytes[..HEAD].try_into().unwrap())
    }

    #[test]
    fn the_limit_is_what_the_slots_hold() {
        let layout = include_str!("../../../../../image/layout.cfg");
        let size = |partition: &str| -> u64 {
            let text = layout.split(&format!("partition {partition} ")).nth(1).unwrap();
            text.split("size = ").nth(1).unwrap().split('M').next().unwrap().parse().unwrap()
        };
        assert_eq!(MOST >> 20, size("root-b") + size("boot-b") + 4);
        let mut bytes = made_up(10_000);
        bytes[40..48].copy_from_slice(&MOST.to_le_bytes());
        let most = head(&bytes).unwrap().most();
        assert!((MOST + MOST / 128..MOST + MOST / 100).contains(&most), "{most}");
        bytes[40..48].copy_from_slice(&(MOST + 1).to_le_bytes());
        let said = head(&bytes).unwrap_err().to_string();
        assert!(said.contains("holds 339.7 MB, and a box has room for 339.7 MB"), "{said}");
        bytes[40..48].copy_from_slice(&0_u64.to_le_bytes());
        assert!(head(&bytes).is_err());
    }

    #[test]
    fn the_first_wrong_byte_is_enough() {
        assert!(begins(b"") && begins(b"h") && begins(b"hsqs") && begins(b"hsqs1"));
        assert!(!begins(b"\x7f") && !begins(b"hsqx") && !begins(b"PK"));
        assert!(head(&[0; HEAD]).unwrap_err().to_string().contains("no bundle"));
    }

    proptest! {
        #[test]
        fn a_bundle_has_its_end_and_no_part_of_it_has(cut in 0..24_000_usize) {
            let whole = made_up(13_000);
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(&whole, 0).unwrap();
            let head = head(&whole).unwrap();
            prop_assert!(head.ends(&file).is_ok());
            file.set_len(cut.min(whole.len() - 1) as u64).unwrap();
            let said = head.ends(&file).unwrap_err().to_string();
            prop_assert!(said.contains("cut off") && said.contains("send it again"), "{}", said);
        }

        #[test]
        fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), HEAD..200)) {
            let mut bytes = bytes;
            bytes[..4].copy_from_slice(MAGIC);
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(&bytes, 0).unwrap();
            if let Ok(head) = head(&bytes) {
                prop_assert!(head.most() <= MOST + MOST / 100);
                prop_assert!(head.ends(&file).is_err());
            }
        }
    }
}
