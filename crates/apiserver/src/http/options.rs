//! The parameters of each verb, read from the query (and for deletions from the body).

use std::num::{IntErrorKind, ParseIntError};
use std::time::Duration;

use api::field::{ErrorList, FieldError, Path};
use api::selector::{FieldSelector, LabelSelector};
use api::status::Status;
use api::validation::{MAX_MANAGER, field_manager as field_manager_rule};
use http::HeaderMap;
use serde_json::{Map, Value, json};

use crate::http::negotiate::{self, PatchType};
use crate::http::request_info::Query;

/// What unknown and duplicate fields lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// Parameters of create, update and patch.
#[derive(Clone, Debug)]
pub(crate) struct WriteOptions {
    pub(crate) dry_run: bool,
    pub(crate) field_validation: FieldValidation,
    /// Who owns what is written.
    pub(crate) field_manager: String,
    /// The options as they were asked for: `fieldManager`, `fieldValidation` and `dryRun`.
    asked: Map<String, Value>,
    /// Whether the body is a configuration to be applied.
    pub(crate) is_apply: bool,
    /// Whether an applied configuration wins conflicts.
    pub(crate) force: bool,
}

impl WriteOptions {
    /// `kind` is the name of the options type in refusals, `CreateOptions` for example.
    pub(crate) fn parse(query: &Query, headers: &HeaderMap, kind: &str) -> Result<Self, Status> {
        let is_apply = kind == "PatchOptions" && negotiate::patch_type(headers, false) == Ok(PatchType::Apply);
        let field_manager = query.get("fieldManager").unwrap_or_default();
        let mut errors = Vec::new();
        field_manager_rule(field_manager, &Path::new("fieldManager"), &mut errors);
        if is_apply && field_manager.is_empty() {
            errors.push(FieldError::required(&Path::new("fieldManager"), "is required for apply patch"));
        }
        if kind == "PatchOptions" && !is_apply && query.get("force").is_some() {
            errors.push(FieldError::forbidden(&Path::new("force"), "may not be specified for non-apply patch"));
        }
        let dry_run = dry_run(query.all("dryRun")).map_err(|error| errors.push(error)).unwrap_or_default();
        let field_validation = field_validation(query).map_err(|error| errors.push(error));
        let (Ok(field_validation), []) = (field_validation, errors.as_slice()) else {
            return Err(Status::invalid("meta.k8s.io", kind, "", errors));
        };
        let mut asked = Map::new();
        for name in ["fieldManager", "fieldValidation"] {
            if let Some(given) = query.get(name).filter(|given| !given.is_empty()) {
                asked.insert(name.to_owned(), given.into());
            }
        }
        if !query.all("dryRun").is_empty() {
            asked.insert("dryRun".to_owned(), query.all("dryRun").into());
        }
        Ok(Self {
            asked,
            dry_run,
            field_validation,
            field_manager: match field_manager {
                "" => manager_of_agent(headers),
                given => given.to_owned(),
            },
            is_apply,
            force: is_apply && query.flag("force"),
        })
    }

    /// The options as an object of a kind.
    pub(crate) fn to_json(&self, kind: &str) -> Value {
        let mut options = self.asked.clone();
        options.insert("kind".to_owned(), kind.into());
        options.insert("apiVersion".to_owned(), "meta.k8s.io/v1".into());
        Value::Object(options)
    }
}

/// Clients that do not say who they are in the query are known by the name in their `User-Agent`.
fn manager_of_agent(headers: &HeaderMap) -> String {
    let agent = headers.get(http::header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let name = agent.split('/').next().unwrap_or_default();
    name.chars().filter(|c| !c.is_control()).take(MAX_MANAGER).collect()
}

fn dry_run(values: Vec<&str>) -> Result<bool, FieldError> {
    match values.iter().any(|value| *value != "All") {
        true => Err(FieldError::not_supported(&Path::new("dryRun"), Value::from(values), &["All"])),
        false => Ok(values.contains(&"All")),
    }
}

fn field_validation(query: &Query) -> Result<FieldValidation, FieldError> {
    match query.get("fieldValidation") {
        None | Some("") | Some("Warn") => Ok(FieldValidation::Warn),
        Some("Strict") => Ok(FieldValidation::Strict),
        Some("Ignore") => Ok(FieldValidation::Ignore),
        Some(other) => {
            let path = Path::new("fieldValidation");
            Err(FieldError::not_supported(&path, other, &["", "Ignore", "Strict", "Warn"]))
        }
    }
}

/// How a list relates to the resourceVersion given with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VersionMatch {
    NotOlderThan,
    Exact,
}

/// Parameters of list and watch.
#[derive(Clone, Debug)]
pub(crate) struct ListOptions {
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
    pub(crate) limit: usize,
    pub(crate) continue_token: Option<String>,
    /// `None` for unset.
    pub(crate) resource_version: Option<i64>,
    pub(crate) version_match: Option<VersionMatch>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) bookmarks: bool,
    pub(crate) send_initial_events: Option<bool>,
    /// Whether the query had a label or field selector.
    pub(crate) is_filtered: bool,
}

impl ListOptions {
    pub(crate) fn parse(query: &Query, is_watch: bool) -> Result<Self, Status> {
        let text = |name: &str| query.get(name).filter(|value| !value.is_empty());
        let labels = LabelSelector::parse(text("labelSelector").unwrap_or_default())
            .map_err(|err| Status::bad_request(err.to_string()))?;
        let fields = FieldSelector::parse(text("fieldSelector").unwrap_or_default())
            .map_err(|err| Status::bad_request(err.to_string()))?;
        let limit = number(query, "limit")?.unwrap_or(0);
        let continue_token = text("continue").map(str::to_owned);
        let resource_version = match text("resourceVersion") {
            None => None,
            Some(version) => Some(parse_resource_version(version)?),
        };
        let send_initial_events = query.get("sendInitialEvents").map(|_| query.flag("sendInitialEvents"));
        let mut options = Self {
            is_filtered: text("labelSelector").is_some() || text("fieldSelector").is_some(),
            labels,
            fields,
            limit: usize::try_from(limit).unwrap_or(0),
            continue_token,
            resource_version,
            version_match: match text("resourceVersionMatch") {
                Some("NotOlderThan") => Some(VersionMatch::NotOlderThan),
                Some("Exact") => Some(VersionMatch::Exact),
                _ => None,
            },
            // 0 is as good as none, and what is below is over at once.
            timeout: number(query, "timeoutSeconds")?
                .filter(|seconds| *seconds != 0)
                .map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0))),
            bookmarks: query.flag("allowWatchBookmarks"),
            send_initial_events,
        };
        let given = text("resourceVersionMatch");
        let errors = if is_watch { options.watch_errors(given) } else { options.list_errors(given) };
        if !errors.is_empty() {
            return Err(Status::invalid("meta.k8s.io", "ListOptions", "", errors));
        }
        // Where a watch that says nothing begins is as if it asked for the list first. One by its own path says nothing.
        let begins_with_list = send_initial_events.is_none() && matches!(options.resource_version, None | Some(0));
        if is_watch && query.flag("watch") && given.is_none() && begins_with_list {
            options.send_initial_events = Some(true);
        }
        Ok(options)
    }

    fn list_errors(&self, given: Option<&str>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let field = Path::new("resourceVersionMatch");
        if let Some(given) = given {
            if self.resource_version.is_none() {
                let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                errors.push(FieldError::forbidden(&field, why));
            }
            if self.continue_token.is_some() {
                let why = "resourceVersionMatch is forbidden when continue is provided";
                errors.push(FieldError::forbidden(&field, why));
            }
            if self.version_match.is_none() {
                errors.push(FieldError::not_supported(&field, given, &["", "Exact", "NotOlderThan"]));
            }
            if self.version_match == Some(VersionMatch::Exact) && self.resource_version == Some(0) {
                let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                errors.push(FieldError::forbidden(&field, why));
            }
        }
        if self.send_initial_events.is_some() {
            let field = Path::new("sendInitialEvents");
            errors.push(FieldError::forbidden(&field, "sendInitialEvents is forbidden for list"));
        }
        errors
    }

    fn watch_errors(&self, given: Option<&str>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let field = Path::new("resourceVersionMatch");
        let is_not_older = self.version_match == Some(VersionMatch::NotOlderThan);
        if self.send_initial_events.is_some() && !is_not_older {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            errors.push(FieldError::forbidden(&field, why));
        }
        if let Some(given) = given {
            if self.send_initial_events.is_none() {
                let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                errors.push(FieldError::forbidden(&field, why));
            }
            if !is_not_older {
                errors.push(FieldError::not_supported(&field, given, &["NotOlderThan"]));
            }
            if self.continue_token.is_some() {
                let why = "resourceVersionMatch is forbidden when continue is provided";
                errors.push(FieldError::forbidden(&field, why));
            }
        }
        errors
    }
}

/// Reads a resourceVersion; upstream answers garbage with an unclassified 500.
pub(crate) fn parse_resource_version(text: &str) -> Result<i64, Status> {
    let parsed = match text.starts_with('+') {
        true => "".parse(),
        false => text.parse::<u64>(),
    };
    // No version is that high; what is asks for one of the future.
    parsed.map(|version| i64::try_from(version).unwrap_or(i64::MAX)).map_err(|error| {
        let quoted = api::field::quote(text);
        let why = not_a_number("ParseUint", text, &error);
        Status::unclassified(format!("resourceVersion: Invalid value: {quoted}: {why}"))
    })
}

fn number(query: &Query, name: &str) -> Result<Option<i64>, Status> {
    let parse = |text: &str| {
        text.parse().map_err(|error: ParseIntError| Status::bad_request(not_a_number("ParseInt", text, &error)))
    };
    query.get(name).map(parse).transpose()
}

/// What upstream's parser of numbers says to a text.
fn not_a_number(parser: &str, text: &str, error: &ParseIntError) -> String {
    let why = match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    format!("strconv.{parser}: parsing {}: {why}", api::field::quote(text))
}

/// What happens to the objects that a deleted one owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    Background,
    Foreground,
    Orphan,
}

impl Propagation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Background => "Background",
            Self::Foreground => "Foreground",
            Self::Orphan => "Orphan",
        }
    }
}

/// Parameters of delete and deletecollection.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) grace_period_seconds: Option<i64>,
    pub(crate) propagation: Option<Propagation>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) dry_run: bool,
    /// Whether the old option `orphanDependents` is false, which upstream answers with 202 while it waits.
    pub(crate) refuses_orphans: bool,
}

impl DeleteOptions {
    /// The options as an object.
    pub(crate) fn to_json(&self) -> Value {
        let mut options = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
        if let Some(seconds) = self.grace_period_seconds {
            options["gracePeriodSeconds"] = seconds.into();
        }
        if let Some(propagation) = self.propagation {
            options["propagationPolicy"] = propagation.as_str().into();
        }
        for (field, wanted) in [("uid", &self.uid), ("resourceVersion", &self.resource_version)] {
            if let Some(wanted) = wanted {
                options["preconditions"][field] = wanted.as_str().into();
            }
        }
        if self.dry_run {
            options["dryRun"] = json!(["All"]);
        }
        options
    }

    /// Reads the options from the body, or from the query if there is no body.
    pub(crate) fn parse(query: &Query, body: Option<&Value>) -> Result<Self, Status> {
        match body {
            Some(body) => Self::from_body(body),
            None => {
                let text = |name: &str| query.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
                Self {
                    grace_period_seconds: number(query, "gracePeriodSeconds")?,
                    uid: text("uid"),
                    resource_version: text("resourceVersion"),
                    ..Self::default()
                }
                .checked(
                    query.get("propagationPolicy"),
                    query.get("orphanDependents").map(|_| query.flag("orphanDependents")),
                    query.all("dryRun"),
                )
            }
        }
    }

    /// The options with those that can be wrong.
    fn checked(self, policy: Option<&str>, orphan: Option<bool>, dry_runs: Vec<&str>) -> Result<Self, Status> {
        let mut errors = Vec::new();
        let propagation = propagation(policy, orphan, &mut errors);
        let dry_run = dry_run(dry_runs).map_err(|error| errors.push(error)).unwrap_or_default();
        match errors.is_empty() {
            true => Ok(Self { propagation, dry_run, refuses_orphans: orphan == Some(false), ..self }),
            false => Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", errors)),
        }
    }

    fn from_body(body: &Value) -> Result<Self, Status> {
        let precondition = |field: &str| {
            let value = body.get("preconditions")?.get(field)?.as_str()?;
            Some(value.to_owned())
        };
        let dry_runs = body.get("dryRun").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        Self {
            grace_period_seconds: body.get("gracePeriodSeconds").and_then(Value::as_i64),
            uid: precondition("uid"),
            resource_version: precondition("resourceVersion"),
            ..Self::default()
        }
        .checked(
            body.get("propagationPolicy").and_then(Value::as_str),
            body.get("orphanDependents").and_then(Value::as_bool),
            dry_runs.collect(),
        )
    }
}

fn propagation(policy: Option<&str>, orphan: Option<bool>, errors: &mut ErrorList) -> Option<Propagation> {
    let path = Path::new("propagationPolicy");
    if let (Some(policy), Some(_)) = (policy, orphan) {
        let why = "orphanDependents and deletionPropagation cannot be both set";
        errors.push(FieldError::invalid(&path, policy, why));
    }
    match (policy, orphan) {
        (None, None) => None,
        (None, Some(true)) | (Some("Orphan"), _) => Some(Propagation::Orphan),
        (None, Some(false)) | (Some("Background"), _) => Some(Propagation::Background),
        (Some("Foreground"), _) => Some(Propagation::Foreground),
        (Some(other), _) => {
            let supported = ["Foreground", "Background", "Orphan", "nil"];
            errors.push(FieldError::not_supported(&path, other, &supported));
            None
        }
    }
}
