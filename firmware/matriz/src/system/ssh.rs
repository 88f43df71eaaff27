//! SSH is off until a key is on the card: who may come in, and the box's own key.
//!
//! `authorized_keys` on the set-up partition is read at every start, line by line; only public keys pass. The
//! server's unit starts only if there is a result. The box's host key is made once and stays on the data
//! partition, so that a box is known again. Keys: RFC 4253 section 6.6, sshd(8) AUTHORIZED_KEYS FILE FORMAT.

use super::{Root, text};
use anyhow::{Context, ensure};
use data_encoding::BASE64;
use std::path::Path;
use std::process::Command;

/// The keys on the card, under the names that editors give the file.
const NAMES: [&str; 2] = ["authorized_keys", "authorized_keys.txt"];

/// Where the server finds the keys, and its own. Gone with the power.
const RUN: &str = "run/matriz-system/ssh";

/// The host key.
const HOST_KEY: &str = "ssh_host_ed25519_key";

/// The kinds of keys that OpenSSH 9 and later takes.
const KINDS: [&str; 7] = [
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-rsa",
];

/// Lets those in whose keys are in the folder `card`. The host key is kept in the folder `data`, if there is one.
/// Returns sentences, none if all is well.
pub fn set_up(root: &Root, card: &Path, data: Option<&Path>) -> Vec<String> {
    let run = root.at(RUN);
    let Some(file) = NAMES.iter().find_map(|name| text::find(card, name)) else {
        // Nobody comes in any more.
        let _ = std::fs::remove_file(run.join("authorized_keys"));
        return Vec::new();
    };
    let (keys, mut said) = match text::read(&file) {
        Ok(text) => sort(&text),
        Err(why) => (String::new(), vec![format!("authorized_keys: {why}; nobody can come in by SSH")]),
    };
    let written = std::fs::create_dir_all(&run).map_err(Into::into).and_then(|()| {
        if !keys.is_empty() {
            host_key(&run, data, &mut said)?;
        }
        publish(&run, &keys)
    });
    said.extend(written.err().map(|error| format!("SSH stays off: {error:#}")));
    said
}

/// Gives the server the list, or none if it is empty.
fn publish(run: &Path, keys: &str) -> anyhow::Result<()> {
    let file = run.join("authorized_keys");
    if keys.is_empty() {
        let _ = std::fs::remove_file(file);
        return Ok(());
    }
    text::replace(&file, keys.as_bytes(), false).context("the keys cannot be written")
}

/// The lines that are public keys, and a sentence for each that is something else.
fn sort(text: &str) -> (String, Vec<String>) {
    if text.contains("PRIVATE KEY") {
        let said = "authorized_keys holds a private key: take it off the card, nobody else may have it, and \
                    put the file that ends in .pub there";
        return (String::new(), vec![said.to_owned()]);
    }
    let (mut keys, mut said) = (String::new(), Vec::new());
    for (number, line) in text.lines().map(str::trim).enumerate() {
        match line {
            _ if line.is_empty() || line.starts_with('#') => {}
            _ if is_key(line) => keys += &format!("{line}\n"),
            _ => said.push(format!(
                "authorized_keys, line {}: this is no public key, which is one line such as ssh-ed25519 AAAA…",
                number + 1
            )),
        }
    }
    (keys, said)
}

/// Whether the line has a kind of key and, after it, a key of that kind. Options may go before.
fn is_key(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    words.windows(2).any(|pair| KINDS.contains(&pair[0]) && holds(pair[1], pair[0]))
}

/// Whether the Base64 text is a key blob of that kind: its first string, with a length of four bytes before it.
fn holds(blob: &str, kind: &str) -> bool {
    BASE64.decode(blob.as_bytes()).is_ok_and(|bytes| {
        let length = u32::try_from(kind.len()).expect("the names of kinds are short").to_be_bytes();
        bytes
            .strip_prefix(&length)
            .and_then(|rest| rest.strip_prefix(kind.as_bytes()))
            .is_some_and(|key| !key.is_empty())
    })
}

/// Sees to it that the server has its key: the one of always, or a new one.
fn host_key(run: &Path, data: Option<&Path>, said: &mut Vec<String>) -> anyhow::Result<()> {
    let ready = run.join(HOST_KEY);
    let Some(data) = data else {
        if !is_sound(&ready) {
            said.push("the box has another SSH host key until the data partition is back".to_owned());
            generate(run)?;
        }
        return Ok(());
    };
    let folder = data.join("ssh");
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let kept = folder.join(HOST_KEY);
    if !is_sound(&kept) {
        if kept.exists() {
            said.push("the box's SSH host key was spoiled, it has a new one".to_owned());
        }
        generate(&folder)?;
    }
    let key = std::fs::read(&kept).with_context(|| format!("{} cannot be read", kept.display()))?;
    text::replace(&ready, &key, true).context("the host key cannot be handed over")
}

/// Whether the file is a private key as a whole.
fn is_sound(key: &Path) -> bool {
    let asked = Command::new("ssh-keygen").args(["-y", "-P", "", "-f"]).arg(key).output();
    asked.is_ok_and(|answer| answer.status.success())
}

/// Makes a host key in `folder`: under its name only when it is whole.
fn generate(folder: &Path) -> anyhow::Result<()> {
    let part = folder.join("new");
    let _ = std::fs::remove_file(&part); // of a try that was cut short; ssh-keygen would ask
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "matriz", "-f"])
        .arg(&part)
        .output()
        .context("ssh-keygen cannot be started")?;
    ensure!(made.status.success(), "no host key: {}", String::from_utf8_lossy(&made.stderr).trim());
    let key = std::fs::read(&part)?;
    text::replace(&folder.join(HOST_KEY), &key, true)?;
    for rest in [part.clone(), part.with_extension("pub")] {
        let _ = std::fs::remove_file(rest);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// A public key, made for this test; its private part is nowhere.
    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f maria@porto";

    fn world() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("setup")).unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        let root = Root(folder.path().to_owned());
        (folder, root)
    }

    fn start(root: &Root) -> Vec<String> {
        set_up(root, &root.at("setup"), Some(&root.at("data")))
    }

    #[test]
    fn only_public_keys_pass() {
        let (keys, said) =
            sort(&format!("# me\n{KEY}\n\nssh-ed25519 AAAA\nhello\n  from=\"10.0.0.1\" {KEY}\n"));
        assert_eq!(keys, format!("{KEY}\nfrom=\"10.0.0.1\" {KEY}\n"));
        assert_eq!(said.len(), 2);
        assert!(said[0].starts_with("authorized_keys, line 4: this is no public key"), "{said:?}");
        assert!(said[1].starts_with("authorized_keys, line 5: "), "{said:?}");
        let (keys, said) = sort("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz\n");
        assert!(keys.is_empty() && said[0].contains("private key"), "{said:?}");
    }

    #[test]
    fn without_a_key_there_is_no_ssh_and_it_goes_when_the_key_goes() {
        let (_folder, root) = world();
        let list = root.at("run/matriz-system/ssh/authorized_keys");
        assert_eq!(start(&root), Vec::<String>::new());
        assert!(!list.exists() && !root.at("data/ssh").exists());
        let file = root.at("setup/authorized_keys.txt");
        fs::write(&file, format!("\u{feff}{KEY}\r\n")).unwrap();
        assert_eq!(start(&root), Vec::<String>::new());
        assert_eq!(fs::read_to_string(&list).unwrap(), format!("{KEY}\n"));
        fs::write(&file, "nothing").unwrap();
        assert_eq!(start(&root).len(), 1);
        assert!(!list.exists());
        fs::write(&file, KEY).unwrap();
        start(&root);
        fs::remove_file(&file).unwrap();
        assert_eq!(start(&root), Vec::<String>::new());
        assert!(!list.exists());
    }

    #[test]
    fn the_host_key_is_made_once_and_again_only_if_spoiled() {
        let (_folder, root) = world();
        fs::write(root.at("setup/authorized_keys"), KEY).unwrap();
        let (kept, ready) = (root.at("data/ssh").join(HOST_KEY), root.at(RUN).join(HOST_KEY));
        assert_eq!(start(&root), Vec::<String>::new());
        let first = fs::read(&kept).unwrap();
        assert_eq!(fs::metadata(&ready).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(root.at("data/ssh")).unwrap().count(), 1, "nothing else is left behind");
        start(&root);
        assert_eq!((fs::read(&kept).unwrap(), fs::read(&ready).unwrap()), (first.clone(), first.clone()));
        fs::write(&kept, &first[..first.len() / 2]).unwrap();
        assert_eq!(start(&root), ["the box's SSH host key was spoiled, it has a new one"]);
        assert_ne!(fs::read(&kept).unwrap(), first);
    }

    #[test]
    fn without_data_there_is_a_key_for_this_time() {
        let (_folder, root) = world();
        fs::write(root.at("setup/authorized_keys"), KEY).unwrap();
        let said = set_up(&root, &root.at("setup"), None);
        assert_eq!(said, ["the box has another SSH host key until the data partition is back"]);
        assert!(is_sound(&root.at(RUN).join(HOST_KEY)));
    }
}
