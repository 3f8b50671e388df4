//! How many files this process may have open.
//!
//! A server has a file for every connection, and the limit that systems give by default is far below the one that they
//! let a process give itself: it was chosen for programs that look at all files there can be. So the limit is raised for
//! this process, and whatever it starts gets the limit back as it was found.

use std::io;
use std::process::Command;
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::sys;

/// The limit as this process found it, once it was raised.
static FOUND: OnceLock<Rlimit> = OnceLock::new();

/// Raises the limit of open files as far as this process may; returns it, `None` for no limit.
///
/// # Errors
///
/// When the system refuses.
pub fn raise_open_files() -> io::Result<Option<u64>> {
    let found = FOUND.get_or_init(|| getrlimit(Resource::Nofile));
    setrlimit(Resource::Nofile, Rlimit { current: found.maximum, maximum: found.maximum })?;
    Ok(found.maximum)
}

/// Lets this process have so many files open at least, beyond what systems let processes give themselves if it may.
///
/// # Errors
///
/// When the system refuses.
pub fn allow_open_files(count: u64) -> io::Result<()> {
    FOUND.get_or_init(|| getrlimit(Resource::Nofile));
    let now = getrlimit(Resource::Nofile);
    match now.current {
        Some(current) if current < count => {
            let maximum = now.maximum.map(|maximum| maximum.max(count));
            Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum })?)
        }
        _ => Ok(()),
    }
}

/// Gives this process the limit of open files that it, or the one that it was forked from, found before it raised that.
///
/// # Errors
///
/// When the system refuses.
pub fn lower_open_files() -> io::Result<()> {
    Ok(FOUND.get().map_or(Ok(()), |found| setrlimit(Resource::Nofile, *found))?)
}

/// Lets the program of a command have the limit of open files that this process found.
pub fn restore_open_files(command: &mut Command) -> &mut Command {
    match FOUND.get() {
        Some(found) => sys::limit_open_files(command, *found),
        None => command,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits_of(command: &mut Command) -> String {
        let output = command.args(["-c", "ulimit -Sn; ulimit -Hn"]).output().expect("there is a shell");
        String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn children_have_the_limit_that_was_found() {
        let before = getrlimit(Resource::Nofile);
        let found = Rlimit { current: Some(500), maximum: before.maximum };
        setrlimit(Resource::Nofile, found).expect("it may be lowered");
        assert_eq!(limits_of(restore_open_files(&mut Command::new("sh"))).split(' ').next(), Some("500"));
        let raised = raise_open_files().expect("it may be raised");
        assert_eq!((raised, getrlimit(Resource::Nofile).current), (before.maximum, before.maximum));
        // Raised twice, it is still known how it was.
        raise_open_files().expect("it may be raised");
        let hard = raised.map_or("unlimited".to_owned(), |limit| limit.to_string());
        assert_eq!(limits_of(&mut Command::new("sh")), format!("{hard} {hard}"));
        assert_eq!(limits_of(restore_open_files(&mut Command::new("sh"))), format!("500 {hard}"));
        lower_open_files().expect("it may be lowered");
        assert_eq!(getrlimit(Resource::Nofile).current, Some(500));
        for (count, expected) in [(400, 500), (600, 600)] {
            allow_open_files(count).expect("it may be raised");
            assert_eq!(getrlimit(Resource::Nofile).current, Some(expected));
        }
        assert_eq!(limits_of(restore_open_files(&mut Command::new("sh"))), format!("500 {hard}"));
    }
}
