//! RAUC, asked to judge a bundle and to install it, and its errors in one plain sentence each.
//!
//! `rauc info` checks the signature and tells the version. `rauc install` does so again, compares `compatible` and reads
//! all of the bundle (`pre-install` in `overlays/rootfs/usr/lib/rauc/system.conf`), all before the first write. The
//! errors' words are those of RAUC 1.8 to 1.15 (src/bundle.c, signature.c, install.c) and OpenSSL 3.

use anyhow::{Context, bail};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// How long RAUC may say nothing. Writing a root file system to a slow card is the longest silence.
const SILENCE: Duration = Duration::from_secs(15 * 60);

/// Lines of RAUC's that are kept for the sentence, and the length of a line, in bytes.
const LINES: usize = 200;
const LONGEST: u64 = 4_096;

/// What RAUC is called and where it looks for its settings.
pub struct Rauc {
    /// The program.
    pub program: PathBuf,
}

impl Rauc {
    /// Judges the signature; the version that the bundle says it is.
    ///
    /// # Errors
    /// A sentence: why it is not taken.
    pub fn info(&self, bundle: &Path) -> anyhow::Result<String> {
        let mut version = None;
        let words = ["info", "--output-format=shell"];
        let (ended, said) = self.run(&words, bundle, &mut |line| {
            let value = line.strip_prefix("RAUC_MF_VERSION=");
            version = value.map(unquoted).or(version.take());
        })?;
        if !ended.success() {
            bail!(sentence(&said));
        }
        version.filter(|version| !version.is_empty()).context("the bundle does not say which version it is")
    }

    /// Installs it into the slot that does not run; `progress` hears percents.
    ///
    /// # Errors
    /// A sentence: why it was not, or not wholly.
    pub fn install(&self, bundle: &Path, progress: &mut dyn FnMut(u8)) -> anyhow::Result<()> {
        let (ended, said) = self.run(&["install"], bundle, &mut |line| {
            percent(line).into_iter().filter(|percent| *percent <= 100).for_each(&mut *progress);
        })?;
        if !ended.success() {
            bail!(sentence(&said));
        }
        Ok(())
    }

    /// Runs it to its end; its last lines.
    fn run(
        &self,
        words: &[&str],
        bundle: &Path,
        hear: &mut dyn FnMut(&str),
    ) -> anyhow::Result<(ExitStatus, Vec<String>)> {
        let mut command = Command::new(&self.program);
        command.args(words).arg(bundle).env("LC_ALL", "C").stdin(Stdio::null());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.context("this box cannot be updated: RAUC cannot be started")?;
        let lines = lines(&mut child);
        let mut said = Vec::new();
        loop {
            match lines.recv_timeout(SILENCE) {
                Ok(line) => {
                    tracing::debug!("rauc: {line}");
                    hear(&line);
                    said.push(line);
                    let more = said.len().saturating_sub(LINES);
                    said.drain(..more);
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    bail!(
                        "RAUC has said nothing for {} min: switch the box off and on",
                        SILENCE.as_secs() / 60
                    );
                }
            }
        }
        Ok((child.wait()?, said))
    }
}

/// What the program says on both its outputs, line by line.
fn lines(child: &mut Child) -> Receiver<String> {
    let (to, from) = sync_channel(16);
    let outputs: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|out| Box::new(out) as Box<dyn Read + Send>),
        child.stderr.take().map(|out| Box::new(out) as Box<dyn Read + Send>),
    ];
    for output in outputs.into_iter().flatten() {
        let to = to.clone();
        std::thread::spawn(move || hear(output, &to));
    }
    from
}

fn hear(output: impl Read, to: &SyncSender<String>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut output).take(LONGEST).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                if to.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                    return;
                }
            }
        }
    }
}

/// How far it is, in a line that says so.
fn percent(line: &str) -> Option<u8> {
    line.trim_start().split_once('%').and_then(|(number, _)| number.parse().ok())
}

/// A value as RAUC quotes it for a shell (`g_shell_quote`): versions have no quotes in them.
fn unquoted(value: &str) -> String {
    let value = value.trim().trim_matches(['\'', '"']);
    value.chars().filter(|letter| !letter.is_control() && *letter != '\'').take(64).collect()
}

/// What RAUC says, and what that means for a person. The first that is found counts.
const MEANINGS: [(&[&str], &str); 12] = [
    (
        &["certificate is not yet valid", "certificate has expired"],
        "the bundle was signed when its certificate did not hold; ask for one that was signed anew",
    ),
    (
        &[
            "self-signed certificate",
            "self signed certificate",
            "unable to get local issuer certificate",
            "unable to get issuer certificate",
            "unable to verify the first certificate",
            "certificate signature failure",
        ],
        "the bundle is signed by somebody whom this box does not trust",
    ),
    (
        &["certificate purpose", "invalid CA certificate"],
        "the bundle is signed with a key that is not for bundles",
    ),
    (
        &["signature verification failed", "failed to parse signature", "Failed to load manifest"],
        "the bundle was tampered with, or damaged on its way: its signature is not that of its content",
    ),
    (
        &["Pre-install handler error", "Check read from dm-", "bundle payload is corrupted"],
        "the bundle was tampered with, or damaged on its way: its content is not what was signed",
    ),
    (&["Signature size", "signature size"], "the bundle is cut off, or no bundle; send it again"),
    (&["not allowed"], "the bundle is of a kind that this box does not take: make it with `make bundle`"),
    (
        &["slot states", "Did not find booted slot", "Could not determine target group", "No target slot"],
        "the box cannot tell its two systems apart; look into `journalctl -u rauc`",
    ),
    (
        &["keyring", "CA file", "failed to load CA"],
        "this box takes no updates: its system has no certificates to judge them by (docs/release.md)",
    ),
    (
        &["contact rauc service", "Error creating proxy", "service disappeared", "D-Bus error"],
        "RAUC does not answer; look into `journalctl -u rauc`",
    ),
    (
        &["Installation error", "Failed updating slot", "Failed marking slot"],
        "the new system could not be written, the one that runs is as it was; the card may be worn out",
    ),
    (
        &["already processing", "Already processing"],
        "RAUC is at work on another bundle; wait until it is done",
    ),
];

/// One sentence for what RAUC said.
fn sentence(said: &[String]) -> String {
    if let Some((mine, its)) = said.iter().find_map(|line| boards(line)) {
        return format!("the bundle is for another board: it is for {its}, this box is {mine}");
    }
    // What it is at is no reason.
    let errors = || said.iter().filter(|line| percent(line).is_none());
    let means =
        |(words, _): &&(&[&str], &str)| words.iter().any(|word| errors().any(|line| line.contains(word)));
    let error = || said.iter().rev().find_map(|line| line.strip_prefix("LastError: "));
    let last = || said.iter().rev().map(String::as_str).find(|line| !line.is_empty());
    match MEANINGS.iter().find(means) {
        Some((_, meaning)) => (*meaning).to_owned(),
        None => {
            format!("RAUC does not take the bundle; it says: {}", error().or_else(last).unwrap_or("nothing"))
        }
    }
}

/// Both names in `Compatible mismatch: Expected 'matriz-rpi2' but bundle manifest has 'other'`.
fn boards(line: &str) -> Option<(&str, &str)> {
    let (_, names) = line.split_once("Compatible mismatch: Expected '")?;
    let (mine, rest) = names.split_once("' but bundle manifest has '")?;
    Some((mine, rest.split('\'').next()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A program that says and does this.
    fn fake(folder: &Path, script: &str) -> Rauc {
        let program = folder.join("rauc");
        std::fs::write(&program, format!("#!/bin/sh\n{script}")).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        Rauc { program }
    }

    fn installed(script: &str) -> (anyhow::Result<()>, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let mut percents = Vec::new();
        let rauc = fake(folder.path(), script);
        let done = rauc.install(Path::new("/data/a.raucb"), &mut |percent| percents.push(percent));
        (done, percents)
    }

    #[test]
    fn percents_are_heard_and_the_rest_is_not() {
        let (done, percents) = installed(
            "[ \"$1 $2\" = 'install /data/a.raucb' ] || exit 9\necho 'installing'\necho '  0% Installing'\n\
             echo ' 40% Copying image to rootfs.1'\necho '400% never'\necho '100% Installing done.'\n\
             echo 'idle' >&2\necho 'Installing `/data/a.raucb` succeeded'\n",
        );
        assert_eq!((done.unwrap(), percents), ((), vec![0, 40, 100]));
    }

    #[test]
    fn the_version_is_read_as_rauc_prints_it() {
        let folder = tempfile::tempdir().unwrap();
        let said = "RAUC_MF_COMPATIBLE='matriz-rpi2'\nRAUC_MF_VERSION='1.1.0'\nRAUC_MF_IMAGES=2";
        let rauc = fake(folder.path(), &format!("cat <<'END'\n{said}\nEND\necho noise >&2\n"));
        assert_eq!(rauc.info(Path::new("a")).unwrap(), "1.1.0");
        let rauc = fake(folder.path(), "echo \"RAUC_MF_VERSION=''\"\n");
        assert!(rauc.info(Path::new("a")).unwrap_err().to_string().contains("does not say which version"));
    }

    #[test]
    fn rauc_that_cannot_be_started_is_told() {
        let nowhere = Rauc { program: "/nowhere/rauc".into() };
        let said = format!("{:#}", nowhere.info(Path::new("a")).unwrap_err());
        assert!(said.contains("RAUC cannot be started"), "{said}");
    }

    #[test]
    fn errors_are_sentences() {
        for (said, wanted) in [
            (
                "LastError: Compatible mismatch: Expected 'matriz-rpi2' but bundle manifest has 'toaster'",
                "for another board: it is for toaster, this box is matriz-rpi2",
            ),
            (
                "LastError: Failed mounting bundle: Check read from dm-verity device failed: Input/output error",
                "its content is not what was signed",
            ),
            (
                "  0% Determining slot states\n 20% Determining slot states done.\nLastError: Pre-install handler error: Child process exited with code 1",
                "its content is not what was signed",
            ),
            (
                "LastError: Failed mounting bundle: Failed to open /dev/mapper/control: No such file or directory\nInstalling failed",
                "it says: Failed mounting bundle: Failed to open /dev/mapper/control",
            ),
            (
                "signature verification failed: Verify error: self-signed certificate in certificate chain",
                "does not trust",
            ),
            (
                "signature verification failed: Verify error: unable to get local issuer certificate",
                "does not trust",
            ),
            (
                "signature verification failed: Verify error: certificate is not yet valid",
                "certificate did not hold",
            ),
            ("signature verification failed: bad signature", "tampered with"),
            ("Invalid bundle format: Signature size (7) exceeds bundle size", "cut off"),
            (
                "LastError: Installation error: Failed updating slot rootfs.1: failed to write",
                "the one that runs is as it was",
            ),
            ("Failed to contact rauc service: timeout", "RAUC does not answer"),
            ("something new", "it says: something new"),
        ] {
            let (done, _) = installed(&format!("cat <<'END'\n{said}\nEND\nexit 1\n"));
            let told = done.unwrap_err().to_string();
            assert!(told.contains(wanted) && !told.contains('\n'), "{said}: {told}");
        }
    }

    #[test]
    fn endless_words_are_cut() {
        let (done, _) = installed("head -c 3000000 /dev/zero | tr '\\0' x\nseq 1 5000\nexit 1\n");
        assert!(done.unwrap_err().to_string().ends_with("it says: 5000"));
    }
}
