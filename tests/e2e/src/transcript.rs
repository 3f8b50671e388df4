//! Transcripts: sessions in a shell with what they must print.
//!
//! A transcript reads like a terminal.
//!
//! - `$ COMMAND` runs in a shell; lines that begin with `> ` continue it. The lines below are what it prints on both of
//!   its outputs. Empty lines do not count, nor does what client-go logs of a watch that it ends itself, and runs of
//!   blanks are as good as one.
//! - `$~ COMMAND` runs until it prints that, for what comes to be in time.
//! - `[..]` stands for any text within a line, `...` alone for any lines, and a last line `[exit N]` for an exit code
//!   other than 0.
//! - `@file NAME` puts the lines up to `@end` into a file; `# ` begins a comment.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::kubectl::Kubectl;

/// How long a `$~` may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a transcript says to do.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Run { command: String, expected: Expected, repeats: bool, output: std::ops::Range<usize> },
    File { name: String, text: String },
}

/// What a command must print and how it must end.
#[derive(Debug, Default, PartialEq, Eq)]
struct Expected {
    lines: Vec<String>,
    code: i32,
}

/// Runs the transcript at `path` with the tools of `kubectl`, in a directory and a namespace of its own, which have the
/// name of the file. What was printed otherwise than expected; with `UPDATE_SNAPSHOTS` it is written down as expected.
pub fn run(path: &Path, kubectl: &Kubectl) -> Vec<String> {
    let text = std::fs::read_to_string(path).expect("the transcript is there");
    let lines: Vec<&str> = text.lines().collect();
    let name = path.file_stem().expect("it is a file").to_string_lossy().into_owned();
    let dir = kubectl.home().join(&name);
    let session = Session { kubectl: kubectl.in_namespace(&name, &dir), dir };
    let mut differences = Vec::new();
    let mut updates = Vec::new();
    for step in parse(&lines) {
        match step {
            Step::File { name, text } => std::fs::write(session.dir.join(name), text).expect("the file can be written"),
            Step::Run { command, expected, repeats, output } => {
                let Err(printed) = session.run(&command, &expected, repeats) else { continue };
                let place = format!("{}:{}", path.display(), output.start);
                differences.push(format!("{place}: $ {command}\n-- expected\n{expected}-- printed\n{printed}"));
                updates.push((output, printed.to_string()));
            }
        }
    }
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() && !updates.is_empty() {
        std::fs::write(path, updated(&lines, updates)).expect("the transcript can be written");
    }
    differences
}

struct Session {
    kubectl: Kubectl,
    dir: PathBuf,
}

impl Session {
    /// Runs a command; what it printed, where that is not what it must.
    fn run(&self, command: &str, expected: &Expected, repeats: bool) -> Result<(), Expected> {
        let deadline = if repeats { DEADLINE } else { Duration::ZERO };
        let mut printed = Expected::default();
        let found = testkit::poll(deadline, || {
            let (text, code) = self.kubectl.shell(command);
            printed = Expected { lines: normal(text.lines()), code };
            expected.accepts(&printed).then_some(())
        });
        found.ok_or(printed)
    }
}

/// Reads a transcript.
fn parse(lines: &[&str]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        at += 1;
        if let Some(name) = line.strip_prefix("@file ") {
            let end = lines[at..].iter().position(|line| *line == "@end").expect("a file ends with @end") + at;
            let text = lines[at..end].iter().map(|line| format!("{line}\n")).collect();
            steps.push(Step::File { name: name.to_owned(), text });
            at = end + 1;
        } else if let Some((repeats, first)) = command(line) {
            let mut command = first.to_owned();
            while let Some(more) = lines.get(at).and_then(|line| line.strip_prefix("> ")) {
                command = format!("{command}\n{more}");
                at += 1;
            }
            let begins = |line: &&str| command_begins(line);
            let end = lines[at..].iter().position(begins).map_or(lines.len(), |found| found + at);
            steps.push(Step::Run { command, expected: Expected::parse(&lines[at..end]), repeats, output: at..end });
            at = end;
        }
    }
    steps
}

/// The command that a line begins, and whether it repeats.
fn command(line: &str) -> Option<(bool, &str)> {
    line.strip_prefix("$~ ").map(|command| (true, command)).or_else(|| Some((false, line.strip_prefix("$ ")?)))
}

/// Whether a line ends what is printed above it.
fn command_begins(line: &str) -> bool {
    command(line).is_some() || line.starts_with("# ") || line.starts_with("@file ")
}

/// The lines without what does not count.
fn normal<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    words.filter(|line| !line.is_empty() && !is_given_up_watch(line)).collect()
}

/// Whether client-go logs here that it ended a watch itself, which Helm lets it say or not, as it happens.
fn is_given_up_watch(line: &str) -> bool {
    line.contains(" reflector.go:") && line.contains("watch ended with error") && line.contains("context canceled")
}

impl Expected {
    fn parse(lines: &[&str]) -> Self {
        let mut lines = normal(lines.iter().copied());
        let code = lines.last().and_then(|last| last.strip_prefix("[exit ")?.strip_suffix(']')?.parse().ok());
        if code.is_some() {
            lines.pop();
        }
        Self { lines, code: code.unwrap_or(0) }
    }

    fn accepts(&self, printed: &Self) -> bool {
        self.code == printed.code && lines_match(&self.lines, &printed.lines)
    }
}

impl std::fmt::Display for Expected {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        if self.code == 0 { Ok(()) } else { writeln!(out, "[exit {}]", self.code) }
    }
}

fn lines_match(patterns: &[String], lines: &[String]) -> bool {
    match patterns.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first == "..." => (0..=lines.len()).any(|skipped| lines_match(rest, &lines[skipped..])),
        Some((first, rest)) => {
            lines.split_first().is_some_and(|(line, lines)| line_matches(first, line) && lines_match(rest, lines))
        }
    }
}

fn line_matches(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split("[..]");
    let first = parts.next().unwrap_or_default();
    let Some(mut line) = line.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return line.is_empty() };
    for part in parts {
        let Some(found) = line.find(part) else { return false };
        line = &line[found + part.len()..];
    }
    line.ends_with(last)
}

/// The transcript with what was printed in place of what was expected.
fn updated(lines: &[&str], updates: Vec<(std::ops::Range<usize>, String)>) -> String {
    let mut text = String::new();
    let mut at = 0;
    for (range, printed) in updates {
        lines[at..range.start].iter().for_each(|line| writeln!(text, "{line}").expect("a string takes all"));
        let blank = if lines[range.clone()].last().is_some_and(|line| line.is_empty()) { "\n" } else { "" };
        text.push_str(&printed);
        text.push_str(blank);
        at = range.end;
    }
    lines[at..].iter().for_each(|line| writeln!(text, "{line}").expect("a string takes all"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expected: &str, printed: &str, accepted: bool) {
        let parse = |text: &str| Expected::parse(&text.lines().collect::<Vec<_>>());
        assert_eq!(parse(expected).accepts(&parse(printed)), accepted, "{expected:?} for {printed:?}");
    }

    #[test]
    fn what_is_printed_is_compared() {
        check("a  b\n\nc", "a b\nc\n\n", true);
        check("a", "a\nb", false);
        check("a\nb", "a", false);
        check("a\n...", "a\nb\nc", true);
        check("...\nc", "a\nb\nc", true);
        check("...\nb", "a\nb\nc", false);
        check("pod/[..] made", "pod/x-1 made", true);
        check("pod/[..] made", "pod/x-1 kept", false);
        check("[..]a", "bab", false);
        check("a[..]a", "a", false);
        let watch =
            r#"I1130 1:2:3.4 5 reflector.go:578] "Warning: watch ended with error" err="(\"context canceled\")""#;
        check("a", &format!("{watch}\na"), true);
        check("a", &format!("{}\na", watch.replace("context canceled", "EOF")), false);
        check("no\n[exit 1]", "no", false);
        check("no\n[exit 1]", "no\n[exit 1]", true);
    }

    #[test]
    fn transcripts_are_read() {
        let text = "# said\n@file a\nkind: A\n@end\n$ one\n> two\nout\n\n$~ three\n[exit 2]\n# end\n";
        let lines: Vec<&str> = text.lines().collect();
        let run = |command: &str, lines: &[&str], code, repeats, output| Step::Run {
            command: command.to_owned(),
            expected: Expected { lines: lines.iter().map(|line| (*line).to_owned()).collect(), code },
            repeats,
            output,
        };
        let steps = parse(&lines);
        let file = Step::File { name: "a".to_owned(), text: "kind: A\n".to_owned() };
        assert_eq!(steps, [file, run("one\ntwo", &["out"], 0, false, 6..8), run("three", &[], 2, true, 9..10)]);
        let text = updated(&lines, vec![(6..8, "new\n".to_owned()), (9..10, "[exit 1]\n".to_owned())]);
        assert_eq!(text, "# said\n@file a\nkind: A\n@end\n$ one\n> two\nnew\n\n$~ three\n[exit 1]\n# end\n");
    }
}
