//! Mistakes in an expression, shown with the line and a pointer as cel-go does.

use std::fmt::Write as _;

/// Not more mistakes than this are shown.
const MAX_SHOWN: usize = 100;

/// One mistake and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Issue {
    /// Where it is in the text, in code points.
    pub offset: u32,
    /// What is wrong.
    pub message: String,
}

impl Issue {
    pub(crate) fn new(offset: u32, message: impl Into<String>) -> Self {
        Self { offset, message: message.into() }
    }
}

/// The text that shows all `issues` of `source`, in the order of their places.
pub(crate) fn render(source: &str, issues: &[Issue]) -> String {
    let mut sorted: Vec<&Issue> = issues.iter().collect();
    sorted.sort_by_key(|issue| issue.offset);
    let mut text = String::new();
    for issue in sorted.iter().take(MAX_SHOWN) {
        if !text.is_empty() {
            text.push('\n');
        }
        render_one(&mut text, source, issue);
    }
    if sorted.len() > MAX_SHOWN {
        let _ = write!(text, "\n{} more errors were truncated", sorted.len() - MAX_SHOWN);
    }
    text
}

fn render_one(text: &mut String, source: &str, issue: &Issue) {
    let mut start = 0;
    for (number, line) in source.split('\n').enumerate() {
        let length = line.chars().count() as u32;
        if issue.offset <= start + length {
            let column = issue.offset - start;
            let _ = write!(text, "ERROR: <input>:{}:{}: {}", number + 1, column + 1, issue.message);
            let _ = write!(text, "\n | {}\n | ", line.replace('\t', " "));
            let mut wide = false;
            for c in line.chars().take(column as usize) {
                wide = c.len_utf8() > 1;
                text.push(if wide { '．' } else { '.' });
            }
            wide = line.chars().nth(column as usize).map_or(wide && column == length, |c| c.len_utf8() > 1);
            text.push(if wide { '＾' } else { '^' });
            return;
        }
        start += length + 1;
    }
    let _ = write!(text, "ERROR: <input>:1:1: {}", issue.message);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_at_the_column_of_the_line() {
        let shown = render("a\n + b.c", &[Issue::new(6, "undefined field 'c'")]);
        assert_eq!(shown, "ERROR: <input>:2:5: undefined field 'c'\n |  + b.c\n | ....^");
    }

    #[test]
    fn shows_the_first_mistake_first() {
        let issues = [Issue::new(4, "second"), Issue::new(0, "first")];
        assert_eq!(
            render("a + b", &issues),
            "ERROR: <input>:1:1: first\n | a + b\n | ^\nERROR: <input>:1:5: second\n | a + b\n | ....^"
        );
    }
}
