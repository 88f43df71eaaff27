//! `matriz doctor`: looks at the computer as a sound engineer would, and says for each finding what to do.
//!
//! [`examine`] reads the kernel's files below a root, so a test gives it a computer of paper; what only the box knows
//! comes by its API, if one plays. Sources: the kernel's Documentation/admin-guide (kernel-parameters, cpufreq),
//! proc(5), and what the seeds' box had in its command line.

mod checks;

use super::At;
use super::client::Client;
use proto::control::Status;
use serde::Serialize;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It cannot be known here, or there is none.
    Unknown,
    /// It may cost something.
    Doubtful,
    /// It will be heard.
    Bad,
}

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub what: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do; empty where nothing is to be done.
    #[serde(rename = "do")]
    pub remedy: String,
}

/// Looks at everything.
pub fn examine(root: &Path, status: Result<&Status, &str>) -> Vec<Finding> {
    let mut findings = vec![
        checks::governor(root),
        checks::realtime(root),
        checks::throttling(root),
        checks::memory_lock(root),
        checks::kernel(root),
        checks::command_line(root),
        checks::clock_source(root),
        checks::swap(root),
    ];
    findings.extend(checks::cards(root));
    findings.extend(checks::box_(status));
    findings
}

/// Prints what was found. Code 1 if anything is bad.
pub fn run(root: &Path, at: &At) -> ExitCode {
    let status = Client::find(at.socket.as_deref()).and_then(|mut client| client.status());
    let mut findings = match status {
        Ok(status) => examine(root, Ok(&status)),
        Err(failure) => examine(root, Err(&failure.to_string())),
    };
    findings.push(checks::disk(&std::env::current_dir().unwrap_or_default()));
    let bad = findings.iter().any(|finding| finding.verdict == Verdict::Bad);
    let text = match at.json {
        true => format!("{}\n", json!(findings)),
        false => in_words(&findings),
    };
    match super::print(&text) {
        Ok(()) if !bad => ExitCode::SUCCESS,
        _ => ExitCode::from(1),
    }
}

fn in_words(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { what, verdict, found, remedy } in findings {
        let mark = match verdict {
            Verdict::Good => "good",
            Verdict::Unknown => "-",
            Verdict::Doubtful => "hm",
            Verdict::Bad => "BAD",
        };
        text.push_str(&format!("{mark:<5} {what:<14} {found}\n"));
        if !remedy.is_empty() {
            text.push_str(&format!("{:<20} → {remedy}\n", ""));
        }
    }
    let open = findings.iter().filter(|finding| !finding.remedy.is_empty()).count();
    text.push_str(&match open {
        0 => "nothing to do\n".to_owned(),
        1 => "1 thing to do\n".to_owned(),
        _ => format!("{open} things to do, the BAD ones first\n"),
    });
    text
}

#[cfg(test)]
mod tests;
