//! Computers of paper, good and bad ones.

use super::*;
use proto::control::{Machine, PeerStatus};

fn computer(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

const CARDS: &str = " 1 [USB            ]: USB-Audio - Scarlett 2i2 USB\n                      Focusrite\n";

fn limits(priority: &str, memory: &str) -> String {
    format!(
        "Limit                     Soft Limit           Hard Limit           Units     \nMax locked memory         \
         {memory}            {memory}            bytes     \nMax realtime priority     {priority}                    \
         {priority}                    \n"
    )
}

fn playing() -> Status {
    Status {
        rendezvous: "connected".to_owned(),
        in_session: true,
        cycles: 1_000_000,
        machine: Machine { plays: true, period: 120, celsius: Some(48.0), ..Machine::default() },
        ..Status::default()
    }
}

/// What is to be done, by what it is about.
fn to_do(findings: &[Finding]) -> Vec<(&'static str, Verdict)> {
    let open = findings.iter().filter(|finding| !finding.remedy.is_empty());
    open.map(|finding| (finding.what, finding.verdict)).collect()
}

#[test]
fn a_box_as_it_should_be_has_nothing_to_do() {
    let limits = limits("95", "unlimited");
    let folder = computer(&[
        ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n"),
        ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance\n"),
        ("sys/devices/system/cpu/online", "0-1\n"),
        ("sys/devices/system/clocksource/clocksource0/current_clocksource", "arch_sys_counter\n"),
        ("proc/self/limits", &limits),
        ("proc/self/status", "Name:\tmatriz\nUid:\t1000\t1000\t1000\t1000\n"),
        ("proc/sys/kernel/sched_rt_runtime_us", "950000\n"),
        ("proc/version", "Linux version 6.12.61 (build@box) (gcc) #1 SMP PREEMPT Mon\n"),
        ("proc/cmdline", "root=/dev/mmcblk0p5 dwc_otg.lpm_enable=0 isolcpus=2-3\n"),
        ("proc/device-tree/model", "Raspberry Pi 2 Model B Rev 1.1\0"),
        ("proc/meminfo", "MemTotal:  1000000 kB\nMemAvailable:   700000 kB\n"),
        ("proc/asound/cards", CARDS),
        (
            "proc/asound/card1/stream0",
            "Focusrite Scarlett 2i2 USB at usb-3f980000.usb-1.2, high speed : Playback\n",
        ),
        ("proc/asound/card1/pcm0p/sub0/hw_params", "access: MMAP_INTERLEAVED\nrate: 48000 (48000/1)\n"),
    ]);
    let findings = examine(folder.path(), Ok(&playing()));
    assert_eq!(to_do(&findings), []);
    assert!(findings.iter().all(|finding| finding.verdict == Verdict::Good), "{findings:#?}");
    assert!(in_words(&findings).ends_with("nothing to do\n"));
}

#[test]
fn what_is_wrong_is_found_and_each_has_a_remedy() {
    let limits = limits("0", "8388608");
    let folder = computer(&[
        ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "ondemand\n"),
        ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance\n"),
        ("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n"),
        ("proc/self/limits", &limits),
        ("proc/self/status", "Uid:\t1000\t1000\t1000\t1000\n"),
        ("proc/sys/kernel/sched_rt_runtime_us", "100000\n"),
        ("proc/version", "Linux version 6.1.0 (x) (gcc) #1 SMP Debian\n"),
        ("proc/cmdline", "console=tty1\n"),
        ("proc/device-tree/model", "Raspberry Pi 2 Model B Rev 1.1\0"),
        ("proc/meminfo", "MemTotal:  1000000 kB\nMemAvailable:   20000 kB\n"),
        ("proc/asound/cards", CARDS),
        (
            "proc/asound/card1/stream0",
            "Focusrite Scarlett 2i2 USB at usb-3f980000.usb-1.2, full speed : Playback\n",
        ),
        ("proc/asound/card1/pcm0p/sub0/hw_params", "closed\n"),
    ]);
    let lost =
        PeerStatus { name: "lisboa".to_owned(), connected: true, lost_percent: 2.0, ..PeerStatus::default() };
    let away = PeerStatus { name: "marte".to_owned(), ..PeerStatus::default() };
    let status = Status {
        overruns: 5_000,
        rendezvous: "nobody listens at 192.0.2.1:5000".to_owned(),
        machine: Machine { period: 1_024, celsius: Some(81.0), ..playing().machine },
        peers: vec![lost, away],
        ..playing()
    };
    let findings = examine(folder.path(), Ok(&status));
    let (bad, hm) = (Verdict::Bad, Verdict::Doubtful);
    let wanted = [
        ("governor", bad),
        ("realtime", bad),
        ("rt limit", bad),
        ("memlock", hm),
        ("kernel", hm),
        ("command line", hm),
        ("clock", hm),
        ("memory", bad),
        ("card", hm),
        ("cycles", bad),
        ("period", hm),
        ("temperature", hm),
        ("rendezvous", bad),
        ("ports", bad),
        ("line", hm),
    ];
    assert_eq!(to_do(&findings), wanted);
    let text = in_words(&findings);
    assert!(
        text.contains("BAD   governor       ondemand, performance") && text.contains("15 things to do"),
        "{text}"
    );
}

#[test]
fn a_computer_that_says_nothing_is_no_fault_but_for_its_missing_card() {
    let folder = computer(&[]);
    let findings = examine(folder.path(), Err("no box plays on this computer"));
    assert_eq!(to_do(&findings), [("card", Verdict::Bad)]);
}

#[test]
fn a_card_at_another_rate_is_bad() {
    let folder = computer(&[
        ("proc/asound/cards", CARDS),
        ("proc/asound/card1/pcm0p/sub0/hw_params", "rate: 44100 (44100/1)\n"),
    ]);
    let found = checks::cards(folder.path());
    assert!(found[0].verdict == Verdict::Bad && found[0].remedy.contains("48000"), "{found:?}");
    let inside = computer(&[("proc/asound/cards", " 0 [PCH            ]: HDA-Intel - HDA Intel PCH\n")]);
    assert_eq!(checks::cards(inside.path())[0].verdict, Verdict::Doubtful);
}
