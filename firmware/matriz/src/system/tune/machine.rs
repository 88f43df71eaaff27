//! What concerns the whole machine: clock rates, sleep states, interrupts, limits of the scheduler.
//!
//! Each is a small file of the kernel. Sources: the kernel's Documentation/admin-guide/pm/cpufreq.rst and
//! cpuidle.rst, core-api/irq/irq-affinity.rst, admin-guide/sysctl/kernel.rst and vm.rst.

use super::super::Root;
use super::Finding;

/// A sleep state that takes longer to wake from than this is switched off, in microseconds: a fiftieth of a
/// cycle of 120 frames.
const SLOWEST_WAKING: u32 = 50;

/// The cores of everything that is not sound or network.
const REST: &str = "0-1";

/// Limits of the kernel: path, value, and why.
const SYSCTLS: [(&str, &str); 4] = [
    ("kernel/sched_rt_runtime_us", "-1"), // realtime threads may have a core for themselves; the watchdog minds
    ("kernel/timer_migration", "0"),      // timers stay on the core that set them
    ("vm/swappiness", "0"),               // nothing of ours goes to a disk
    ("vm/stat_interval", "10"),           // seconds; the statistics disturb every core each time
];

/// Looks at everything, and sets it first if `set`.
pub fn tune(root: &Root, set: bool) -> Vec<Finding> {
    let mut findings = governors(root, set);
    findings.extend(sleep_states(root, set));
    findings.extend(interrupts(root, set));
    findings.extend(SYSCTLS.map(|(name, value)| sysctl(root, set, name, value)));
    findings
}

/// Writes `value` into a file of the kernel unless it is there already; what is there then, or why it is not known.
fn write(root: &Root, set: bool, path: &str, value: &str) -> String {
    let is = root.line(path);
    let failed = match &is {
        Some(is) if is != value && set => std::fs::write(root.at(path), value).err(),
        _ => None,
    };
    let now = root.line(path).unwrap_or_else(|| "unreadable".to_owned());
    match failed {
        Some(error) if now != value => format!("{now} ({error})"),
        _ => now,
    }
}

/// Full speed, always: a core that has to wake up first is late.
fn governors(root: &Root, set: bool) -> Vec<Finding> {
    let cores = numbered(root, "sys/devices/system/cpu", "cpu");
    let governor = |core: &u32| format!("sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
    let with: Vec<u32> = cores.into_iter().filter(|core| root.at(&governor(core)).exists()).collect();
    if with.is_empty() {
        return vec![Finding::absent(
            "governor",
            "performance",
            "the kernel does not change clock rates here",
        )];
    }
    let one = |core: &u32| {
        let found = write(root, set, &governor(core), "performance");
        Finding::compare(format!("governor of cpu{core}"), "performance", &found)
    };
    with.iter().map(one).collect()
}

/// No sleep that takes long to wake from.
fn sleep_states(root: &Root, set: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for core in numbered(root, "sys/devices/system/cpu", "cpu") {
        let folder = format!("sys/devices/system/cpu/cpu{core}/cpuidle");
        for state in numbered(root, &folder, "state") {
            let here = format!("{folder}/state{state}");
            let latency = root.line(&format!("{here}/latency")).and_then(|text| text.parse::<u32>().ok());
            if latency.is_none_or(|latency| latency > SLOWEST_WAKING) {
                let found = write(root, set, &format!("{here}/disable"), "1");
                findings.push(Finding::compare(format!("sleep state {state} of cpu{core} off"), "1", &found));
            }
        }
    }
    if findings.is_empty() {
        let why = format!("no sleep takes longer than {SLOWEST_WAKING} µs to wake from");
        findings.push(Finding::absent("sleep states", "off", &why));
    }
    findings
}

/// Interrupts of devices stay off the cores of sound and network. Some cannot be moved: what counts is where they
/// arrive.
fn interrupts(root: &Root, set: bool) -> Vec<Finding> {
    let mut elsewhere: Vec<String> = Vec::new();
    for number in numbered(root, "proc/irq", "") {
        if set && arrives(root, number).is_some_and(|cores| !is_within_rest(&cores)) {
            let _ = std::fs::write(root.at(&format!("proc/irq/{number}/smp_affinity_list")), REST);
        }
        let now = arrives(root, number).filter(|cores| !is_within_rest(cores));
        elsewhere.extend(now.map(|cores| format!("{number} on {cores}")));
    }
    let found = if elsewhere.is_empty() { REST.to_owned() } else { elsewhere.join(", ") };
    vec![Finding::compare("interrupts", REST, &found)]
}

/// Where an interrupt arrives, or, where the kernel does not say, where it may.
fn arrives(root: &Root, number: u32) -> Option<String> {
    let files = ["effective_affinity_list", "smp_affinity_list"];
    let lists = files.into_iter().filter_map(|file| root.line(&format!("proc/irq/{number}/{file}")));
    lists.into_iter().find(|list| !list.is_empty())
}

/// Whether a list such as `0-1` or `1` names no other cores than the first two.
fn is_within_rest(list: &str) -> bool {
    matches!(list, "0" | "1" | "0-1" | "0,1")
}

fn sysctl(root: &Root, set: bool, name: &str, value: &str) -> Finding {
    let path = format!("proc/sys/{name}");
    let name = name.replace('/', ".");
    if !root.at(&path).exists() {
        return Finding::absent(name, value, "the kernel does not know it");
    }
    let found = write(root, set, &path, value);
    Finding::compare(name, value, &found)
}

/// The numbers of the entries of `folder` that are `prefix` and a number, in order.
fn numbered(root: &Root, folder: &str, prefix: &str) -> Vec<u32> {
    let entries = std::fs::read_dir(root.at(folder)).into_iter().flatten().filter_map(Result::ok);
    let mut numbers: Vec<u32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;
    use std::fs;

    fn put(root: &Root, path: &str, text: &str) {
        let file = root.at(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    fn machine() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        let root = Root(folder.path().to_owned());
        for core in 0..4 {
            let cpu = format!("sys/devices/system/cpu/cpu{core}");
            put(&root, &format!("{cpu}/cpufreq/scaling_governor"), "ondemand\n");
            put(&root, &format!("{cpu}/cpuidle/state0/latency"), "1\n");
            put(&root, &format!("{cpu}/cpuidle/state0/disable"), "0\n");
            put(&root, &format!("{cpu}/cpuidle/state1/latency"), "600\n");
            put(&root, &format!("{cpu}/cpuidle/state1/disable"), "0\n");
        }
        put(&root, "sys/devices/system/cpu/cpufreq/policy0", "");
        put(&root, "proc/irq/56/smp_affinity_list", "0-3\n");
        put(&root, "proc/irq/57/smp_affinity_list", "1\n");
        put(&root, "proc/irq/58/smp_affinity_list", "0-3\n");
        put(&root, "proc/irq/58/effective_affinity_list", "0\n");
        put(&root, "proc/irq/59/smp_affinity_list", "2\n");
        put(&root, "proc/irq/59/effective_affinity_list", "\n");
        put(&root, "proc/irq/default_smp_affinity", "f\n");
        for (name, _) in SYSCTLS {
            put(&root, &format!("proc/sys/{name}"), "950000\n");
        }
        (folder, root)
    }

    fn not_in_force(findings: &[Finding]) -> Vec<&str> {
        let not = findings.iter().filter(|finding| finding.state == State::NotInForce);
        not.map(|finding| finding.what.as_str()).collect()
    }

    #[test]
    fn everything_is_set_and_read_back() {
        let (_folder, root) = machine();
        let findings = tune(&root, true);
        assert_eq!(not_in_force(&findings), Vec::<&str>::new());
        let at = |path: &str| root.line(path).unwrap();
        assert_eq!(at("sys/devices/system/cpu/cpu3/cpufreq/scaling_governor"), "performance");
        assert_eq!(at("sys/devices/system/cpu/cpu3/cpuidle/state1/disable"), "1");
        assert_eq!(at("sys/devices/system/cpu/cpu3/cpuidle/state0/disable"), "0", "it wakes fast enough");
        assert_eq!(
            (at("proc/irq/56/smp_affinity_list"), at("proc/irq/57/smp_affinity_list")),
            ("0-1".into(), "1".into())
        );
        assert_eq!(at("proc/sys/kernel/sched_rt_runtime_us"), "-1");
        assert_eq!(findings.len(), 4 + 4 + 1 + SYSCTLS.len());
    }

    #[test]
    fn a_check_changes_nothing_and_says_what_is_not() {
        let (_folder, root) = machine();
        let findings = tune(&root, false);
        assert_eq!(not_in_force(&findings).len(), 4 + 4 + 1 + SYSCTLS.len());
        assert_eq!(root.line("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").unwrap(), "ondemand");
        let interrupts = findings.iter().find(|finding| finding.what == "interrupts").unwrap();
        assert_eq!(interrupts.found, "56 on 0-3, 59 on 2");
    }

    #[test]
    fn what_the_machine_refuses_is_told_with_the_reason() {
        let (_folder, root) = machine();
        let governor = root.at("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor");
        fs::remove_file(&governor).unwrap();
        fs::create_dir(&governor).unwrap(); // can be neither read nor written, even by root
        let findings = tune(&root, true);
        assert_eq!(not_in_force(&findings), ["governor of cpu2"]);
        assert_eq!(findings[2].found, "unreadable");
    }

    #[test]
    fn what_the_machine_does_not_have_is_no_fault() {
        let folder = tempfile::tempdir().unwrap();
        let findings = tune(&Root(folder.path().to_owned()), true);
        assert_eq!(not_in_force(&findings), Vec::<&str>::new());
        let absent = findings.iter().filter(|finding| finding.state == State::NotThere).count();
        assert_eq!(absent, 2 + SYSCTLS.len());
    }
}
