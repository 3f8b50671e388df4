//! `/logs/?query=`: the log of a service of the machine, from its journal or its file, or a file by its name.
//!
//! Upstream: <https://kubernetes.io/docs/concepts/cluster-administration/system-logs/#log-query>.

use std::process::Stdio;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use jiff::Timestamp;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio_util::io::ReaderStream;

use super::pods::Refusal;
use super::system_logs;
use crate::context::Context;
use crate::volumes::run_program;

/// How many services one request may ask for.
const MAX_SERVICES: usize = 4;
/// How many lines it may ask for.
const MAX_LINES: u32 = 100_000;
/// What reads the journal.
const JOURNALCTL: &str = "journalctl";

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    services: Vec<String>,
    files: Vec<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    lines: Option<u32>,
    boot: Option<i32>,
    pattern: Option<String>,
}

impl LogQuery {
    /// The query of a request, if it is one. An error says all that is wrong with it.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        let (mut query, mut wrong, mut asked) = (Self::default(), Vec::new(), false);
        let mut refuse =
            |field: &str, value: &str, why: &str| wrong.push(format!("{field}: Invalid value: {value:?}: {why}"));
        for (field, value) in url::form_urlencoded::parse(text.as_bytes()) {
            match field.as_ref() {
                "query" => {
                    asked = true;
                    // Where there is a slash it is a file.
                    match value.trim() {
                        "" => refuse("query", &value, "query cannot be empty"),
                        file if file.contains(['/', '\\']) => query.files.push(file.to_owned()),
                        service if is_service(service) => query.services.push(service.to_owned()),
                        _ => refuse("query", &value, "no name of a service"),
                    }
                }
                "sinceTime" | "untilTime" => match value.parse::<Timestamp>() {
                    Ok(time) if field == "sinceTime" => query.since = Some(time),
                    Ok(time) => query.until = Some(time),
                    Err(_) => refuse(&field, &value, "invalid time format"),
                },
                "tailLines" => match value.parse::<u32>() {
                    Ok(lines) => query.lines = Some(lines.min(MAX_LINES)),
                    Err(_) => refuse("tailLines", &value, "must be a number that is not negative"),
                },
                "boot" => match value.parse::<i32>() {
                    Ok(boot) if boot <= 0 => query.boot = Some(boot),
                    _ => refuse("boot", &value, "boot must be less than 1"),
                },
                "pattern" => query.pattern = Some(value.into_owned()).filter(|pattern| !pattern.is_empty()),
                _ => {}
            }
        }
        if query.services.len() > MAX_SERVICES {
            refuse("query", &query.services.join(","), "cannot specify more than 4 services");
        }
        if query.files.len() > 1 {
            refuse("query", &query.files.join(","), "cannot specify more than one file");
        }
        if !query.files.is_empty() && !query.services.is_empty() {
            refuse("query", &query.services.join(","), "cannot specify a file and a service");
        }
        if !query.files.is_empty() && query.selects() {
            refuse("query", &query.files.join(","), "cannot specify a file with other options");
        }
        if query.since.zip(query.until).is_some_and(|(since, until)| since > until) {
            refuse("untilTime", "", "must be after `sinceTime`");
        }
        match (wrong.is_empty(), asked) {
            (false, _) => Err(wrong.join(", ")),
            (true, asked) => Ok(asked.then_some(query)),
        }
    }

    fn selects(&self) -> bool {
        let is_set = [self.since.is_some(), self.until.is_some(), self.lines.is_some(), self.boot.is_some()];
        is_set.contains(&true) || self.pattern.is_some()
    }

    /// What the journal is asked.
    fn journal_args(&self) -> Vec<String> {
        let time = |time: &Timestamp| time.strftime("%Y-%m-%d %H:%M:%S").to_string();
        let mut args: Vec<String> = ["--utc", "--no-pager", "--output=short-precise"].map(str::to_owned).into();
        args.extend(self.since.iter().map(|since| format!("--since={}", time(since))));
        args.extend(self.until.iter().map(|until| format!("--until={}", time(until))));
        args.extend(self.lines.iter().flat_map(|lines| ["--pager-end".to_owned(), format!("--lines={lines}")]));
        args.extend(self.services.iter().map(|service| format!("--unit={service}")));
        if let Some(pattern) = &self.pattern {
            args.extend([format!("--grep={pattern}"), "--case-sensitive=false".to_owned()]);
        }
        args.extend(self.boot.iter().flat_map(|boot| ["--boot".to_owned(), boot.to_string()]));
        args
    }
}

/// A unit's name, which is no option of a program.
fn is_service(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@:\\".contains(c))
}

/// Answers a query.
pub async fn serve(context: &Context, query: &LogQuery) -> Result<Response, Refusal> {
    if let Some(file) = query.files.first() {
        return system_logs::plain_file(context, file.trim_start_matches('/')).await;
    }
    if has_journal(context, &query.services).await {
        return journal(context, query);
    }
    let [service] = &query.services[..] else {
        return Err(Refusal(StatusCode::NOT_FOUND, format!("logs not found for {}\n", query.services.join(", "))));
    };
    for name in [service.clone(), format!("{service}.log"), format!("{service}/{service}.log")] {
        if let Ok(answer) = system_logs::plain_file(context, &name).await {
            return Ok(answer);
        }
    }
    Err(Refusal(StatusCode::NOT_FOUND, format!("log not found for {service}\n")))
}

/// Whether all of them write to the journal.
async fn has_journal(context: &Context, services: &[String]) -> bool {
    let Ok(program) = context.programs.find(JOURNALCTL, "systemd") else { return false };
    let Ok(units) = run_program(&program, &["--field", "_SYSTEMD_UNIT"]).await else { return false };
    let is_there = |service: &String| {
        let unit = if service.contains('.') { service.clone() } else { format!("{service}.service") };
        units.output.lines().any(|line| line.trim() == unit)
    };
    units.success && services.iter().all(is_there)
}

fn journal(context: &Context, query: &LogQuery) -> Result<Response, Refusal> {
    let refused = |err: String| Refusal(StatusCode::INTERNAL_SERVER_ERROR, format!("{err}\n"));
    let program = context.programs.find(JOURNALCTL, "systemd").map_err(refused)?;
    let mut command = Command::new(program);
    command.args(query.journal_args()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().map_err(|err| refused(err.to_string()))?;
    let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(refused("the journal's output cannot be read".to_owned()));
    };
    // The program lives for as long as somebody reads.
    let body = ReaderStream::new(output.chain(errors)).map(move |part| {
        let _ = &child;
        part
    });
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], Body::from_stream(body)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        match (LogQuery::parse(text), expected) {
            (Ok(Some(query)), Ok(args)) => {
                let all = query.journal_args().join(" ");
                assert_eq!(all.strip_prefix("--utc --no-pager --output=short-precise"), Some(args), "{text}");
            }
            (Err(err), Err(part)) => assert!(err.contains(part), "{err}"),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn a_query_says_what_the_journal_is_asked() {
        check("query=kubelet", Ok(" --unit=kubelet"));
        check(
            "query=kubelet&query=containerd&tailLines=5",
            Ok(" --pager-end --lines=5 --unit=kubelet --unit=containerd"),
        );
        let times = "sinceTime=2026-01-02T03:04:05Z&untilTime=2026-01-02T03:05:00%2B00:00";
        let args = " --since=2026-01-02 03:04:05 --until=2026-01-02 03:05:00 --unit=kubelet";
        check(&format!("query=kubelet&{times}"), Ok(args));
        check("query=a&pattern=bad.*&boot=-1", Ok(" --unit=a --grep=bad.* --case-sensitive=false --boot -1"));
        check("query=a&tailLines=200000", Ok(" --pager-end --lines=100000 --unit=a"));
        assert_eq!(LogQuery::parse("tailLines=5"), Ok(None), "a list of files is asked for");
    }

    #[test]
    fn what_cannot_be_asked_is_said() {
        check("query=%20", Err("query cannot be empty"));
        check("query=--file%3D", Err("no name of a service"));
        check("query=a&boot=1", Err("boot must be less than 1"));
        check("query=a&tailLines=-1", Err("tailLines"));
        check("query=a&sinceTime=yesterday", Err("invalid time format"));
        check("query=a&query=/b.log", Err("cannot specify a file and a service"));
        check("query=/a.log&query=/b.log", Err("more than one file"));
        check("query=/a.log&tailLines=1", Err("cannot specify a file with other options"));
        check("query=a&query=b&query=c&query=d&query=e", Err("more than 4 services"));
        let late = "query=a&sinceTime=2026-01-02T00:00:00Z&untilTime=2026-01-01T00:00:00Z";
        check(late, Err("must be after `sinceTime`"));
    }
}
