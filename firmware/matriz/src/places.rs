//! Where a box's socket and its state are, and where the command line looks for them.
//!
//! What the configuration says goes first; then what systemd gives a service, what a desktop gives a person, and
//! what is left. Sources: systemd.exec(5) (`RuntimeDirectory=`, `StateDirectory=`), the XDG base directories.

use nix::unistd::geteuid;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Gives an environment variable, if it is set and not empty; a test gives its own.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<PathBuf>;

/// The environment of this process.
pub fn environment(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The folders in which boxes may have their sockets: the first is where one of ours would have it.
pub fn socket_folders(environment: Environment) -> Vec<PathBuf> {
    let user = geteuid();
    // systemd separates several by colons; the first is the service's own.
    let service = environment("RUNTIME_DIRECTORY").map(first_of);
    let person = environment("XDG_RUNTIME_DIR").map(|folder| folder.join("matriz"));
    let system = PathBuf::from("/run/matriz");
    let left = std::env::temp_dir().join(format!("matriz-{user}"));
    let (before, after) = if user.is_root() { (Some(system), None) } else { (None, Some(system)) };
    service.into_iter().chain(person).chain(before).chain([left]).chain(after).collect()
}

/// The folder for what is kept over restarts, if there is any place for it.
pub fn state_folder(environment: Environment) -> Option<PathBuf> {
    let service = environment("STATE_DIRECTORY").map(first_of);
    let person = || environment("XDG_STATE_HOME").map(|folder| folder.join("matriz"));
    let home = || environment("HOME").map(|home| home.join(".local/state/matriz"));
    service.or_else(person).or_else(home)
}

fn first_of(folders: PathBuf) -> PathBuf {
    let text = folders.to_string_lossy();
    PathBuf::from(text.split(':').next().unwrap_or_default())
}

/// Makes a folder for a socket, for this user and group alone. One that somebody else has put there is not used.
///
/// # Errors
/// It cannot be made, or is not ours.
pub fn make_socket_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
    let found = std::fs::symlink_metadata(folder)?;
    if found.is_dir() && (found.uid() == geteuid().as_raw() || found.uid() == 0) {
        return Ok(());
    }
    Err(std::io::Error::other("it belongs to somebody else"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_goes_before_a_person_and_a_person_before_what_is_left() {
        let all = |name: &str| match name {
            "RUNTIME_DIRECTORY" => Some(PathBuf::from("/run/matriz:/run/other")),
            "STATE_DIRECTORY" => Some(PathBuf::from("/var/lib/matriz")),
            "XDG_RUNTIME_DIR" => Some(PathBuf::from("/run/user/1000")),
            "XDG_STATE_HOME" => Some(PathBuf::from("/home/ana/state")),
            "HOME" => Some(PathBuf::from("/home/ana")),
            _ => None,
        };
        let person = |name: &str| all(name).filter(|_| !name.ends_with("DIRECTORY"));
        let home = |name: &str| all(name).filter(|_| name == "HOME");
        assert_eq!(socket_folders(&all)[..2], ["/run/matriz", "/run/user/1000/matriz"].map(PathBuf::from));
        assert_eq!(socket_folders(&person)[0], PathBuf::from("/run/user/1000/matriz"));
        assert_eq!(state_folder(&all), Some(PathBuf::from("/var/lib/matriz")));
        assert_eq!(state_folder(&person), Some(PathBuf::from("/home/ana/state/matriz")));
        assert_eq!(state_folder(&home), Some(PathBuf::from("/home/ana/.local/state/matriz")));
        assert_eq!(state_folder(&|_| None), None);
        assert!(socket_folders(&|_| None).len() >= 2);
    }

    #[test]
    fn a_folder_that_is_no_folder_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        make_socket_folder(&folder.path().join("a/b")).unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert!(make_socket_folder(&folder.path().join("file")).is_err());
        std::os::unix::fs::symlink(folder.path().join("a"), folder.path().join("link")).unwrap();
        assert!(make_socket_folder(&folder.path().join("link")).is_err());
    }
}
