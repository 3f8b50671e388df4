//! The schedules of cron jobs: five fields, or a word such as `@daily`.

/// One field: its bounds, and the names that its numbers may have.
struct Field {
    low: u32,
    high: u32,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const FIELDS: [Field; 5] = [
    Field { low: 0, high: 59, names: &[] },
    Field { low: 0, high: 23, names: &[] },
    Field { low: 1, high: 31, names: &[] },
    Field { low: 1, high: 12, names: &MONTHS },
    Field { low: 0, high: 6, names: &DAYS },
];

const WORDS: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// Whether a schedule can be read; the error is worded like the parser's that upstream uses.
pub(super) fn check(schedule: &str) -> Result<(), String> {
    let schedule = without_zone(schedule)?;
    if schedule.starts_with('@') {
        return match schedule.strip_prefix("@every ") {
            Some(duration) if is_duration(duration) => Ok(()),
            Some(duration) => Err(format!("failed to parse duration @every {duration}")),
            None if WORDS.contains(&schedule) => Ok(()),
            None => Err(format!("unrecognized descriptor: {schedule}")),
        };
    }
    let parts: Vec<&str> = schedule.split_whitespace().collect();
    if parts.len() != FIELDS.len() {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", parts.len(), parts.join(" ")));
    }
    for (part, field) in parts.iter().zip(&FIELDS) {
        for range in part.split(',') {
            field.check(range)?;
        }
    }
    Ok(())
}

/// The schedule without a zone before it.
fn without_zone(schedule: &str) -> Result<&str, String> {
    let Some(zoned) = schedule.strip_prefix("TZ=").or_else(|| schedule.strip_prefix("CRON_TZ=")) else {
        return Ok(schedule);
    };
    // Upstream's parser fails badly where nothing follows.
    let (zone, rest) = zoned.split_once(' ').ok_or_else(|| format!("invalid schedule format: {schedule}"))?;
    if jiff::tz::TimeZone::get(zone).is_err() {
        return Err(format!("provided bad location {zone}: unknown time zone {zone}"));
    }
    Ok(rest.trim())
}

/// A Go duration, roughly: numbers with units.
fn is_duration(text: &str) -> bool {
    let units = ["ns", "us", "µs", "ms", "s", "m", "h"];
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (_, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        if digits == 0 || !units.contains(&&tail[..end]) {
            return false;
        }
        rest = &tail[end..];
    }
    !text.is_empty()
}

impl Field {
    fn check(&self, range: &str) -> Result<(), String> {
        let mut parts = range.split('/');
        let span = parts.next().unwrap_or_default();
        let step = parts.next();
        if parts.next().is_some() {
            return Err(format!("too many slashes: {range}"));
        }
        let (start, end) = match span {
            "*" | "?" => (self.low, self.high),
            _ => {
                let mut ends = span.split('-');
                let start = self.number(ends.next().unwrap_or_default())?;
                let end = match ends.next() {
                    Some(end) => self.number(end)?,
                    None if step.is_some() => self.high,
                    None => start,
                };
                if ends.next().is_some() {
                    return Err(format!("too many hyphens: {range}"));
                }
                (start, end)
            }
        };
        if let Some(step) = step
            && parse(step)? == 0
        {
            return Err(format!("step of range should be a positive number: {range}"));
        }
        if start < self.low {
            return Err(format!("beginning of range ({start}) below minimum ({}): {range}", self.low));
        }
        if end > self.high {
            return Err(format!("end of range ({end}) above maximum ({}): {range}", self.high));
        }
        if start > end {
            return Err(format!("beginning of range ({start}) beyond end of range ({end}): {range}"));
        }
        Ok(())
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        let lower = text.to_lowercase();
        match self.names.iter().position(|name| *name == lower) {
            Some(position) => Ok(u32::try_from(position).unwrap_or(0) + self.low),
            None => parse(text),
        }
    }
}

fn parse(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| format!("failed to parse int from {text}: strconv.Atoi: parsing \"{text}\": invalid syntax"))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn schedules_are_judged() {
        for schedule in
            ["* * * * *", "*/5 0-3,5 1 jan-mar mon", "@daily", "@every 1h30m", "0 0 ? * 0", "TZ=UTC 0 * * * *"]
        {
            assert_eq!(check(schedule), Ok(()), "{schedule}");
        }
        for schedule in [
            "60 * * * *",
            "* * 0 * *",
            "*/0 * * * *",
            "5-1 * * * *",
            "* * * *",
            "@often",
            "x * * * *",
            "TZ=Nowhere 0 * * * *",
        ] {
            assert!(check(schedule).is_err(), "{schedule}");
        }
        assert_eq!(check("nope"), Err("expected exactly 5 fields, found 1: [nope]".to_owned()));
    }
}
