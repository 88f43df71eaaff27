//! Small files that somebody wrote on any computer, and writing files that survive the power being pulled.
//!
//! Windows' editor writes CRLF, a byte order mark, UTF-16 on demand, and adds `.txt` to names whose ending it
//! hides; FAT does not tell upper from lower case. All of that is accepted.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Most bytes of a file that is read: far more than any settings have.
const LONGEST: u64 = 64 * 1024;

/// The file `name` in `folder`, in whatever case it is written there.
pub fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder).ok()?.filter_map(Result::ok).collect();
    files.sort_by_key(std::fs::DirEntry::file_name);
    let same = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().eq_ignore_ascii_case(name);
    files.into_iter().find(same).map(|entry| entry.path())
}

/// The text of `file`, with line ends of LF and without a byte order mark.
///
/// # Errors
/// A sentence's end for a person: it cannot be read, is too long, or no text.
pub fn read(file: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("it cannot be read ({error})"))?;
    if bytes.len() as u64 > LONGEST {
        return Err(format!("it is longer than {} KiB", LONGEST / 1024));
    }
    let text = decode(&bytes).ok_or("it is no text; save it as plain text in UTF-8")?;
    Ok(text.replace("\r\n", "\n"))
}

/// UTF-8, or UTF-16 with a byte order mark.
fn decode(bytes: &[u8]) -> Option<String> {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
        rest.is_empty().then(|| String::from_utf16(&units).ok()).flatten()
    };
    match bytes {
        [0xFF, 0xFE, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xEF, 0xBB, 0xBF, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        _ => String::from_utf8(bytes.to_vec()).ok(),
    }
}

/// Makes `file` hold `bytes`, readable for its owner alone if it is `secret`: after a loss of power there is
/// the old file or the new one, whole. A file that holds them already is not touched.
///
/// # Errors
/// As the system says; the old file is still there.
pub fn replace(file: &Path, bytes: &[u8], secret: bool) -> std::io::Result<()> {
    if std::fs::read(file).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = folder.join(name);
    let _ = std::fs::remove_file(&part); // of a try that was cut short; `mode` holds for new files only
    let mode = if secret { 0o600 } else { 0o644 };
    let mut new = File::options().write(true).create_new(true).mode(mode).open(&part)?;
    new.write_all(bytes)?;
    new.sync_all()?;
    std::fs::rename(&part, file)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_editors_write_is_the_same_text() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        let wide = |order: fn(u16) -> [u8; 2]| -> Vec<u8> {
            "\u{feff}näme\r\nb\r\n".encode_utf16().flat_map(order).collect()
        };
        let same = [
            b"n\xc3\xa4me\nb\n".to_vec(),
            b"\xef\xbb\xbfn\xc3\xa4me\r\nb\r\n".to_vec(),
            wide(u16::to_le_bytes),
            wide(u16::to_be_bytes),
        ];
        for bytes in same {
            std::fs::write(&file, bytes).unwrap();
            assert_eq!(read(&file).unwrap(), "näme\nb\n");
        }
    }

    #[test]
    fn what_is_no_text_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        let told = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            read(&file).unwrap_err()
        };
        assert_eq!(told(b"\xff\xfe\x00"), "it is no text; save it as plain text in UTF-8");
        assert_eq!(told(b"n\xe4me"), "it is no text; save it as plain text in UTF-8");
        assert_eq!(told(&vec![b'a'; 70_000]), "it is longer than 64 KiB");
        assert!(read(folder.path()).unwrap_err().starts_with("it cannot be read"));
    }

    #[test]
    fn a_half_written_file_of_before_is_no_hindrance() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        std::fs::write(folder.path().join("a.part"), "half").unwrap();
        replace(&file, b"whole", true).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"whole");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(find(folder.path(), "A"), Some(file));
    }
}
