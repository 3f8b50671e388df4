//! Lists of indexes such as `1,3-5,7`.

use crate::field::quote;

/// An index or a range of them, both ends included.
pub(super) type Interval = (i32, i32);

/// Reads a list of increasing intervals below `completions`.
pub(super) fn parse(text: &str, completions: i32) -> Result<Vec<Interval>, String> {
    let mut intervals: Vec<Interval> = Vec::new();
    if text.is_empty() {
        return Ok(intervals);
    }
    for fragment in text.split(',') {
        let (first, last) = interval(fragment, completions)?;
        if let Some((_, previous)) = intervals.last().filter(|(_, previous)| *previous >= first) {
            return Err(format!("non-increasing order, previous: {previous}, current: {first}"));
        }
        intervals.push((first, last));
    }
    Ok(intervals)
}

/// Reads one fragment of a list.
fn interval(fragment: &str, completions: i32) -> Result<Interval, String> {
    let parts: Vec<&str> = fragment.split('-').collect();
    let number = |text: &str| -> Result<i32, String> {
        let index: i32 =
            text.parse().map_err(|_| format!("cannot convert string to integer for index: {}", quote(text)))?;
        if index >= completions { Err(format!("too large index: {}", quote(text))) } else { Ok(index) }
    };
    match parts.as_slice() {
        [single] => number(single).map(|index| (index, index)),
        [first, last] => {
            let (first, last) = (number(first)?, number(last)?);
            if first >= last {
                return Err(format!("non-increasing order, previous: {first}, current: {last}"));
            }
            Ok((first, last))
        }
        _ => Err(format!(
            "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
            quote(fragment)
        )),
    }
}

/// How many indexes the intervals hold.
pub(super) fn count(intervals: &[Interval]) -> i32 {
    intervals.iter().map(|(first, last)| last - first + 1).sum()
}

/// The first index that lies in both lists; fragments that cannot be read are passed over.
pub(super) fn overlap(completed: &str, failed: &str, completions: i32) -> Option<i32> {
    let read = |text: &str| -> Vec<Interval> {
        text.split(',').filter_map(|fragment| interval(fragment, completions).ok()).collect()
    };
    let (completed, failed) = (read(completed), read(failed));
    let mut meeting: Vec<i32> = Vec::new();
    for (first, last) in &completed {
        let met = failed.iter().filter(|(from, to)| from <= last && first <= to);
        meeting.extend(met.map(|(from, _)| (*from).max(*first)));
    }
    meeting.into_iter().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        assert_eq!(parse("", 5), Ok(Vec::new()));
        assert_eq!(parse("0,2-4", 5).map(|intervals| count(&intervals)), Ok(4));
        for (text, why) in [
            ("5", "too large index: \"5\""),
            ("a", "cannot convert string to integer for index: \"a\""),
            ("3,2", "non-increasing order, previous: 3, current: 2"),
            ("3-2", "non-increasing order, previous: 3, current: 2"),
            (
                "1-2-3",
                "the fragment \"1-2-3\" violates the requirement that an index interval can have at most two parts separated by '-'",
            ),
        ] {
            assert_eq!(parse(text, 5), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn overlaps_are_found() {
        assert_eq!(overlap("0-2,5", "3,4", 9), None);
        assert_eq!(overlap("0-2,5-7", "6", 9), Some(6));
        assert_eq!(overlap("0-2", "x,1-8", 9), Some(1));
    }
}
