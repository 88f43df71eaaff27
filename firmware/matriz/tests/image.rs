//! The card: its image is the same bytes each time, everything on it is where everything else expects it, and the
//! units that run the box are good.
//!
//! The programs of `image/` run on small made-up files; nothing is booted here.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/card.rs"]
mod card;

use card::{Input, must, read, refused, repository, run, write};
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// Bytes of a sector, and of a mebibyte.
const SECTOR: u64 = 512;
const MIB: u64 = 1 << 20;

/// Assembles the card of an input.
fn assemble(input: &Input, image: &str) -> Command {
    let mut command = Command::new(repository().join("image/assemble"));
    command.args([input.path("root.squashfs"), input.path("boot"), input.path(image)]);
    command
}

#[test]
fn two_assemblies_of_the_same_input_are_the_same_bytes() {
    let input = Input::new();
    must(&mut assemble(&input, "one.img"));
    // The second happens more than a year later, in another part of the world.
    let mut later = Command::new("faketime");
    let command = assemble(&input, "two.img");
    later.arg("+400 days").arg(command.get_program()).args(command.get_args());
    must(later.env("NO_FAKE_STAT", "1").env("TZ", "Asia/Tokyo"));
    let same = run(Command::new("cmp").args([input.path("one.img"), input.path("two.img")]));
    assert!(same.status.success(), "{}", String::from_utf8_lossy(&same.stdout));
}

/// A partition: its type, first sector and length in sectors.
type Partition = (u8, u64, u64);

/// The entries of the boot record in a sector.
fn entries(image: &fs::File, sector: u64) -> Vec<Partition> {
    let mut record = [0; 512];
    image.read_exact_at(&mut record, sector * SECTOR).unwrap();
    assert_eq!(record[510..], [0x55, 0xAA]);
    let number = |bytes: &[u8]| u64::from(u32::from_le_bytes(bytes.try_into().unwrap()));
    record[446..510]
        .chunks(16)
        .map(|entry| (entry[4], number(&entry[8..12]), number(&entry[12..16])))
        .collect()
}

/// All partitions by their Linux numbers: four primary ones from 1, the logical ones from 5.
fn partitions(image: &fs::File) -> Vec<Partition> {
    let mut all = entries(image, 0);
    let begin = all[3].1;
    let mut record = begin;
    loop {
        let here = entries(image, record);
        all.push((here[0].0, record + here[0].1, here[0].2));
        if here[1].2 == 0 {
            return all;
        }
        record = begin + here[1].1;
    }
}

#[test]
fn the_card_is_laid_out_as_everything_else_expects() {
    let input = Input::new();
    must(&mut assemble(&input, "card.img"));
    let card = input.path("card.img");
    let image = fs::File::open(&card).unwrap();
    let mib = |kind, from: u64, length: u64| (kind, from * MIB / SECTOR, length * MIB / SECTOR);
    let all = partitions(&image);
    assert_eq!(all[..3], [mib(0x0c, 4, 64), mib(0x0c, 68, 64), mib(0x0c, 132, 64)], "set-up, boot A, boot B");
    assert_eq!(all[3].0, 0x0f, "the extended one");
    assert_eq!(
        all[4..],
        [mib(0x83, 200, 256), mib(0x83, 460, 256), mib(0x83, 720, 6_000)],
        "root A, root B, data"
    );
    assert!((all[6].1 + all[6].2) * SECTOR < 7_200_000_000, "fits a card of 8 GB");

    let begins = |sector: u64, length: usize| {
        let mut bytes = vec![0; length];
        image.read_exact_at(&mut bytes, sector * SECTOR).unwrap();
        bytes
    };
    assert_eq!(begins(all[4].1, 4), b"hsqs", "a squashfs");
    assert!(begins(all[5].1, 65_536).iter().all(|byte| *byte == 0), "the other slot is empty");
    let mark = begins(all[6].1, 4_096);
    assert!(mark.starts_with(b"MATRIZ: the data partition is made at the first start\0"));
    assert_eq!(mark[1024..], [0; 3_072], "no superblock of before");

    let fat = |partition: usize, file: &str| {
        let at = format!("{}@@{}M", card.display(), all[partition - 1].1 * SECTOR / MIB);
        run(Command::new("mtype").args(["-i", &at, &format!("::{file}")])).stdout
    };
    assert_eq!(fat(1, "matriz.toml"), read("image/setup/matriz.toml").into_bytes());
    assert_eq!(fat(1, "autoboot.txt").len(), 512, "one sector, to be changed in one go");
    assert!(!fat(1, "README.txt").is_empty() && !fat(1, "bootcode.bin").is_empty());
    assert_eq!(fat(2, "overlays/a.dtbo"), fs::read(input.path("boot/overlays/a.dtbo")).unwrap());
    assert!(
        !fat(2, "zImage").is_empty() && !fat(2, "start.elf").is_empty() && !fat(2, "config.txt").is_empty()
    );
    let command_line = String::from_utf8(fat(2, "cmdline.txt")).unwrap();
    assert!(command_line.starts_with("root=/dev/mmcblk0p5 ") && command_line.lines().count() == 1);
}

#[test]
fn the_firmware_tries_the_other_boot_partition() {
    let text = read("image/setup/autoboot.txt");
    let said: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(said, ["[all]", "tryboot_a_b=1", "boot_partition=2", "[tryboot]", "boot_partition=3"]);
    assert_eq!(text.len(), 512);
}

#[test]
fn what_does_not_fit_on_the_card_is_told() {
    let input = Input::new();
    fs::File::options().write(true).open(input.path("root.squashfs")).unwrap().set_len(257 * MIB).unwrap();
    let told = refused(&mut assemble(&input, "card.img"));
    assert!(told.ends_with("root.squashfs is larger than 256 MiB.\n"), "{told}");
    fs::remove_file(input.path("boot/start.elf")).unwrap();
    let told = refused(&mut assemble(&input, "card.img"));
    assert!(told.ends_with("boot/start.elf is missing.\n"), "{told}");
    assert!(!input.path("card.img").exists());
}

/// A root file system with the overlay, this system's own units and stand-ins for the programs.
fn root() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for path in ["usr/bin", "usr/sbin", "usr/lib/systemd"] {
        fs::create_dir_all(root.join(path)).unwrap();
    }
    for (link, target) in [("lib", "usr/lib"), ("bin", "usr/bin"), ("sbin", "usr/sbin")] {
        symlink(target, root.join(link)).unwrap();
    }
    must(Command::new("cp").args(["-r", "/lib/systemd/system"]).arg(root.join("usr/lib/systemd")));
    for program in ["usr/bin/matriz", "usr/sbin/sshd", "usr/bin/sh", "usr/bin/systemctl"] {
        write(&root.join(program), "#!/bin/sh\n");
        fs::set_permissions(root.join(program), fs::Permissions::from_mode(0o755)).unwrap();
    }
    must(Command::new(repository().join("image/finish-root")).arg(root).arg("1.2.3"));
    folder
}

#[test]
fn the_units_are_good() {
    let root = root();
    let at = format!("--root={}", root.path().display());
    let verify = |units: &[String]| {
        let mut command = Command::new("systemd-analyze");
        command.args(["verify", "--man=no", "--generators=no", &at]).args(units);
        let output = run(&mut command);
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let own = repository().join("overlays/rootfs/usr/lib/systemd/system");
    let mut units: Vec<String> =
        fs::read_dir(own).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    // What is added to a unit of others, here to a stand-in for it.
    for unit in units.iter_mut().filter(|name| name.ends_with(".d")) {
        unit.truncate(unit.len() - 2);
        let stand_in = "[Unit]\nDescription=Another's\n[Service]\nExecStart=/usr/bin/sh\n";
        write(&root.path().join("usr/lib/systemd/system").join(unit), stand_in);
    }
    units.sort();
    assert!(units.len() >= 8, "{units:?}");
    assert_eq!(verify(&units), (true, String::new()));

    // It would have told of a mistake.
    let unit = root.path().join("usr/lib/systemd/system/matriz.service");
    fs::write(&unit, fs::read_to_string(&unit).unwrap().replace("WatchdogSec", "WatchdogSek")).unwrap();
    let (_, told) = verify(&["matriz.service".to_owned()]);
    assert!(
        told.contains("Unknown key 'WatchdogSek' in section [Service]") || told.contains("WatchdogSek"),
        "{told}"
    );
}

#[test]
fn what_shall_run_is_switched_on_and_nothing_else() {
    let root = root();
    let at = format!("--root={}", root.path().display());
    must(Command::new("systemctl").args([&at, "--preset-mode=full", "preset-all"]));
    let on = |unit: &str| {
        let output = run(Command::new("systemctl").args([&at, "is-enabled", unit]));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    for unit in [
        "var.mount",
        "matriz-boot.service",
        "matriz.service",
        "matriz-health.service",
        "matriz-sshd.service",
        "matriz-power-off.path",
        "matriz-update.socket",
        "systemd-networkd.service",
    ] {
        assert_eq!(on(unit), "enabled", "{unit}");
    }
    for unit in ["getty@tty1.service", "systemd-pstore.service"] {
        assert_eq!(on(unit), "disabled", "{unit}");
    }
    assert_eq!(on("matriz-update@.service"), "static", "the socket starts one for each connection");
    for unit in
        ["jackd.service", "setup.mount", "data.mount", "matriz-data.service", "matriz-fall-back.service"]
    {
        assert_eq!(on(unit), "static", "{unit}: others want it");
    }
}

#[test]
fn the_file_that_asks_for_power_off_is_the_one_that_is_waited_for() {
    let unit = |name: &str| read(&format!("overlays/rootfs/usr/lib/systemd/system/{name}"));
    let value = |text: &str, key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key).map(str::to_owned))
            .unwrap_or_else(|| panic!("{key}"))
    };
    let asked = value(&unit("matriz.service"), "Environment=MATRIZ_POWER_OFF=");
    assert_eq!(asked, value(&unit("matriz-power-off.path"), "PathExists="));
    assert!(asked.starts_with("/run/matriz/"), "the box may write there: {asked}");
}

#[test]
fn a_gate_without_a_verdict_leads_back_into_the_old_slot_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let (programs, asked) = (root.join("bin"), root.join("asked"));
    write(&programs.join("systemctl"), format!("#!/bin/sh\necho \"$@\" >'{}'\n", asked.display()));
    fs::set_permissions(programs.join("systemctl"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let falls_back = |slot: u8, autoboot: &str| {
        write(&root.join("proc/cmdline"), format!("root=/dev/mmcblk0p{slot} rootfstype=squashfs\n"));
        write(&root.join("setup/autoboot.txt"), autoboot);
        let _ = fs::remove_file(&asked);
        let script = repository().join("overlays/rootfs/usr/lib/matriz/fall-back");
        must(Command::new(script).arg(root).env("PATH", &path));
        fs::read_to_string(&asked).ok()
    };
    let shipped = read("image/setup/autoboot.txt");
    let swapped = shipped.replace("=2", "=x").replace("=3", "=2").replace("=x", "=3");
    let back = Some("--force reboot\n".to_owned());
    assert_eq!(falls_back(5, &shipped), None, "committed");
    assert_eq!(falls_back(6, &shipped), back, "on trial");
    assert_eq!(falls_back(5, &swapped.replace('\n', "\r\n")), back, "on trial, and edited on Windows");
    assert_eq!(falls_back(6, &swapped), None);
    assert_eq!(falls_back(6, "nonsense"), None, "nobody knows: the box goes on");
    assert_eq!(falls_back(2, &shipped), None, "no box");
}

#[test]
fn a_finished_root_is_that_of_a_read_only_box() {
    let folder = root();
    let root = folder.path();
    let text = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    assert_eq!(text("etc/machine-id"), "", "a new one in memory at every start");
    assert!(text("etc/os-release").contains("VERSION_ID=1.2.3\n"));
    for script in ["boot-slots", "fall-back"] {
        let mode = fs::metadata(root.join("usr/lib/matriz").join(script)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755, "{script} can be started");
    }
    assert!(root.join("setup").is_dir() && root.join("data").is_dir() && root.join("var").is_dir());
    assert_eq!(
        fs::read_link(root.join("etc/resolv.conf")).unwrap(),
        Path::new("../run/systemd/resolve/stub-resolv.conf")
    );
    assert!(!text("etc/fstab").contains("/dev/"), "the mounts are units");
}

#[test]
fn both_lists_of_users_say_the_same() {
    let systemd = read("overlays/rootfs/usr/lib/sysusers.d/matriz.conf");
    let buildroot = read("buildroot-external/users.txt");
    let words = |text: &str| -> Vec<Vec<String>> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    let (mut groups, mut users, mut member) = (Vec::new(), Vec::new(), Vec::new());
    for line in words(&systemd) {
        match line[0].as_str() {
            "g" => groups.push(format!("{} {}", line[1], line[2])),
            "u" => users.push(format!("{} {}", line[1], line[2])),
            "m" => member.push((line[1].clone(), line[2].clone())),
            other => panic!("{other}"),
        }
    }
    let table = words(&buildroot);
    let (lines, rest): (Vec<_>, Vec<_>) = table.iter().partition(|line| line[0] == "-");
    assert_eq!(groups, lines.iter().map(|line| format!("{} {}", line[2], line[3])).collect::<Vec<_>>());
    assert_eq!(users, rest.iter().map(|line| format!("{} {}", line[0], line[1])).collect::<Vec<_>>());
    for user in &rest {
        let of = member.iter().filter(|(name, _)| *name == user[0]).map(|(_, group)| group.as_str());
        let of: Vec<&str> = of.collect();
        let written = if user[7] == "-" { String::new() } else { user[7].clone() };
        assert_eq!(written, of.join(","), "{}", user[0]);
    }
}

/// A line of the users' list of Buildroot.
fn user(name: &str) -> Vec<String> {
    let table = read("buildroot-external/users.txt");
    let line = table.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}"));
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn who_updates_has_a_shell_and_no_password_and_may_only_open_a_socket() {
    let update = user("update ");
    assert_eq!(update[2..8], ["update", "403", "*", "-", "/bin/sh", "-"], "sshd runs its command by a shell");
    let socket = read("overlays/rootfs/usr/lib/systemd/system/matriz-update.socket");
    assert!(socket.contains("\nListenStream=/run/matriz-system/update.sock\n"));
    assert!(socket.contains("\nSocketGroup=update\nSocketMode=0660\n"));
    let sshd = read("overlays/rootfs/usr/lib/matriz/sshd_config");
    let of_update = sshd.split("\nMatch User update\n").nth(1).unwrap();
    assert!(sshd.contains("\nAllowUsers root update\n"));
    assert!(of_update.contains("    ForceCommand /usr/bin/matriz system receive\n"));
}

#[test]
fn what_installs_leaves_sound_and_network_alone() {
    let unit = read("overlays/rootfs/usr/lib/systemd/system/matriz-update@.service");
    for line in ["CPUAffinity=0 1", "CPUSchedulingPolicy=idle", "IOSchedulingClass=idle"] {
        assert!(unit.lines().any(|told| told == line), "{line}");
    }
}

#[test]
fn the_three_configurations_differ_only_where_they_should() {
    let lines = |name: &str| -> Vec<String> {
        let text = read(&format!("buildroot-external/configs/matriz_rpi2{name}_defconfig"));
        text.lines().map(str::to_owned).collect()
    };
    let release = lines("");
    let beyond = |name: &str| -> Vec<String> {
        lines(name).into_iter().filter(|line| !release.contains(line)).collect()
    };
    assert!(release.iter().all(|line| lines("_dev").contains(line)));
    let (packages, rest): (Vec<String>, Vec<String>) =
        beyond("_dev").into_iter().partition(|line| line.starts_with("BR2_PACKAGE_"));
    assert!(!packages.is_empty());
    assert_eq!(rest, ["BR2_ROOTFS_POST_BUILD_SCRIPT_ARGS=\"development\""], "whose updates it takes");
    assert_eq!(release.iter().filter(|line| !lines("_rt").contains(line)).count(), 1);
    assert!(beyond("_rt").len() == 1 && beyond("_rt")[0].contains("linux-rt.fragment"));
}

#[test]
fn a_line_that_a_configuration_did_not_take_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (config, wanted) = (folder.path().join(".config"), folder.path().join("wanted"));
    fs::write(&config, "CONFIG_A=y\nCONFIG_b=\"x y\"\n# CONFIG_C is not set\nCONFIG_D=m\n").unwrap();
    let check = |lines: &str| {
        fs::write(&wanted, lines).unwrap();
        let output =
            run(Command::new(repository().join("buildroot-external/check-config")).args([&config, &wanted]));
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let good = "# a comment\nCONFIG_A=y\nCONFIG_b=\"x y\"\n# CONFIG_C is not set\n# CONFIG_E is not set\n";
    assert_eq!(check(good), (true, String::new()));
    for (line, is) in [
        ("CONFIG_A=m", "CONFIG_A=y"),
        ("CONFIG_b=\"x\"", "CONFIG_b=\"x y\""),
        ("# CONFIG_D is not set", "CONFIG_D=m"),
        ("CONFIG_E=y", "nothing"),
    ] {
        let told = format!("{}, line 2: {line} did not survive; it is: {is}\n", wanted.display());
        assert_eq!(check(&format!("\n{line}\n")), (false, told));
    }
}
