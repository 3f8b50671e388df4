//! `anyOf`, `oneOf`, `allOf` and `not`.

use serde_json::Value;

use super::{Outcome, node};
use crate::field::{FieldError, quote};
use crate::structural::correlate::Old;
use crate::structural::place::Place;
use crate::structural::schema::Structural;

pub(super) fn check(value: &Value, old: Old<'_>, schema: &Structural, place: &Place<'_>, outcome: &mut Outcome) {
    let values = &schema.values;
    let fail = |what: &str| {
        let why = format!("{} must {what}", quote(&place.name()));
        FieldError::invalid(&place.begin_path(), "", why)
    };
    let judge = |branch: &Structural| node(value, old, branch, place);
    if !values.any_of.is_empty() {
        any_of(&values.any_of, judge, fail, outcome);
    }
    if !values.one_of.is_empty() {
        one_of(&values.one_of, judge, fail, outcome);
    }
    if !values.all_of.is_empty() {
        let mut valid = 0;
        for branch in &values.all_of {
            let judged = judge(branch);
            valid += usize::from(judged.is_valid());
            outcome.merge(judged);
        }
        if valid != values.all_of.len() {
            let none = if valid == 0 { ". None validated" } else { "" };
            outcome.add(fail(&format!("validate all the schemas (allOf){none}")));
        }
    }
    if let Some(branch) = &values.not
        && judge(branch).is_valid()
    {
        outcome.add(fail("not validate the schema (not)"));
    }
    outcome.matches += 1;
}

type Fail<'a> = dyn Fn(&str) -> FieldError + 'a;

fn any_of(
    branches: &[Structural],
    judge: impl Fn(&Structural) -> Outcome,
    fail: impl Fn(&str) -> FieldError,
    outcome: &mut Outcome,
) {
    let mut best: Option<Outcome> = None;
    for branch in branches {
        let judged = judge(branch);
        if judged.is_valid() {
            return outcome.merge(judged);
        }
        keep_better(&mut best, judged);
    }
    outcome.add(fail("validate at least one schema (anyOf)"));
    best.into_iter().for_each(|best| outcome.merge(best));
}

fn one_of(
    branches: &[Structural],
    judge: impl Fn(&Structural) -> Outcome,
    fail: impl Fn(&str) -> FieldError,
    outcome: &mut Outcome,
) {
    let mut valid: Vec<Outcome> = Vec::new();
    let mut best: Option<Outcome> = None;
    for branch in branches {
        let judged = judge(branch);
        if judged.is_valid() {
            valid.push(judged);
        } else if valid.is_empty() {
            keep_better(&mut best, judged);
        }
    }
    let fail: &Fail<'_> = &fail;
    let one_only = |found: String| fail(&format!("validate one and only one schema (oneOf). {found}"));
    match valid.len() {
        1 => valid.into_iter().for_each(|valid| outcome.merge(valid)),
        0 => {
            outcome.add(one_only("Found none valid".to_owned()));
            best.into_iter().for_each(|best| outcome.merge(best));
        }
        more => outcome.add(one_only(format!("Found {more} valid alternatives"))),
    }
}

fn keep_better(best: &mut Option<Outcome>, judged: Outcome) {
    if best.as_ref().is_none_or(|best| judged.matches > best.matches) {
        *best = Some(judged);
    }
}
