//! Which threads run where and how urgently, as the kernel shows it; nothing is changed here.
//!
//! Sound on core 3, network on core 2, everything else on 0 and 1 (docs/architecture.md says why). Fields of
//! `stat` and `status`: proc_pid_stat(5) and proc_pid_status(5); policy 1 is SCHED_FIFO (sched(7)).

use super::super::Root;
use super::{Finding, State};
use crate::realtime;

/// How a thread should run.
struct Rule {
    /// What is known of it.
    who: &'static str,
    /// Its cores, as the kernel writes them.
    cores: &'static str,
    /// Its priority in SCHED_FIFO; none is an ordinary thread.
    priority: Option<i32>,
}

/// How a thread runs.
struct Thread {
    name: String,
    cores: String,
    policy: u32,
    priority: i32,
}

/// Looks at the threads of the JACK server and of the box.
pub fn look(root: &Root) -> Vec<Finding> {
    if !root.at("sys/devices/system/cpu/cpu3").exists() {
        return vec![Finding::absent(
            "threads",
            "cores of their own",
            "the machine has fewer than four cores",
        )];
    }
    ["jackd", "matriz"].into_iter().flat_map(|process| of_process(root, process)).collect()
}

fn of_process(root: &Root, process: &str) -> Vec<Finding> {
    let Some(id) = find(root, process) else {
        return vec![Finding::absent(
            format!("threads of {process}"),
            "cores of their own",
            "it is not running",
        )];
    };
    let entries = std::fs::read_dir(root.at(&format!("proc/{id}/task"))).into_iter().flatten();
    let mut tasks: Vec<u32> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    tasks.sort_unstable();
    let threads = tasks.iter().filter_map(|task| thread(root, &format!("proc/{id}/task/{task}")));
    let mut findings: Vec<Finding> = threads.map(|thread| judge(process, &thread)).collect();
    findings.push(memory(root, process, id));
    findings
}

/// The process of that name with the lowest number which is no helper of its own (`matriz system`).
fn find(root: &Root, process: &str) -> Option<u32> {
    let entries = std::fs::read_dir(root.at("proc")).ok()?;
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let is = |id: &u32| {
        let helper = root.line(&format!("proc/{id}/cmdline")).is_some_and(|line| line.contains("\0system\0"));
        root.line(&format!("proc/{id}/comm")).is_some_and(|name| name == process) && !helper
    };
    ids.filter(is).min()
}

fn thread(root: &Root, folder: &str) -> Option<Thread> {
    let status = root.line(&format!("{folder}/status"))?;
    let stat = root.line(&format!("{folder}/stat"))?;
    // The name is in brackets and may have blanks; the third field comes after it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Thread {
        name: field(&status, "Name")?,
        cores: field(&status, "Cpus_allowed_list")?,
        priority: fields.get(40 - 3)?.parse().ok()?,
        policy: fields.get(41 - 3)?.parse().ok()?,
    })
}

fn field(status: &str, key: &str) -> Option<String> {
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.map(|value| value.trim().to_owned())
}

fn rule(process: &str, thread: &Thread) -> Rule {
    match (process, thread.name.as_str()) {
        ("jackd", _) => Rule { who: "JACK", cores: "3", priority: None },
        (_, "audio" | "card") => Rule { who: "sound", cores: "3", priority: Some(realtime::CARD) },
        (_, name) if name.starts_with("network") => {
            Rule { who: "network", cores: "2", priority: Some(realtime::NETWORK) }
        }
        _ => Rule { who: "the rest", cores: "0-1", priority: None },
    }
}

fn judge(process: &str, thread: &Thread) -> Finding {
    let rule = rule(process, thread);
    let shown = |cores: &str, priority: Option<i32>| match priority {
        Some(priority) => format!("cores {cores}, FIFO {priority}"),
        None => format!("cores {cores}"),
    };
    let is = (thread.policy == 1).then_some(thread.priority);
    // JACK gives its own threads what they need.
    let urgent = process == "jackd" || is == rule.priority;
    let state = if thread.cores == rule.cores && urgent { State::InForce } else { State::NotInForce };
    let what = format!("thread {} of {process} ({})", thread.name, rule.who);
    Finding::new(what, shown(rule.cores, rule.priority), shown(&thread.cores, is), state)
}

/// Whether the process keeps its memory in RAM.
fn memory(root: &Root, process: &str, id: u32) -> Finding {
    let status = root.line(&format!("proc/{id}/status")).unwrap_or_default();
    let locked = field(&status, "VmLck").unwrap_or_else(|| "unknown".to_owned());
    let state =
        if matches!(locked.as_str(), "unknown" | "0 kB") { State::NotInForce } else { State::InForce };
    Finding::new(format!("memory of {process} locked"), "all", locked, state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Puts a thread into a root's /proc; the process's own entries are those of its first thread.
    fn run(root: &Root, process: &str, ids: (u32, u32), name: &str, cores: &str, fifo: Option<i32>) {
        let (policy, priority) = fifo.map_or((0, 0), |priority| (1, priority));
        let status =
            format!("Name:\t{name}\nVmLck:\t  4096 kB\nCpus_allowed:\t8\nCpus_allowed_list:\t{cores}\n");
        let fill = "0 ".repeat(40 - 4);
        let stat = format!("{} ({name} )x) S {fill}{priority} {policy} 0 0\n", ids.1);
        let folder = root.at(&format!("proc/{}", ids.0));
        let task = folder.join("task").join(ids.1.to_string());
        fs::create_dir_all(&task).unwrap();
        for place in [&folder, &task] {
            fs::write(place.join("status"), &status).unwrap();
            fs::write(place.join("stat"), &stat).unwrap();
        }
        fs::write(folder.join("comm"), format!("{process}\n")).unwrap();
        fs::write(folder.join("cmdline"), format!("/usr/bin/{process}\0x\0")).unwrap();
    }

    fn machine() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("sys/devices/system/cpu/cpu3")).unwrap();
        let root = Root(folder.path().to_owned());
        (folder, root)
    }

    fn wrong(root: &Root) -> Vec<String> {
        let not = look(root).into_iter().filter(|finding| finding.state == State::NotInForce);
        not.map(|finding| format!("{}: {}", finding.what, finding.found)).collect()
    }

    #[test]
    fn threads_on_their_cores_are_in_force() {
        let (_folder, root) = machine();
        run(&root, "jackd", (90, 90), "jackd", "3", None);
        run(&root, "jackd", (90, 91), "jackd", "3", Some(75));
        run(&root, "matriz", (100, 100), "matriz", "0-1", None);
        run(&root, "matriz", (100, 101), "network out", "2", Some(65));
        run(&root, "matriz", (100, 104), "network in", "2", Some(65));
        run(&root, "matriz", (100, 102), "audio", "3", Some(70));
        run(&root, "matriz", (80, 80), "matriz", "0-3", None);
        fs::write(root.at("proc/80/cmdline"), "/usr/bin/matriz\0system\0tune\0").unwrap();
        assert_eq!(wrong(&root), Vec::<String>::new());
        assert_eq!(look(&root).len(), 2 + 1 + 4 + 1);
    }

    #[test]
    fn threads_elsewhere_are_told() {
        let (_folder, root) = machine();
        run(&root, "jackd", (90, 90), "jackd", "0-3", None);
        run(&root, "matriz", (100, 101), "network", "2", None);
        run(&root, "matriz", (100, 102), "audio", "3", Some(50));
        run(&root, "matriz", (100, 103), "tap", "2", None);
        let expected = [
            "thread jackd of jackd (JACK): cores 0-3",
            "thread network of matriz (network): cores 2",
            "thread audio of matriz (sound): cores 3, FIFO 50",
            "thread tap of matriz (the rest): cores 2",
        ];
        assert_eq!(wrong(&root), expected);
    }

    #[test]
    fn what_does_not_run_is_not_there() {
        let (_folder, root) = machine();
        assert!(look(&root).iter().all(|finding| finding.state == State::NotThere));
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(look(&Root(empty.path().to_owned())).len(), 1);
    }
}
