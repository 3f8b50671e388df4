//! The order of versions: stable ones before beta before alpha, later before earlier, other names last.

use std::cmp::{Ordering, Reverse};

/// `v1`, `v2beta3` and the like, taken apart.
fn parse(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let major = number(&rest[..digits])?;
    match &rest[digits..] {
        "" => Some((2, major, 0)),
        stage => {
            let (rank, minor) = match stage.strip_prefix("beta") {
                Some(minor) => (1, minor),
                None => (0, stage.strip_prefix("alpha")?),
            };
            Some((rank, major, number(minor)?))
        }
    }
}

/// Versions count from 1.
fn number(digits: &str) -> Option<u64> {
    if digits.starts_with('0') { None } else { digits.parse().ok() }
}

/// Which of two versions clients should rather use; the greater one is preferred.
pub fn compare(a: &str, b: &str) -> Ordering {
    match (parse(a), parse(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        (None, None) => Reverse(a).cmp(&Reverse(b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_how_settled_and_how_new_they_are() {
        let mut versions = ["foo10", "v1alpha1", "v2beta3", "v11", "v1beta2", "v2", "foo1", "v3", "v10alpha1", "v01"];
        versions.sort_by(|a, b| compare(b, a));
        let sorted = ["v11", "v3", "v2", "v2beta3", "v1beta2", "v10alpha1", "v1alpha1", "foo1", "foo10", "v01"];
        assert_eq!(versions, sorted);
    }
}
