//! How the two systems of a box stand: for people in lines, for `matriz update` as JSON.
//!
//! The box fills it in from its slots; `matriz update` on another computer, which may be of another version, reads it.
//! Fields that one of the two does not know do no harm.

use serde::{Deserialize, Serialize};

/// What `--status` tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// The version that runs.
    pub version: String,
    /// The slot that runs: A or B.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// Whether that is a trial: it ends with the power.
    pub trial: bool,
    /// The version in the other slot that is installed and was not tried yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
    /// Why the last update did not stay, as in `1.1.0 failed: it did not start, running 1.0.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

impl Standing {
    /// Lines for a person.
    pub fn lines(&self) -> Vec<String> {
        let slot = self.slot.as_ref().map_or_else(String::new, |slot| format!(" (slot {slot})"));
        let trial = if self.trial { ", on trial" } else { "" };
        let mut lines = vec![format!("runs {}{slot}{trial}", self.version)];
        lines.extend(
            self.waits.as_ref().map(|version| format!("{version} is tried when the box is next switched on")),
        );
        lines.extend(self.failed.clone());
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_in_lines_and_read_by_other_versions() {
        let mut standing =
            Standing { version: "1.0.0".to_owned(), slot: Some("A".to_owned()), ..Standing::default() };
        assert_eq!(standing.lines(), ["runs 1.0.0 (slot A)"]);
        assert_eq!(
            serde_json::to_string(&standing).unwrap(),
            r#"{"version":"1.0.0","slot":"A","trial":false}"#
        );
        standing.trial = true;
        standing.waits = Some("1.2.0".to_owned());
        standing.failed = Some("1.1.0 failed: it did not start, running 1.0.0".to_owned());
        let lines = standing.lines();
        assert_eq!(lines[0], "runs 1.0.0 (slot A), on trial");
        assert_eq!(lines[1], "1.2.0 is tried when the box is next switched on");
        assert_eq!(lines[2], "1.1.0 failed: it did not start, running 1.0.0");
        let other: Standing = serde_json::from_str(r#"{"version": "2.0.0", "colour": 1}"#).unwrap();
        assert_eq!(other, Standing { version: "2.0.0".to_owned(), ..Standing::default() });
    }
}
