//! The names of a recording: its folder, by the local time of its start, and the files in it.
//!
//! Used by [`super::files`]. What a peer calls itself is not ours to choose, so a file's name has only what every
//! file system takes, and a number that makes it the only one.

use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Letters of a box's name in the name of a file, at most.
const LONGEST: usize = 40;

/// Recordings that may begin in the same second.
const MOST: u32 = 99;

/// Makes a new folder in `parent`, which is made too, such as `2026-11-26_21-04-05 porto`.
///
/// # Errors
/// It cannot be made.
pub fn create(parent: &Path, name: &str, start: SystemTime) -> Result<PathBuf> {
    std::fs::create_dir_all(parent)?;
    let stem = format!("{} {}", local(start), plain(name));
    for number in 1..=MOST {
        let folder = parent.join(if number == 1 { stem.clone() } else { format!("{stem} {number}") });
        match std::fs::create_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            done => return done.map(|()| folder),
        }
    }
    Err(Error::from(ErrorKind::AlreadyExists))
}

/// The name of a track's file: `03 lisboa.wav`, and from the second part on `03 lisboa part 2.wav`.
pub fn file(number: usize, name: &str, part: u32) -> String {
    let part = if part == 1 { String::new() } else { format!(" part {part}") };
    format!("{number:02} {}{part}.wav", plain(name))
}

/// A name with letters, digits, blanks and `-_.` only.
fn plain(name: &str) -> String {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.');
    let plain: String = name.chars().take(LONGEST).map(|c| if allowed(c) { c } else { '_' }).collect();
    plain.trim_matches([' ', '.']).to_owned()
}

/// The local time, as `2026-11-26_21-04-05`.
fn local(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seconds = libc::time_t::try_from(seconds).unwrap_or(libc::time_t::MAX);
    // SAFETY: `tm` is plain numbers and a pointer that may be null, so zeros are a value of it.
    let mut at: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: reads `seconds` and writes `at`, which both outlive the call; nothing changes the environment,
    // where the C library looks for the time zone, once threads run.
    let known = !unsafe { libc::localtime_r(&raw const seconds, &raw mut at) }.is_null();
    if !known {
        return format!("{seconds}"); // a year that does not fit into 32 bits
    }
    let (year, month) = (i64::from(at.tm_year) + 1_900, at.tm_mon + 1);
    format!("{year:04}-{month:02}-{:02}_{:02}-{:02}-{:02}", at.tm_mday, at.tm_hour, at.tm_min, at.tm_sec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_folder_is_named_by_its_start_and_never_used_twice() {
        let parent = tempfile::tempdir().unwrap();
        let parent = parent.path().join("not/yet/there");
        let start = UNIX_EPOCH + Duration::from_secs(1_795_727_045);
        let first = create(&parent, "porto", start).unwrap();
        let second = create(&parent, "porto", start).unwrap();
        let name = first.file_name().unwrap().to_str().unwrap().to_owned();
        let shape: String = name.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00_00-00-00 porto");
        assert!(name.starts_with("2026-11-2") && name.ends_with("-05 porto"), "{name}");
        assert_eq!(second.file_name().unwrap().to_str().unwrap(), format!("{name} 2"));
        assert!(first.is_dir() && second.is_dir());

        std::fs::write(parent.join("file"), "").unwrap();
        assert!(create(&parent.join("file"), "porto", start).is_err());
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        assert_eq!(file(3, "lisboa", 1), "03 lisboa.wav");
        assert_eq!(file(12, "Évora 2", 3), "12 Évora 2 part 3.wav");
        assert_eq!(file(3, "../../etc/passwd", 1), "03 _.._etc_passwd.wav");
        assert_eq!(file(3, "a/b\\c:d\"e\n", 1), "03 a_b_c_d_e_.wav");
        assert!(file(3, &"é".repeat(500), 1).len() < 200);
    }
}
