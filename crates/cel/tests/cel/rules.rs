//! Rules of custom resources: which run, what they say, what they are refused for.

use api::field::Path;
use api::structural::Structural;
use serde_json::{Value, json};
use skiff_cel::rules::{self, Rules, Verdict};

fn structural(spec: &Value) -> Structural {
    let schema = json!({"type": "object", "properties": {"spec": spec}});
    Structural::parse(&schema).expect("a schema")
}

fn verdict(spec: &Value, new: &Value, old: Option<&Value>) -> Verdict {
    let schema = structural(spec);
    let object = |spec: &Value| json!({"apiVersion": "v1", "kind": "A", "metadata": {"name": "a"}, "spec": spec});
    Rules::compile(&schema).validate(&schema, &object(new), old.map(object).as_ref())
}

#[track_caller]
fn check(spec: &Value, new: &Value, old: Option<&Value>, expected: &[&str]) {
    let errors: Vec<String> = verdict(spec, new, old).errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors, expected);
}

#[track_caller]
fn check_definition(spec: &Value, expected: &[&str]) {
    let errors = rules::check(&structural(spec), &Path::new("schema"));
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors, expected);
}

fn with_rules(rules: Value) -> Value {
    json!({"type": "object", "x-kubernetes-validations": rules, "properties": {
        "min": {"type": "integer"}, "max": {"type": "integer"},
        "name": {"type": "string", "maxLength": 20}, "labels": {"type": "object", "additionalProperties": {"type": "string"}}}})
}

#[test]
fn rules_that_do_not_hold_say_so() {
    let spec = with_rules(json!([
        {"rule": "self.min <= self.max", "message": "  min must not be above max "},
        {"rule": "self.max < 100"},
    ]));
    check(&spec, &json!({"min": 1, "max": 2}), None, &[]);
    check(&spec, &json!({"min": 3, "max": 2}), None, &["spec: Invalid value: \"object\": min must not be above max"]);
    check(
        &spec,
        &json!({"min": 3, "max": 200}),
        None,
        &["spec: Invalid value: \"object\": failed rule: self.max < 100"],
    );
    check(
        &spec,
        &json!({"max": 1}),
        None,
        &["spec: Invalid value: \"object\": no such key: min evaluating rule: min must not be above max"],
    );
}

#[test]
fn scalars_show_their_value() {
    let name = json!({"type": "object", "properties": {
        "name": {"type": "string", "x-kubernetes-validations": [{"rule": "self.startsWith('a')"}]},
        "list": {"type": "array", "items": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0"}]}},
        "map": {"type": "object", "additionalProperties": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0"}]}},
        "port": {"x-kubernetes-int-or-string": true, "x-kubernetes-validations": [{"rule": "self + 1 > 1"}]}}});
    check(&name, &json!({"name": "b"}), None, &["spec.name: Invalid value: \"b\": failed rule: self.startsWith('a')"]);
    check(&name, &json!({"list": [1, -1]}), None, &["spec.list[1]: Invalid value: -1: failed rule: self > 0"]);
    check(&name, &json!({"map": {"a": -1, "b": 2}}), None, &["spec.map[a]: Invalid value: -1: failed rule: self > 0"]);
    check(
        &name,
        &json!({"port": "http"}),
        None,
        &[
            "spec.port: Invalid value: \"\": 'no such overload': call arguments did not match a supported operator, function or macro signature for rule: self + 1 > 1",
        ],
    );
}

#[test]
fn reasons_fields_and_messages_are_the_rules() {
    let check_rule = |rule: Value, expected: &str| {
        check(&with_rules(json!([rule])), &json!({"min": 3, "labels": {"a": "b"}}), None, &[expected]);
    };
    check_rule(
        json!({"rule": "self.min < 3", "reason": "FieldValueForbidden", "message": "no"}),
        "spec: Forbidden: no",
    );
    check_rule(
        json!({"rule": "self.min < 3", "reason": "FieldValueRequired", "message": "no"}),
        "spec: Required value: no",
    );
    check_rule(
        json!({"rule": "self.min < 3", "reason": "FieldValueDuplicate", "message": "no"}),
        "spec: Duplicate value: \"object\"",
    );
    check_rule(
        json!({"rule": "self.min < 3", "fieldPath": ".min", "message": "no"}),
        "spec.min: Invalid value: \"object\": no",
    );
    check_rule(
        json!({"rule": "self.min < 3", "fieldPath": ".labels['a']", "message": "no"}),
        "spec.labels[a]: Invalid value: \"object\": no",
    );
    check_rule(
        json!({"rule": "self.min < 3", "messageExpression": "'is %d'.format([self.min])", "message": "no"}),
        "spec: Invalid value: is 3",
    );
    // A message that cannot be made or shown is not.
    for expression in ["self.name", "''", "'a\\nb'", "' '"] {
        check_rule(
            json!({"rule": "self.min < 3", "messageExpression": expression, "message": "no"}),
            "spec: Invalid value: \"object\": no",
        );
    }
}

#[test]
fn the_root_knows_its_name() {
    let schema = json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.metadata.name.size() > 3"}]});
    let schema = Structural::parse(&schema).expect("a schema");
    let object = json!({"apiVersion": "v1", "kind": "A", "metadata": {"name": "a"}});
    let verdict = Rules::compile(&schema).validate(&schema, &object, None);
    assert_eq!(
        verdict.errors[0].to_string(),
        "<nil>: Invalid value: \"object\": failed rule: self.metadata.name.size() > 3"
    );
}

fn transitions() -> Value {
    let item = json!({"type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "integer",
        "x-kubernetes-validations": [{"rule": "self >= oldSelf", "message": "n only grows"}]}}});
    json!({"type": "object", "properties": {
        "fixed": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "fixed"}]},
        "optional": {"type": "integer", "x-kubernetes-validations": [
            {"rule": "oldSelf.hasValue() ? self > oldSelf.value() : self == 1", "optionalOldSelf": true, "message": "step"}]},
        "map": {"type": "object", "additionalProperties": item},
        "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": item},
        "atomic": {"type": "array", "items": item},
    }})
}

#[test]
fn transition_rules_need_something_before() {
    let spec = transitions();
    check(&spec, &json!({"fixed": "a"}), None, &[]);
    check(&spec, &json!({"fixed": "a"}), Some(&json!({})), &[]);
    check(&spec, &json!({"fixed": "a"}), Some(&json!({"fixed": "a"})), &[]);
    check(&spec, &json!({"fixed": "b"}), Some(&json!({"fixed": "a"})), &["spec.fixed: Invalid value: \"b\": fixed"]);
    check(&spec, &json!({"optional": 1}), None, &[]);
    check(&spec, &json!({"optional": 2}), None, &["spec.optional: Invalid value: 2: step"]);
    check(&spec, &json!({"optional": 2}), Some(&json!({"optional": 1})), &[]);
    check(&spec, &json!({"optional": 1}), Some(&json!({"optional": 1})), &["spec.optional: Invalid value: 1: step"]);
}

#[test]
fn old_values_are_found_by_key() {
    let spec = transitions();
    let old =
        json!({"map": {"a": {"n": 5}}, "keyed": [{"name": "x", "n": 5}, {"name": "y", "n": 1}], "atomic": [{"n": 5}]});
    let new = json!({"map": {"a": {"n": 4}, "b": {"n": 0}}, "keyed": [{"name": "y", "n": 1}, {"name": "x", "n": 4}, {"name": "z", "n": 0}],
        "atomic": [{"n": 4}]});
    check(
        &spec,
        &new,
        Some(&old),
        &["spec.keyed[1].n: Invalid value: 4: n only grows", "spec.map[a].n: Invalid value: 4: n only grows"],
    );
}

#[test]
fn what_was_wrong_before_is_a_warning() {
    let spec = with_rules(json!([{"rule": "self.min < 3", "message": "no"}]));
    let old = json!({"min": 5, "max": 1});
    let unchanged = verdict(&spec, &old, Some(&old));
    assert!(unchanged.errors.is_empty());
    assert_eq!(unchanged.warnings, ["spec: Invalid value: \"object\": no"]);
    check(&spec, &json!({"min": 5, "max": 2}), Some(&old), &["spec: Invalid value: \"object\": no"]);
    let list = json!({"type": "object", "properties": {"other": {"type": "integer"}, "set": {"type": "array", "x-kubernetes-list-type": "set",
        "items": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0"}]}}}});
    let old = json!({"set": [-1]});
    check(&list, &json!({"set": [-1], "other": 1}), Some(&old), &[]);
    check(&list, &json!({"set": [-1, 2]}), Some(&old), &["spec.set[0]: Invalid value: -1: failed rule: self > 0"]);
}

#[test]
fn rules_of_all_of_are_rules() {
    let spec = json!({"type": "object", "properties": {"n": {"type": "integer"}},
        "allOf": [{"properties": {"n": {"x-kubernetes-validations": [{"rule": "self > 0"}]}}}]});
    check(&spec, &json!({"n": 0}), None, &["spec.n: Invalid value: 0: failed rule: self > 0"]);
}

#[test]
fn nulls_are_left_to_rules_around_them() {
    let spec = json!({"type": "object", "properties": {"n": {"type": "integer", "nullable": true,
        "x-kubernetes-validations": [{"rule": "self > 0"}]}}});
    check(&spec, &json!({"n": null}), None, &[]);
}

#[test]
fn budgets_end_validation() {
    // Half a million each, for a glance at a text.
    let dear = format!("!'{}'.contains('{}')", "x".repeat(10_000), "y".repeat(5_000));
    let items = json!({"type": "integer", "x-kubernetes-validations": [{"rule": dear}]});
    let spec = json!({"type": "object", "properties": {"list": {"type": "array", "items": items}}});
    let list: Vec<u32> = (0..30).collect();
    let found = verdict(&spec, &json!({"list": list}), None);
    assert_eq!(found.errors.len(), 1);
    assert!(found.errors[0].detail.starts_with("validation failed due to running out of cost budget"));
    let endless = "[1,2,3,4,5,6,7,8,9,10].all(a, ".repeat(7) + "true" + &")".repeat(7);
    check(
        &with_rules(json!([{"rule": endless, "message": "m"}, {"rule": "false"}])),
        &json!({}),
        None,
        &[
            "spec: Invalid value: \"object\": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: m",
        ],
    );
}

#[test]
fn definitions_with_mistakes_are_refused() {
    let rule = |rule: &str| with_rules(json!([{"rule": rule}]));
    check_definition(&rule("self.min < 1"), &[]);
    check_definition(
        &rule("self.nope > 1"),
        &[
            "schema.properties[spec].x-kubernetes-validations[0].rule: Invalid value: {\"FieldPath\":\"\",\"Message\":\"\",\
         \"MessageExpression\":\"\",\"OptionalOldSelf\":null,\"Reason\":null,\"Rule\":\"self.nope > 1\"}: \
         compilation failed: ERROR: <input>:1:5: undefined field 'nope'\n | self.nope > 1\n | ....^",
        ],
    );
    let found = rules::check(&structural(&rule("self.min")), &Path::new("schema"));
    assert_eq!(found[0].detail, "cel expression must evaluate to a bool");
    let message = with_rules(
        json!([{"rule": "true", "messageExpression": "self.min"}, {"rule": "true", "messageExpression": "x"}]),
    );
    let found = rules::check(&structural(&message), &Path::new("schema"));
    assert_eq!(found[0].field, "schema.properties[spec].x-kubernetes-validations[0].messageExpression");
    assert_eq!(found[0].detail, "messageExpression must evaluate to a string");
    assert!(
        found[1]
            .detail
            .starts_with("messageExpression compilation failed: ERROR: <input>:1:1: undeclared reference to 'x'")
    );
    check_definition(
        &with_rules(json!([{"rule": "true", "optionalOldSelf": true}])),
        &[
            "schema.properties[spec].x-kubernetes-validations[0].optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule",
        ],
    );
    let atomic = json!({"type": "array", "maxItems": 2, "items": {"type": "string", "maxLength": 5,
        "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}});
    check_definition(
        &atomic,
        &[
            "schema.properties[spec].items.x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": oldSelf cannot \
         be used on the uncorrelatable portion of the schema within schema.properties[spec]",
        ],
    );
}

#[test]
fn definitions_whose_rules_cost_too_much_are_refused() {
    let list = |bound: Value| {
        let mut list = json!({"type": "array", "items": {"type": "string"},
            "x-kubernetes-validations": [{"rule": "self.all(x, self.all(y, x == y))"}]});
        list["maxItems"] = bound;
        list
    };
    const HINT: &str = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)";
    check_definition(
        &list(json!(100)),
        &[
            &format!(
                "schema.properties[spec].x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x {HINT}"
            ),
            "schema.properties[spec].x-kubernetes-validations[0].rule: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
            &format!(
                "schema: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of 31.5x {HINT}"
            ),
        ],
    );
    check_definition(&list(json!(1)), &[]);
    // Once for each item that fits into a request.
    let each = json!({"type": "array", "items": {"type": "string", "maxLength": 100, "x-kubernetes-validations": [{"rule": "self.contains('abc')"}]}});
    check_definition(
        &each,
        &[&format!(
            "schema.properties[spec].items.x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of 4.3x {HINT}"
        )],
    );
}
