//! Files of variables that a container has left in an `emptyDir`: a subset of what a shell reads, in which every value is
//! in single quotes and means what it says.

use std::collections::BTreeMap;

/// A file that cannot be read as variables. The messages are shown to users.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EnvFileError {
    /// A declaration that is none.
    #[error("invalid environment variable declaration at line {0}: expected NAME='value'")]
    Declaration(usize),
    /// A value without its end.
    #[error("unclosed single quote of the value at line {0}")]
    Unclosed(usize),
}

/// The variables of a file.
pub fn parse(text: &str) -> Result<BTreeMap<String, String>, EnvFileError> {
    let mut variables = BTreeMap::new();
    let mut rest = text;
    let mut line = 1;
    while !rest.is_empty() {
        let (first, following) = rest.split_once('\n').unwrap_or((rest, ""));
        let declared = first.trim_start();
        if declared.trim_end().is_empty() || declared.starts_with('#') {
            rest = following;
            line += 1;
            continue;
        }
        let invalid = EnvFileError::Declaration(line);
        let Some((name, _)) = declared.split_once('=') else { return Err(invalid) };
        let name = name.trim_end();
        // The value may go on over several lines.
        let from = rest.find('=').map_or(rest.len(), |at| at + 1);
        let Some(value) = rest[from..].trim_start_matches([' ', '\t']).strip_prefix('\'') else { return Err(invalid) };
        let Some((value, behind)) = value.split_once('\'') else { return Err(EnvFileError::Unclosed(line)) };
        let (behind, following) = behind.split_once('\n').unwrap_or((behind, ""));
        if !is_name(name) || !behind.trim().is_empty() {
            return Err(invalid);
        }
        variables.insert(name.to_owned(), value.to_owned());
        line += value.matches('\n').count() + 1;
        rest = following;
    }
    Ok(variables)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| (' '..='~').contains(&c) && c != '=' && c != '\'')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&[(&str, &str)], EnvFileError>) {
        let expected = expected.map(|all| all.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect());
        assert_eq!(parse(text), expected, "{text}");
    }

    #[test]
    fn values_are_taken_as_they_stand_between_their_quotes() {
        check("", Ok(&[]));
        check("# comment\n\n  A = 'x y'  \nB='#$A \\n'", Ok(&[("A", "x y"), ("B", "#$A \\n")]));
        check("A='one\ntwo'\nB='='", Ok(&[("A", "one\ntwo"), ("B", "=")]));
        check("A='1'\nA='2'", Ok(&[("A", "2")]));
    }

    #[test]
    fn what_only_a_shell_understands_is_refused() {
        for text in ["A=x", "A=\"x\"", "A='x''y'", "A='x'$B", "A", "='x'"] {
            check(text, Err(EnvFileError::Declaration(1)));
        }
        check("\nA='x\n", Err(EnvFileError::Unclosed(2)));
        check("A='x\ny'\n\nB=y", Err(EnvFileError::Declaration(4)));
    }
}
