//! Makes the machine a realtime one, and says what is in force and what is not.
//!
//! Run before the music starts, it sets what concerns the whole machine (`machine`); the threads set themselves
//! (`crate::realtime`), and are looked at when they run (`threads`). What is written is read back: a finding
//! tells what is, never what was wished.

mod machine;
mod threads;

use super::Root;
use serde::Serialize;
use std::process::ExitCode;

/// The exit code when something is not in force.
const NOT_ALL: u8 = 2;

/// How things are with one setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// As it should be.
    InForce,
    /// Otherwise.
    NotInForce,
    /// This machine has no such thing.
    NotThere,
}

/// One setting of the machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Finding {
    /// What is set.
    what: String,
    /// How it should be.
    wanted: String,
    /// How it is.
    found: String,
    /// Whether that is the same.
    state: State,
}

impl Finding {
    fn new(
        what: impl Into<String>,
        wanted: impl Into<String>,
        found: impl Into<String>,
        state: State,
    ) -> Finding {
        Finding { what: what.into(), wanted: wanted.into(), found: found.into(), state }
    }

    /// For what is known by being equal.
    fn compare(what: impl Into<String>, wanted: &str, found: &str) -> Finding {
        let state = if wanted == found { State::InForce } else { State::NotInForce };
        Finding::new(what, wanted, found, state)
    }

    fn absent(what: impl Into<String>, wanted: &str, why: &str) -> Finding {
        Finding::new(what, wanted, why, State::NotThere)
    }
}

/// Sets what can be set, unless it is only a `check`, and prints the findings.
///
/// # Errors
/// They cannot be written as JSON, which is our own mistake.
pub fn run(root: &Root, check: bool, json: bool) -> anyhow::Result<ExitCode> {
    let mut findings = machine::tune(root, !check);
    findings.extend(threads::look(root));
    if json {
        println!("{}", serde_json::to_string(&findings)?);
    } else {
        findings.iter().for_each(|finding| println!("{}", line(finding)));
    }
    let all = findings.iter().all(|finding| finding.state != State::NotInForce);
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::from(NOT_ALL) })
}

fn line(Finding { what, wanted, found, state }: &Finding) -> String {
    match state {
        State::InForce => format!("in force   {what}: {found}"),
        State::NotInForce => format!("NOT        {what}: {found} instead of {wanted}"),
        State::NotThere => format!("not there  {what}: {found}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_read_by_people_and_programs() {
        let finding = Finding::compare("governor of cpu0", "performance", "ondemand");
        assert_eq!(line(&finding), "NOT        governor of cpu0: ondemand instead of performance");
        let json = serde_json::to_string(&finding).unwrap();
        let expected =
            r#"{"what":"governor of cpu0","wanted":"performance","found":"ondemand","state":"not_in_force"}"#;
        assert_eq!(json, expected);
    }
}
