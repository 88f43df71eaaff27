//! Sentences for the person in front of the box: the place where what happens before the music leaves them.
//!
//! Each step of the start owns one file in `/run/matriz-system/messages`, which it replaces whole; a line is a
//! sentence. Who shows the box's status reads them all. They are gone with the power, like what they say.

use super::Root;
use anyhow::Context;

/// Where the files are.
const FOLDER: &str = "run/matriz-system/messages";

/// Leaves the `sentences` of `step`, in place of what it said before, and logs them. The files are shown in the
/// order of their names.
///
/// # Errors
/// The folder cannot be written.
pub fn leave(root: &Root, step: &str, sentences: &[String]) -> anyhow::Result<()> {
    sentences.iter().for_each(|sentence| tracing::warn!("{sentence}"));
    let file = root.at(FOLDER).join(step);
    let text: String = sentences.iter().map(|sentence| one_line(sentence) + "\n").collect();
    std::fs::create_dir_all(root.at(FOLDER))
        .and_then(|()| std::fs::write(&file, text))
        .with_context(|| format!("{} cannot be written", file.display()))
}

/// All sentences that were left, in the order of the steps.
pub fn read(root: &Root) -> Vec<String> {
    let Ok(folder) = std::fs::read_dir(root.at(FOLDER)) else { return Vec::new() };
    let mut files: Vec<_> = folder.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    files.sort();
    let texts = files.iter().filter_map(|file| std::fs::read_to_string(file).ok());
    texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn one_line(sentence: &str) -> String {
    sentence.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_replaces_its_own_sentences_only() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root(folder.path().to_owned());
        assert!(read(&root).is_empty());
        leave(&root, "20-settings", &["the key is\nmissing".to_owned(), "second".to_owned()]).unwrap();
        leave(&root, "10-data", &["first".to_owned()]).unwrap();
        assert_eq!(read(&root), ["first", "the key is missing", "second"]);
        leave(&root, "20-settings", &[]).unwrap();
        assert_eq!(read(&root), ["first"]);
    }
}
