//! A bundle on its way from the network to the data partition.
//!
//! A buffer of 64 KiB, written out every few megabytes, so that the kernel never has much to write at a time while music
//! plays. Who sends nothing, too slowly, too much or something else is told so at once, and nothing is left of it.

use super::bundle::{HEAD, Head, begins, megabytes};
use anyhow::{Context, bail, ensure};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long nothing may come. The socket's read timeout; here it is for the sentence.
pub const SILENCE: Duration = Duration::from_secs(60);

/// How long all of it may take: the largest bundle over a line of 400 kbit/s.
pub const WHOLE: Duration = Duration::from_secs(2 * 60 * 60);

/// Bytes that are read at a time.
const BUFFER: usize = 64 << 10;

/// Bytes after which the card must have them.
const FLUSH: u64 = 4 << 20;

/// Room that an update leaves on the data partition.
const SPARE: u64 = 16 << 20;

/// Receives a bundle into the new file `file`, and removes that if it does not become a whole one. `free` is how many
/// bytes the partition has left; `progress` hears of every percent.
///
/// # Errors
/// A sentence.
pub fn receive(
    from: &mut impl Read,
    file: &Path,
    free: u64,
    progress: &mut dyn FnMut(u8),
) -> anyhow::Result<()> {
    let done = into_file(from, file, free, progress);
    if done.is_err() {
        // It may not be there.
        let _ = std::fs::remove_file(file);
    }
    done
}

fn into_file(
    from: &mut impl Read,
    path: &Path,
    free: u64,
    progress: &mut dyn FnMut(u8),
) -> anyhow::Result<()> {
    let deadline = Instant::now() + WHOLE;
    let first = first(from, deadline)?;
    let head = Head::read(&first)?;
    let needed = head.most() + SPARE;
    ensure!(
        free >= needed,
        "there is no room: the data partition has {} left, and this bundle needs {}; take recordings off the box",
        megabytes(free),
        megabytes(needed)
    );
    let file = File::options().write(true).read(true).create_new(true).mode(0o600).open(path);
    let mut file = file.context("the bundle cannot be written to the data partition")?;
    let lost = "the bundle cannot be written to the data partition";
    file.write_all(&first).context(lost)?;
    let (mut came, mut flushed) = (HEAD as u64, 0);
    let mut buffer = vec![0; BUFFER];
    loop {
        let bytes = next(from, &mut buffer, deadline)?;
        if bytes == 0 {
            break;
        }
        came += bytes as u64;
        ensure!(came <= head.most(), "this is no bundle: it goes on after its end; send it again");
        file.write_all(&buffer[..bytes]).context(lost)?;
        if came - flushed >= FLUSH {
            file.sync_data().context(lost)?;
            flushed = came;
        }
        progress(u8::try_from((100 * came / head.about()).min(100)).expect("at most 100"));
    }
    file.sync_all().context(lost)?;
    head.ends(&file)
}

/// The bytes that it begins with; refused as soon as one is wrong.
fn first(from: &mut impl Read, deadline: Instant) -> anyhow::Result<[u8; HEAD]> {
    let mut first = [0; HEAD];
    let mut came = 0;
    while came < HEAD {
        let bytes = next(from, &mut first[came..], deadline)?;
        match (bytes, came) {
            (0, 0) => {
                bail!("nothing came: put the bundle on standard input, as in ssh update@BOX < FILE.raucb")
            }
            (0, _) => bail!("this is no bundle: it has {came} bytes"),
            _ => came += bytes,
        }
        ensure!(
            begins(&first[..came]),
            "this is no bundle: it begins in another way; send a file that ends in .raucb"
        );
    }
    Ok(first)
}

fn next(from: &mut impl Read, buffer: &mut [u8], deadline: Instant) -> anyhow::Result<usize> {
    loop {
        ensure!(
            Instant::now() < deadline,
            "the bundle has not come within {} hours; use a faster line, or copy it to a computer beside the box",
            WHOLE.as_secs() / 3_600
        );
        match from.read(buffer) {
            Ok(bytes) => return Ok(bytes),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // So ends what whoever sent it did not wait to hear the answers to. All that was sent came before it.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(0),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                bail!("nothing has come for {} s; send it again", SILENCE.as_secs())
            }
            Err(error) => bail!("the connection broke ({error}); send it again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bundle::tests::made_up;
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt;

    /// Room enough for what is made up here.
    const ROOM: u64 = 32 << 20;

    /// Gives bytes in pieces of these lengths, over and over.
    struct Chopped<'a> {
        bytes: &'a [u8],
        pieces: Vec<usize>,
        turn: usize,
        /// What comes after the last byte, if not the end.
        then: Option<ErrorKind>,
    }

    impl Read for Chopped<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.turn += 1;
            if self.turn.is_multiple_of(3) {
                return Err(ErrorKind::Interrupted.into());
            }
            if let (true, Some(error)) = (self.bytes.is_empty(), self.then) {
                return Err(error.into());
            }
            let piece = self.pieces[self.turn % self.pieces.len()];
            let length = piece.min(buffer.len());
            self.bytes.read(&mut buffer[..length])
        }
    }

    struct Came {
        done: anyhow::Result<()>,
        file: Option<Vec<u8>>,
        percents: Vec<u8>,
    }

    fn come(bytes: &[u8], pieces: Vec<usize>, then: Option<ErrorKind>, free: u64) -> Came {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("incoming.raucb");
        let mut percents = Vec::new();
        let mut from = Chopped { bytes, pieces, turn: 0, then };
        let done = receive(&mut from, &file, free, &mut |percent| percents.push(percent));
        if done.is_ok() {
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        Came { done, file: std::fs::read(&file).ok(), percents }
    }

    fn refused(came: &Came) -> String {
        assert!(came.file.is_none(), "something is left");
        came.done.as_ref().unwrap_err().to_string()
    }

    proptest! {
        #[test]
        fn it_is_the_same_bytes_however_they_are_cut(
            pieces in proptest::collection::vec(1..9_000_usize, 1..9),
            squashfs in 100..60_000_u64,
        ) {
            let bundle = made_up(squashfs);
            let came = come(&bundle, pieces, None, ROOM);
            prop_assert!(came.done.is_ok(), "{:?}", came.done);
            prop_assert_eq!(came.file, Some(bundle));
            prop_assert!(came.percents.is_sorted() && came.percents.last().is_some_and(|last| *last >= 50));
        }

        #[test]
        fn who_leaves_at_its_end_has_sent_it(piece in 1..70_000_usize) {
            let bundle = made_up(20_000);
            let came = come(&bundle, vec![piece], Some(ErrorKind::ConnectionReset), ROOM);
            prop_assert!(came.done.is_ok(), "{:?}", came.done);
            prop_assert_eq!(came.file, Some(bundle));
        }

        #[test]
        fn cut_off_anywhere_it_is_refused_and_nothing_is_left(cut in 0..29_000_usize, piece in 1..70_000_usize) {
            let bundle = made_up(20_000);
            let cut = cut.min(bundle.len() - 1);
            let said = refused(&come(&bundle[..cut], vec![piece], None, ROOM));
            let wanted = match cut {
                0 => "nothing came",
                1..HEAD => "this is no bundle: it has ",
                _ => "the bundle is cut off: ",
            };
            prop_assert!(said.starts_with(wanted), "{cut}: {said}");
            let left = come(&bundle[..cut], vec![piece], Some(ErrorKind::ConnectionReset), ROOM);
            prop_assert_eq!(refused(&left), said);
            let said = refused(&come(&bundle[..cut], vec![piece], Some(ErrorKind::WouldBlock), ROOM));
            prop_assert_eq!(said, "nothing has come for 60 s; send it again");
        }

        #[test]
        fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..3_000), magic in any::<bool>()) {
            let mut bytes = bytes;
            if magic {
                bytes.splice(..0, *b"hsqs");
            }
            refused(&come(&bytes, vec![100], None, ROOM));
        }
    }

    /// Never ends, and counts what was taken.
    struct Endless<'a>(&'a [u8], u64);

    impl Read for Endless<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let bytes = match self.0 {
                [] => {
                    buffer.fill(0x68);
                    buffer.len()
                }
                _ => self.0.read(buffer)?,
            };
            self.1 += bytes as u64;
            Ok(bytes)
        }
    }

    #[test]
    fn junk_is_refused_at_its_first_bytes_and_what_does_not_end_soon_after_it_should() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("incoming.raucb");
        let mut junk = Endless(b"hs", 0);
        let said = receive(&mut junk, &file, ROOM, &mut |_| {}).unwrap_err().to_string();
        assert!(said.contains("begins in another way") && junk.1 <= HEAD as u64, "{said}, {}", junk.1);
        let bundle = made_up(20_000);
        let mut endless = Endless(&bundle, 0);
        let said = receive(&mut endless, &file, ROOM, &mut |_| {}).unwrap_err().to_string();
        assert_eq!(said, "this is no bundle: it goes on after its end; send it again");
        assert!(endless.1 < 200_000, "{}", endless.1);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_has_no_room_or_no_place_is_told_before_it_comes() {
        let bundle = made_up(20_000);
        let said = refused(&come(&bundle, vec![100], None, SPARE));
        assert!(said.starts_with("there is no room: the data partition has 16.8 MB left"), "{said}");
        let nowhere = Path::new("/nowhere/incoming.raucb");
        let said = receive(&mut &bundle[..], nowhere, ROOM, &mut |_| {}).unwrap_err().to_string();
        assert_eq!(said, "the bundle cannot be written to the data partition");
    }
}
