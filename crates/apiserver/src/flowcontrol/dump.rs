//! The debug endpoints: what the levels, queues and requests are doing, as text.

use jiff::{SignedDuration, Timestamp};

use super::FlowControl;
use super::level::{Level, Ticket};
use super::queueset::{Entry, QueueSet};
use crate::access::attributes::ResourceAttributes;
use crate::http::request_info::Target;

/// Rows of words, aligned as upstream's are.
struct Text(Vec<Vec<String>>);

/// Columns are at least so wide.
const WIDTH: usize = 8;

impl Text {
    fn new(header: &[&str]) -> Self {
        Self(vec![header.iter().map(|&word| word.to_owned()).collect()])
    }

    fn finish(self) -> String {
        let columns = self.0.first().map_or(0, Vec::len);
        let length = |row: &Vec<String>, column: usize| row.get(column).map_or(0, |word| word.chars().count() + 2);
        let widths: Vec<usize> = (0..columns)
            .map(|column| self.0.iter().map(|row| length(row, column)).max().unwrap_or(0).max(WIDTH))
            .collect();
        let mut text = String::new();
        for row in &self.0 {
            for (column, word) in row.iter().enumerate() {
                match column + 1 == row.len() {
                    true => text.push_str(word),
                    false => text.push_str(&format!("{:<width$}", format!("{word},"), width = widths[column])),
                }
            }
            text.push('\n');
        }
        text
    }
}

/// The text of an endpoint; nothing if there is none of that name.
pub(crate) fn dump(control: &FlowControl, what: &str, with_details: bool) -> Option<String> {
    match what {
        "dump_priority_levels" => Some(levels(control)),
        "dump_queues" => Some(queues(control)),
        "dump_requests" => Some(requests(control, with_details)),
        _ => None,
    }
}

fn levels(control: &FlowControl) -> String {
    let mut text = Text::new(&[
        "PriorityLevelName",
        "ActiveQueues",
        "IsIdle",
        "IsQuiescing",
        "WaitingRequests",
        "ExecutingRequests",
        "DispatchedRequests",
        "RejectedRequests",
        "TimedoutRequests",
        "CancelledRequests",
    ]);
    for level in control.levels() {
        let set = level.set();
        let (totals, counts) = (set.totals(), set.counts());
        let is_idle = totals.waiting == 0 && totals.executing == 0;
        text.0.push(vec![
            level.name.clone(),
            totals.active_queues.to_string(),
            is_idle.to_string(),
            // Levels that are gone end with their requests, and are listed no more.
            false.to_string(),
            totals.waiting.to_string(),
            totals.executing.to_string(),
            counts.dispatched.to_string(),
            counts.rejected.to_string(),
            counts.timed_out.to_string(),
            counts.cancelled.to_string(),
        ]);
    }
    text.finish()
}

fn queues(control: &FlowControl) -> String {
    let mut text = Text::new(&[
        "PriorityLevelName",
        "Index",
        "PendingRequests",
        "ExecutingRequests",
        "SeatsInUse",
        "NextDispatchR",
        "InitialSeatsSum",
        "MaxSeatsSum",
        "TotalWorkSum",
    ]);
    for level in control.levels() {
        for (index, queue) in level.set().queues().iter().enumerate() {
            let waiting = queue.waiting();
            let initial: u32 = waiting.iter().map(|(_, estimate)| estimate.seats).sum();
            let most: u32 = waiting.iter().map(|(_, estimate)| estimate.most()).sum();
            text.0.push(vec![
                level.name.clone(),
                index.to_string(),
                waiting.len().to_string(),
                queue.executing().to_string(),
                queue.seats_in_use().to_string(),
                queue.next_start().to_string(),
                initial.to_string(),
                most.to_string(),
                queue.waiting_work().to_string(),
            ]);
        }
    }
    text.finish()
}

fn requests(control: &FlowControl, with_details: bool) -> String {
    let mut header = vec![
        "PriorityLevelName",
        "FlowSchemaName",
        "QueueIndex",
        "RequestIndexInQueue",
        "FlowDistingsher",
        "ArriveTime",
        "InitialSeats",
        "FinalSeats",
        "AdditionalLatency",
        "StartTime",
    ];
    if with_details {
        header.extend(["UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource"]);
    }
    let mut text = Text::new(&header);
    let (now, wall) = (control.env.instant(), control.env.now());
    let at = |instant: tokio::time::Instant| {
        let ago = SignedDuration::try_from(now.saturating_duration_since(instant)).unwrap_or(SignedDuration::ZERO);
        wall.saturating_sub(ago).unwrap_or(Timestamp::MIN).to_string()
    };
    for level in &control.levels() {
        let set = level.set();
        for (id, entry) in set.entries().filter(|(_, entry)| !entry.is_over) {
            let mut row = row(level, &set, id, entry, &at);
            if with_details {
                row.extend(details(&entry.payload));
            }
            text.0.push(row);
        }
    }
    text.finish()
}

fn row(
    level: &Level,
    set: &QueueSet<Ticket>,
    id: usize,
    entry: &Entry<Ticket>,
    at: &dyn Fn(tokio::time::Instant) -> String,
) -> Vec<String> {
    let ticket = &entry.payload;
    let place = entry.queue.and_then(|queue| set.queues()[queue].waiting().iter().position(|(other, _)| *other == id));
    let or_none = |number: Option<usize>| number.map_or_else(|| "-1".to_owned(), |number| number.to_string());
    vec![
        level.name.clone(),
        ticket.schema.name.clone(),
        or_none(entry.queue),
        or_none(place),
        ticket.schema.distinguisher(&ticket.identity, &ticket.info).to_owned(),
        at(entry.arrived),
        entry.estimate.seats.to_string(),
        entry.estimate.final_seats.to_string(),
        duration(entry.estimate.extra),
        // Go's zero time for what has not started.
        entry.started.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), at),
    ]
}

fn details(ticket: &Ticket) -> Vec<String> {
    let user = ticket.identity.user.clone();
    let path = ticket.info.path.clone();
    match &ticket.info.target {
        Target::Resource(request) => {
            let resource = ResourceAttributes::of_request(request);
            let version = match request.group.as_str() {
                "" => request.version.clone(),
                group => format!("{group}/{}", request.version),
            };
            let words = [request.verb.as_str(), &path, resource.namespace, resource.name, &version, resource.resource];
            let words = words.into_iter().chain([resource.subresource]).map(str::to_owned);
            std::iter::once(user).chain(words).collect()
        }
        Target::Path => [user, String::new(), path].into_iter().chain((0..5).map(|_| String::new())).collect(),
    }
}

/// As Go writes a duration of less than a minute.
fn duration(duration: std::time::Duration) -> String {
    match duration.as_nanos() {
        0 => "0s".to_owned(),
        1..1_000_000 => format!("{}µs", duration.as_secs_f64() * 1e6),
        1_000_000..1_000_000_000 => format!("{}ms", duration.as_secs_f64() * 1e3),
        _ => format!("{}s", duration.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut text = Text::new(&["Name", "Number", "Last"]);
        text.0.push(["catch-all", "1", "x"].map(str::to_owned).to_vec());
        assert_eq!(text.finish(), "Name,      Number, Last\ncatch-all, 1,      x\n");
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (micros, expected) in [(0, "0s"), (250, "250µs"), (5000, "5ms"), (7500, "7.5ms"), (1_500_000, "1.5s")] {
            assert_eq!(duration(std::time::Duration::from_micros(micros)), expected);
        }
    }
}
