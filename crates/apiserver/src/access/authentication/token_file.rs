//! Tokens in a file that is read at the start: `token,user,uid[,"group1,group2"]` a line.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::access::identity::Identity;

/// Why a file of tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It cannot be read.
    #[error("cannot read the token file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line of it is wrong.
    #[error("token file {}, line {line}: {why}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// Static tokens and whose they are.
pub(super) struct TokenFile {
    /// By the hash of the token, so that the time of a search tells nothing about tokens.
    users: HashMap<[u8; 32], Identity>,
}

impl TokenFile {
    pub(super) fn load(path: &Path) -> Result<Self, TokenFileError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| TokenFileError::Read { path: path.to_owned(), source })?;
        let mut users = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let wrong = |why| TokenFileError::Line { path: path.to_owned(), line: index + 1, why };
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let fields = fields(line).map_err(wrong)?;
            let [token, user, uid, rest @ ..] = fields.as_slice() else {
                return Err(wrong("at least 3 columns (token, user name, user uid) are needed"));
            };
            if token.is_empty() {
                tracing::warn!(path = %path.display(), line = index + 1, "a line of the token file has no token");
                continue;
            }
            let groups = rest.first().map_or("", String::as_str).split(',').filter(|group| !group.is_empty());
            let identity = Identity {
                user: user.clone(),
                groups: groups.map(str::to_owned).collect(),
                uid: Some(uid.clone()).filter(|uid| !uid.is_empty()),
                ..Identity::default()
            };
            if users.insert(Sha256::digest(token).into(), identity).is_some() {
                tracing::warn!(path = %path.display(), line = index + 1, "a token stands twice in the token file");
            }
        }
        Ok(Self { users })
    }

    pub(super) fn find(&self, token: &str) -> Option<Identity> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        self.users.get(&hash).cloned()
    }
}

/// The fields of a line of CSV.
fn fields(line: &str) -> Result<Vec<String>, &'static str> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                if rest[..end].contains('"') {
                    return Err("a quote in a field without quotes");
                }
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None if after.is_empty() => return Ok(fields),
            None => return Err("text behind a closing quote"),
        }
    }
}

/// A field behind its opening quote, and what follows its closing one.
fn quoted_field(text: &str) -> Result<(String, &str), &'static str> {
    let (mut field, mut rest) = (String::new(), text);
    loop {
        let (part, after) = rest.split_once('"').ok_or("a quote that does not end")?;
        field.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return Ok((field, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<TokenFile, String> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        TokenFile::load(file.path()).map_err(|err| err.to_string())
    }

    #[track_caller]
    fn check(text: &str, token: &str, expected: Option<(&str, Option<&str>, &[&str])>) {
        let found = load(text).expect("a good file").find(token);
        let found = found.as_ref().map(|identity| {
            let groups: Vec<&str> = identity.groups.iter().map(String::as_str).collect();
            (identity.user.as_str(), identity.uid.as_deref(), groups)
        });
        assert_eq!(found, expected.map(|(user, uid, groups)| (user, uid, groups.to_vec())));
    }

    #[test]
    fn lines_are_users() {
        let text = "t1,jane,u1,\"dev,\"\"ops\"\"\"\n\nt2,joe,,one\nt3,jim,u3\n";
        check(text, "t1", Some(("jane", Some("u1"), &["dev", "\"ops\""])));
        check(text, "t2", Some(("joe", None, &["one"])));
        check(text, "t3", Some(("jim", Some("u3"), &[])));
        check(text, "t", None);
        check(text, "", None);
    }

    #[test]
    fn wrong_lines_are_named() {
        for (text, expected) in [
            ("a,b", "line 1: at least 3 columns"),
            ("a,b,c\nt,\"x,y", "line 2: a quote that does not end"),
            ("a,b,\"c\"d", "line 1: text behind a closing quote"),
        ] {
            let refused = load(text).err().unwrap_or_default();
            assert!(refused.contains(expected), "{refused}");
        }
    }
}
