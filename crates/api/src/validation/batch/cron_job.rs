//! Jobs that are made on a schedule.

use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec};

use super::job_spec;
use crate::field::{ErrorList, FieldError, Path};
use crate::validation::{check, cron};

/// Names of jobs end with eleven characters that the controller adds.
const NAME_LIMIT: usize = 52;

/// Judges what only a new cron job must not be.
pub(in crate::validation) fn cron_job_create(job: &CronJob, errors: &mut ErrorList) {
    let name = check::text(&job.metadata.name);
    if name.len() > NAME_LIMIT {
        let why = format!("must be no more than {NAME_LIMIT} bytes");
        errors.push(FieldError::invalid(&Path::new("metadata").child("name"), name, why));
    }
}

/// Judges a new cron job.
pub(in crate::validation) fn cron_job(job: &CronJob, errors: &mut ErrorList) {
    judge(&job.spec.clone().unwrap_or_default(), None, errors);
}

/// Judges an update of a cron job.
pub(in crate::validation) fn cron_job_update(new: &CronJob, old: &CronJob, errors: &mut ErrorList) {
    let old = old.spec.clone().unwrap_or_default();
    judge(&new.spec.clone().unwrap_or_default(), Some(&old), errors);
}

fn judge(spec: &CronJobSpec, old: Option<&CronJobSpec>, errors: &mut ErrorList) {
    let path = Path::new("spec");
    if check::required(errors, &path.child("schedule"), &spec.schedule) {
        schedule(spec, old, &path.child("schedule"), errors);
    }
    check::optional_non_negative(errors, &path.child("startingDeadlineSeconds"), spec.starting_deadline_seconds);
    if let Some(zone) = &spec.time_zone
        && old.is_none_or(|old| old.time_zone.as_ref() != Some(zone))
    {
        time_zone(zone, &path.child("timeZone"), errors);
    }
    let policies = ["Allow", "Forbid", "Replace"];
    check::required_one_of(errors, &path.child("concurrencyPolicy"), check::text(&spec.concurrency_policy), &policies);
    check::optional_non_negative(errors, &path.child("successfulJobsHistoryLimit"), spec.successful_jobs_history_limit);
    check::optional_non_negative(errors, &path.child("failedJobsHistoryLimit"), spec.failed_jobs_history_limit);
    let path = path.child("jobTemplate").child("spec");
    let template = spec.job_template.spec.clone().unwrap_or_default();
    job_spec(&template, &path, errors);
    if let Some(selector) = &template.selector {
        let why = "`selector` will be auto-generated";
        errors.push(FieldError::invalid(&path.child("selector"), check::json(selector), why));
    }
    if template.manual_selector == Some(true) {
        errors.push(FieldError::not_supported(&path.child("manualSelector"), true, &["nil", "false"]));
    }
}

/// Zones in schedules are left to those that had them before there was a field.
fn schedule(spec: &CronJobSpec, old: Option<&CronJobSpec>, path: &Path, errors: &mut ErrorList) {
    let text = spec.schedule.as_str();
    if let Err(why) = cron::check(text) {
        errors.push(FieldError::invalid(path, text, why));
    }
    let names_zone = text.contains("TZ");
    let may_name = old.is_some_and(|old| old.schedule.contains("TZ"));
    let why = match (names_zone, may_name) {
        (true, false) => "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        (true, true) if spec.time_zone.is_some() => "cannot use both timeZone field and TZ or CRON_TZ in schedule",
        _ => return,
    };
    errors.push(FieldError::invalid(path, text, why));
}

fn time_zone(zone: &str, path: &Path, errors: &mut ErrorList) {
    let mut refuse = |why: String| errors.push(FieldError::invalid(path, zone, why));
    if zone.is_empty() {
        refuse("timeZone must be nil or non-empty string".to_owned());
        return;
    }
    let is_part = |part: &str| {
        (1..=14).contains(&part.len())
            && ![".", ".."].contains(&part)
            && !part.starts_with('-')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte))
    };
    if !zone.split('/').all(is_part) {
        refuse(format!("unknown time zone {zone}"));
        return;
    }
    if zone.eq_ignore_ascii_case("local") {
        refuse("timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones".to_owned());
        // Go knows the zone that it spells like this.
        if zone == "Local" {
            return;
        }
    }
    if jiff::tz::TimeZone::get(zone).is_err() {
        refuse(format!("unknown time zone {zone}"));
    }
}
