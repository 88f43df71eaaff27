//! What was asked for: the words after `ssh update@BOX`, such as `status`.
//!
//! With or without `--` before them: ssh takes those that have it for its own, unless `--` alone goes before. sshd hands
//! them over in `SSH_ORIGINAL_COMMAND` (sshd_config(5), `ForceCommand`); the relay sends them ahead as the first line.
//! They come from outside, and what is not understood is refused with a sentence.

/// The longest line of words, in bytes: all there are have 27.
pub const LONGEST: usize = 256;

/// What shall be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Install the bundle that follows, and try it.
    Install {
        /// Even while music is playing.
        now: bool,
    },
    /// Go back to the other system.
    Revert {
        /// Even while music is playing.
        now: bool,
    },
    /// Say how things are.
    Status {
        /// For programs.
        json: bool,
    },
}

impl Wish {
    /// Reads the words.
    ///
    /// # Errors
    /// A sentence that says what can be asked for.
    pub fn read(words: &str) -> Result<Wish, String> {
        let bare = |word| str::strip_prefix(word, "--").unwrap_or(word);
        let mut words: Vec<&str> = words.split_whitespace().map(bare).collect();
        words.sort_unstable();
        words.dedup();
        Ok(match words[..] {
            [] => Wish::Install { now: false },
            ["now"] => Wish::Install { now: true },
            ["revert"] => Wish::Revert { now: false },
            ["now", "revert"] => Wish::Revert { now: true },
            ["status"] => Wish::Status { json: false },
            ["json", "status"] => Wish::Status { json: true },
            _ => {
                return Err(
                    "this is not understood; say nothing and send a bundle, or now, revert, status, or \
                            status json"
                        .to_owned(),
                );
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_wishes_in_any_order() {
        let read = |words| Wish::read(words).unwrap();
        assert_eq!(read(""), Wish::Install { now: false });
        assert_eq!(read(" now \n"), Wish::Install { now: true });
        assert_eq!(read("--now"), Wish::Install { now: true });
        assert_eq!(read("revert"), Wish::Revert { now: false });
        assert_eq!(read("--revert now"), Wish::Revert { now: true });
        assert_eq!(read("status"), Wish::Status { json: false });
        assert_eq!(read("status --json"), Wish::Status { json: true });
        for wrong in
            ["sh", "now status", "revert status", "now; reboot", "-c ls", "Now", "json", "----now", "--"]
        {
            assert!(Wish::read(wrong).unwrap_err().contains("not understood"), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_understood_or_refused(words in "\\PC{0,80}") {
            if let Ok(wish) = Wish::read(&words) {
                prop_assert!(words.len() < 40 || words.contains(char::is_whitespace), "{wish:?}");
            }
        }
    }
}
