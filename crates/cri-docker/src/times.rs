//! Times as Docker writes them and as CRI has them.

use jiff::Timestamp;

/// CRI's times: nanoseconds since 1970.
pub(crate) fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

/// A time that Docker tells; nothing where it tells its year 1, which stands for never.
pub(crate) fn parse(text: Option<&str>) -> Option<i64> {
    let time: Timestamp = text?.parse().ok()?;
    Some(time).filter(|time| *time > Timestamp::UNIX_EPOCH).map(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_is_no_time() {
        assert_eq!(parse(Some("1970-01-01T00:00:01.000000002Z")), Some(1_000_000_002));
        assert_eq!(parse(Some("0001-01-01T00:00:00Z")), None);
        assert_eq!(parse(None), None);
    }
}
