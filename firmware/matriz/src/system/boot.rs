//! The step between the mounts and the network: settings, name, address and keys of this box.
//!
//! Everything is read from the set-up partition at every start and decided here; what the other services
//! need lies in `/run` afterwards. Nothing here keeps the box from starting: what is wrong becomes a sentence
//! (`messages`), and the next best thing is done.

use super::{BOX, DATA, Root, SETUP, messages, network, receive, settings, slots, ssh};
use anyhow::Context;
use std::path::{Path, PathBuf};

/// The box's folder on the data partition.
const HOME: &str = "data/matriz";

/// The box's folder where there is no data partition: in memory.
const HOME_WITHOUT_DATA: &str = "var/lib/matriz";

/// The user that the box plays as, from `overlays/`.
const USER: &str = "matriz";

/// Counts the start, then takes over what is on the set-up partition, and leaves the sentences of it. The counting
/// goes first, so that it is done whatever happens to the rest.
///
/// # Errors
/// Not even `/run` can be written.
pub fn run(root: &Root) -> anyhow::Result<()> {
    if slots::start(root) {
        tracing::info!("the box restarts into the system that is to be tried");
        return Ok(());
    }
    let mut said = Vec::new();
    let name = host_name(root);
    if let Err(error) = std::fs::write(root.at("proc/sys/kernel/hostname"), &name) {
        said.push(format!("the box could not be named {name} ({error})"));
    }
    if !is_there(root, SETUP) {
        said.push("the set-up partition cannot be read".to_owned());
    }
    receive::clear(root);
    let home = home(root, &mut said)?;
    let choice = settings::take_over(&root.at(SETUP), &home);
    said.extend(choice.said);
    let wished = choice.config.as_ref().and_then(|config| config.network.as_ref());
    if let Err(error) = network::set_up(root, wished) {
        said.push(format!("the address could not be set ({error})"));
    }
    let data = root.at(DATA);
    said.extend(ssh::set_up(root, &root.at(SETUP), is_there(root, DATA).then_some(data.as_path())));
    if root.is_real() {
        hand_over(&home).unwrap_or_else(|error| said.push(format!("{error:#}")));
    }
    tracing::info!("this box is {name}");
    messages::leave(root, "20-boot", &said)
}

/// Makes the box's folder, and lets [`BOX`] point to it.
fn home(root: &Root, said: &mut Vec<String>) -> anyhow::Result<PathBuf> {
    let made = |folder: &str| std::fs::create_dir_all(root.at(folder)).map(|()| root.at(folder));
    let kept = if is_there(root, DATA) { made(HOME) } else { Err(std::io::ErrorKind::NotFound.into()) };
    let home = match kept {
        Ok(home) => home,
        Err(error) => {
            said.push(format!("there is no data partition ({error}): nothing is kept when the power goes"));
            made(HOME_WITHOUT_DATA).context("there is no place for the settings")?
        }
    };
    let link = root.at(BOX);
    std::fs::create_dir_all(link.parent().unwrap_or(Path::new("/")))?;
    let _ = std::fs::remove_file(&link); // of a boot step that ran before
    std::os::unix::fs::symlink(&home, &link).context("the box's folder cannot be pointed to")?;
    Ok(home)
}

/// Whether a partition is mounted at `folder`. For a test's root: whether there is such a folder.
pub(super) fn is_there(root: &Root, folder: &str) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| std::fs::metadata(path).map(|at| at.dev());
    match (device(&root.at(folder)), root.is_real()) {
        (Ok(here), true) => device(&root.at("")).is_ok_and(|above| above != here),
        (here, _) => here.is_ok(),
    }
}

/// Gives the box's folder to the user that plays.
fn hand_over(home: &Path) -> anyhow::Result<()> {
    let user = nix::unistd::User::from_name(USER)?.with_context(|| format!("there is no user {USER}"))?;
    let own = |path: &Path| std::os::unix::fs::lchown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()));
    own(home)?;
    for entry in std::fs::read_dir(home)? {
        own(&entry?.path())?;
    }
    Ok(())
}

/// The name of this box in the network: `matriz-` and the last four digits of its serial number, or of its
/// network card's address.
fn host_name(root: &Root) -> String {
    let serial = root.line("proc/device-tree/serial-number").or_else(|| {
        let info = root.line("proc/cpuinfo")?;
        let line = info.lines().find(|line| line.starts_with("Serial"))?;
        Some(line.split(':').nth(1)?.trim().to_owned())
    });
    let known = serial.into_iter().chain(hardware_address(root)).find_map(|number| last_four(&number));
    known.map_or_else(|| "matriz".to_owned(), |four| format!("matriz-{four}"))
}

/// The last four hexadecimal digits, if they mean anything.
fn last_four(number: &str) -> Option<String> {
    let digits: String = number.chars().filter(char::is_ascii_hexdigit).collect();
    let means = digits.len() >= 4 && digits.chars().any(|digit| digit != '0');
    means.then(|| digits[digits.len() - 4..].to_ascii_lowercase())
}

/// The address of the first wired network card.
fn hardware_address(root: &Root) -> Option<String> {
    let mut cards: Vec<String> = std::fs::read_dir(root.at("sys/class/net"))
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| ["eth", "en", "usb"].iter().any(|kind| name.starts_with(kind)))
        .collect();
    cards.sort();
    root.line(&format!("sys/class/net/{}/address", cards.first()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn write(root: &Root, path: &str, text: &str) {
        let file = root.at(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    fn world() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        let root = Root(folder.path().to_owned());
        write(&root, "proc/sys/kernel/hostname", "(none)");
        (folder, root)
    }

    #[test]
    fn the_name_is_of_the_serial_number_or_of_the_network_card() {
        let (_folder, root) = world();
        assert_eq!(host_name(&root), "matriz");
        write(&root, "sys/class/net/lo/address", "00:00:00:00:00:00\n");
        write(&root, "sys/class/net/eth0/address", "b8:27:eb:12:9F:01\n");
        assert_eq!(host_name(&root), "matriz-9f01");
        write(&root, "proc/cpuinfo", "Hardware\t: BCM2835\nSerial\t\t: 0000000000000000\n");
        assert_eq!(host_name(&root), "matriz-9f01");
        write(&root, "proc/cpuinfo", "Hardware\t: BCM2835\nSerial\t\t: 00000000abcd1A2b\n");
        assert_eq!(host_name(&root), "matriz-1a2b");
        write(&root, "proc/device-tree/serial-number", "000000009c3d5e6f\0");
        assert_eq!(host_name(&root), "matriz-5e6f");
    }

    #[test]
    fn a_start_leaves_settings_name_address_and_nothing_to_say() {
        let (_folder, root) = world();
        fs::create_dir(root.at("data")).unwrap();
        write(&root, "proc/cpuinfo", "Serial\t\t: 00000000abcd1a2b\n");
        let settings = settings::TEMPLATE.to_owned() + "\n[network]\naddress = \"10.1.2.3/8\"\n";
        write(&root, "setup/matriz.toml", &settings);
        for _ in 0..2 {
            run(&root).unwrap();
            assert_eq!(messages::read(&root), Vec::<String>::new());
        }
        assert_eq!(fs::read_to_string(root.at("proc/sys/kernel/hostname")).unwrap(), "matriz-1a2b");
        assert_eq!(fs::read_to_string(root.at("run/matriz-system/box/matriz.toml")).unwrap(), settings);
        assert_eq!(fs::read_to_string(root.at("data/matriz/matriz.toml")).unwrap(), settings);
        assert!(root.at("run/systemd/network/10-matriz.network").exists());
    }

    #[test]
    fn a_card_in_ruins_starts_all_the_same_and_says_everything() {
        let (_folder, root) = world();
        run(&root).unwrap();
        let said = messages::read(&root);
        assert_eq!(said.len(), 3, "{said:?}");
        assert_eq!(said[0], "the set-up partition cannot be read");
        assert!(said[1].starts_with("there is no data partition ("), "{said:?}");
        assert!(said[2].starts_with("matriz.toml is not on the card; "), "{said:?}");
        assert_eq!(
            fs::read_to_string(root.at("run/matriz-system/box/matriz.toml")).unwrap(),
            settings::TEMPLATE
        );
        assert!(root.at("var/lib/matriz/matriz.toml").exists());
    }

    #[test]
    fn data_that_cannot_be_written_is_as_good_as_none() {
        let (_folder, root) = world();
        write(&root, "data/matriz", "no folder");
        write(&root, "setup/matriz.toml", settings::TEMPLATE);
        run(&root).unwrap();
        let said = messages::read(&root);
        assert!(said[0].starts_with("there is no data partition (") && said.len() == 1, "{said:?}");
    }
}
