//! What the doctor looks at, one function each.
//!
//! Each reads a file or two of the kernel's and judges them; a file that is not there is no fault.

use super::{Finding, Verdict};
use crate::machine::{names, sound_cards, text};
use proto::control::Status;
use std::path::Path;

/// The period that divides a packet and still works on small computers, and the longest that is no trouble, in frames.
const LONGEST_PERIOD: u32 = 256;

/// Free space under which a recording soon ends: 16 tracks of 24 bits in stereo take 16 GB an hour, two tracks 2 GB.
const LITTLE_SPACE: u64 = 2 << 30;

/// From this temperature on small computers slow down, in degrees Celsius (Raspberry Pi: 80 to 85).
const HOT: f32 = 75.0;

fn finding(
    what: &'static str,
    verdict: Verdict,
    found: impl Into<String>,
    remedy: impl Into<String>,
) -> Finding {
    Finding { what, verdict, found: found.into(), remedy: remedy.into() }
}

/// Whether the processor stays fast while nothing happens.
pub fn governor(root: &Path) -> Finding {
    let cpus = "sys/devices/system/cpu";
    let governor = |cpu: String| text(root, &format!("{cpus}/{cpu}/cpufreq/scaling_governor"));
    let mut found: Vec<String> = names(root, cpus).into_iter().filter_map(governor).collect();
    found.sort();
    found.dedup();
    match found.as_slice() {
        [] => finding("governor", Verdict::Unknown, "the processor has one speed, or its host decides", ""),
        [one] if one == "performance" => finding("governor", Verdict::Good, "performance", ""),
        some => finding(
            "governor",
            Verdict::Bad,
            format!("{}: the processor sleeps between cycles and wakes late", some.join(", ")),
            "cpupower frequency-set -g performance (as root; Debian: linux-cpupower)",
        ),
    }
}

/// The limits of this process: what a box started from here may do.
fn limit(root: &Path, name: &str) -> Option<String> {
    let limits = text(root, "proc/self/limits")?;
    let line = limits.lines().find(|line| line.starts_with(name))?;
    line[name.len()..].split_whitespace().next().map(str::to_owned)
}

fn is_root(root: &Path) -> bool {
    let status = text(root, "proc/self/status").unwrap_or_default();
    status
        .lines()
        .any(|line| line.strip_prefix("Uid:").is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0")))
}

/// Whether threads may go before all others.
pub fn realtime(root: &Path) -> Finding {
    let allowed = limit(root, "Max realtime priority").and_then(|priority| priority.parse::<u32>().ok());
    let remedy = "add your user to the group audio and put `@audio - rtprio 95` into \
                  /etc/security/limits.d/audio.conf; then log in again";
    match allowed {
        _ if is_root(root) => finding("realtime", Verdict::Good, "root may have any priority", ""),
        None => finding("realtime", Verdict::Unknown, "the kernel does not say", ""),
        Some(priority) if priority >= 70 => {
            finding("realtime", Verdict::Good, format!("up to {priority}"), "")
        }
        Some(0) => {
            finding("realtime", Verdict::Bad, "not allowed: other programs go before the sound", remedy)
        }
        Some(priority) => finding(
            "realtime",
            Verdict::Doubtful,
            format!("up to {priority} only, the card wants 70"),
            remedy,
        ),
    }
}

/// Whether the kernel stops realtime threads once a second for the others.
pub fn throttling(root: &Path) -> Finding {
    match text(root, "proc/sys/kernel/sched_rt_runtime_us").and_then(|text| text.parse::<i64>().ok()) {
        None => finding("rt limit", Verdict::Unknown, "the kernel does not say", ""),
        Some(-1) => finding("rt limit", Verdict::Good, "realtime threads are never stopped", ""),
        Some(us) if us >= 900_000 => finding(
            "rt limit",
            Verdict::Good,
            format!("{} % of a second for realtime threads", us / 10_000),
            "",
        ),
        Some(us) => finding(
            "rt limit",
            Verdict::Bad,
            format!("realtime threads get only {} % of a second", us / 10_000),
            "sysctl kernel.sched_rt_runtime_us=950000",
        ),
    }
}

/// Whether memory may be kept in RAM.
pub fn memory_lock(root: &Path) -> Finding {
    let remedy = "put `@audio - memlock unlimited` into /etc/security/limits.d/audio.conf; then log in again";
    match limit(root, "Max locked memory").as_deref() {
        _ if is_root(root) => finding("memlock", Verdict::Good, "root may lock all memory", ""),
        None => finding("memlock", Verdict::Unknown, "the kernel does not say", ""),
        Some("unlimited") => finding("memlock", Verdict::Good, "unlimited", ""),
        Some(bytes) => {
            let found = format!("{bytes} bytes: a cycle may wait until memory comes back from the disk");
            finding("memlock", Verdict::Doubtful, found, remedy)
        }
    }
}

/// How soon the kernel lets go of what it does when the card calls.
pub fn kernel(root: &Path) -> Finding {
    let version = text(root, "proc/version").unwrap_or_default();
    let words: Vec<&str> = version.split_whitespace().collect();
    let release = words.get(2).copied().unwrap_or("unknown");
    if version.is_empty() {
        finding("kernel", Verdict::Unknown, "the kernel does not say", "")
    } else if words.iter().any(|word| matches!(*word, "PREEMPT" | "PREEMPT_RT" | "PREEMPT_DYNAMIC" | "RT")) {
        finding("kernel", Verdict::Good, format!("{release}, which can be interrupted"), "")
    } else {
        let remedy = "boot with preempt=full, or a kernel with CONFIG_PREEMPT; else choose a longer period";
        finding(
            "kernel",
            Verdict::Doubtful,
            format!("{release}, which cannot be interrupted at work"),
            remedy,
        )
    }
}

/// What matters of the kernel's command line.
pub fn command_line(root: &Path) -> Finding {
    let line = text(root, "proc/cmdline").unwrap_or_default();
    let has = |word: &str| line.split_whitespace().any(|there| there == word);
    let starts = |word: &str| line.split_whitespace().find(|there| there.starts_with(word));
    let model = text(root, "proc/device-tree/model").unwrap_or_default();
    let dwc =
        ["Raspberry Pi 2", "Raspberry Pi 3", "Raspberry Pi Zero"].iter().any(|known| model.contains(known));
    if let Some(word) = starts("maxcpus=1").or_else(|| starts("nosmp")) {
        return finding(
            "command line",
            Verdict::Bad,
            format!("{word}: one core only"),
            format!("take {word} away"),
        );
    }
    if dwc && !has("dwc_otg.lpm_enable=0") {
        let found = "the USB controller may fall asleep under the card";
        return finding("command line", Verdict::Doubtful, found, "add dwc_otg.lpm_enable=0 to cmdline.txt");
    }
    match starts("isolcpus=") {
        Some(word) => {
            finding("command line", Verdict::Good, format!("{word}: these cores are the sound's own"), "")
        }
        None => finding("command line", Verdict::Good, "nothing in it is in the way", ""),
    }
}

/// Whether asking for the time is quick and steady.
pub fn clock_source(root: &Path) -> Finding {
    let folder = "sys/devices/system/clocksource/clocksource0";
    match text(root, &format!("{folder}/current_clocksource")).as_deref() {
        None => finding("clock", Verdict::Unknown, "the kernel does not say", ""),
        Some(slow @ ("hpet" | "acpi_pm" | "jiffies")) => finding(
            "clock",
            Verdict::Doubtful,
            format!("{slow}: asking for the time is slow"),
            "look into dmesg for why tsc was given up; a BIOS update may help",
        ),
        Some(clock) => finding("clock", Verdict::Good, clock, ""),
    }
}

/// Whether programs wait for the disk because memory is short.
pub fn swap(root: &Path) -> Finding {
    let memory = text(root, "proc/meminfo").unwrap_or_default();
    let kilobytes = |name: &str| -> Option<u64> {
        memory.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
    };
    let (Some(total), Some(available)) = (kilobytes("MemTotal:"), kilobytes("MemAvailable:")) else {
        return finding("memory", Verdict::Unknown, "the kernel does not say", "");
    };
    let found = format!("{} of {} MB free", available / 1_024, total / 1_024);
    match available * 20 < total {
        true => finding("memory", Verdict::Bad, found, "end other programs: less than a twentieth is left"),
        false => finding("memory", Verdict::Good, found, ""),
    }
}

/// The sound cards, with the speed of their USB and the rate at which they run.
pub fn cards(root: &Path) -> Vec<Finding> {
    let cards = sound_cards(root);
    if cards.is_empty() {
        let remedy = "plug one in, and look whether `dmesg` says why it is refused";
        return vec![finding("card", Verdict::Bad, "the kernel knows no sound card", remedy)];
    }
    let usb: Vec<Finding> = cards
        .iter()
        .filter(|card| card.driver == "USB-Audio")
        .map(|card| usb_card(root, card.number, &card.name))
        .collect();
    if usb.is_empty() {
        let names: Vec<&str> = cards.iter().map(|card| card.name.as_str()).collect();
        let found = format!("{}; none of them by USB", names.join(", "));
        return vec![finding("card", Verdict::Doubtful, found, "is your sound card plugged in?")];
    }
    usb
}

fn usb_card(root: &Path, number: u32, name: &str) -> Finding {
    // `Focusrite Scarlett 2i2 USB at usb-3f980000.usb-1.2, high speed : Playback`
    let stream = text(root, &format!("proc/asound/card{number}/stream0")).unwrap_or_default();
    let speed = ["super speed", "high speed", "full speed"].into_iter().find(|speed| stream.contains(speed));
    let settings = text(root, &format!("proc/asound/card{number}/pcm0p/sub0/hw_params")).unwrap_or_default();
    let rate = settings
        .lines()
        .find_map(|line| line.strip_prefix("rate: ")?.split_whitespace().next()?.parse::<u32>().ok());
    let rate_words = rate.map_or_else(|| "not in use".to_owned(), |rate| format!("{rate} Hz"));
    let found = format!("{name}, {}, {rate_words}", speed.unwrap_or("speed unknown"));
    match (speed, rate) {
        (_, Some(rate)) if rate != 48_000 => finding(
            "card",
            Verdict::Bad,
            found,
            "start JACK with 48000 Hz (-r 48000): a box knows no other rate",
        ),
        (Some("full speed"), _) => finding(
            "card",
            Verdict::Doubtful,
            found,
            "its USB runs at 12 Mbit/s: take another cable or port, and no old hub; if the card knows no more, \
             choose a longer period",
        ),
        _ => finding("card", Verdict::Good, found, ""),
    }
}

/// What the box itself says, or why it says nothing.
pub fn box_(status: Result<&Status, &str>) -> Vec<Finding> {
    let status = match status {
        Ok(status) => status,
        Err(why) => return vec![finding("box", Verdict::Unknown, why, "")],
    };
    let machine = &status.machine;
    let share = status.overruns as f64 / status.cycles.max(1) as f64;
    let late = format!("{} of {} cycles late, {} xruns", status.overruns, status.cycles, machine.xruns);
    let longer = "close other programs, or choose a longer period (jackd -p)";
    let mut findings = vec![match machine.plays {
        false => finding("box", Verdict::Bad, machine.card.clone(), "see what it says"),
        true if share > 1e-3 => finding("cycles", Verdict::Bad, late, longer),
        true if share > 1e-5 => finding("cycles", Verdict::Doubtful, late, longer),
        true => finding("cycles", Verdict::Good, late, ""),
    }];
    if machine.plays && machine.period > LONGEST_PERIOD {
        let found =
            format!("{} frames: {:.1} ms in each direction", machine.period, machine.period as f32 / 48.0);
        findings.push(finding(
            "period",
            Verdict::Doubtful,
            found,
            "start JACK with -p 120 if the computer bears it",
        ));
    }
    if let Some(celsius) = machine.celsius.filter(|celsius| *celsius >= HOT) {
        let remedy = "give it air: a hot processor becomes slow";
        findings.push(finding("temperature", Verdict::Doubtful, format!("{celsius:.0} °C"), remedy));
    }
    let at_rendezvous = status.rendezvous == "connected" || !status.in_session;
    let verdict = if at_rendezvous { Verdict::Good } else { Verdict::Bad };
    let remedy =
        if at_rendezvous { "" } else { "see what it says; the guide has a table of these sentences" };
    findings.push(finding("rendezvous", verdict, status.rendezvous.clone(), remedy));
    for peer in status.peers.iter().filter(|peer| !peer.connected) {
        let found = format!("no way to {}", peer.name);
        let remedy = "open the UDP port of \"media_port\" (8600) at one of the two routers";
        findings.push(finding("ports", Verdict::Bad, found, remedy));
    }
    for peer in status.peers.iter().filter(|peer| peer.lost_percent >= 1.0) {
        let found = format!("{}: the line loses {:.1} %", peer.name, peer.lost_percent);
        findings.push(finding("line", Verdict::Doubtful, found, "a cable in place of Wi-Fi, at both ends"));
    }
    findings
}

/// Whether there is room for a recording.
pub fn disk(folder: &Path) -> Finding {
    match nix::sys::statvfs::statvfs(folder) {
        Err(error) => finding("disk", Verdict::Unknown, format!("{} ({error})", folder.display()), ""),
        Ok(found) => {
            #[allow(clippy::useless_conversion, reason = "both are shorter on computers of 32 bits")]
            let free = u64::from(found.blocks_available()) * u64::from(found.fragment_size());
            let words = format!("{:.1} GB free in {}", free as f64 / 1e9, folder.display());
            match free < LITTLE_SPACE {
                true => finding(
                    "disk",
                    Verdict::Doubtful,
                    words,
                    "make room before you record: an hour of two tracks takes 2 GB",
                ),
                false => finding("disk", Verdict::Good, words, ""),
            }
        }
    }
}
