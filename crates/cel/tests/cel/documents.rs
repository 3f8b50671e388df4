//! Documents with schemas: types, names, formats, presence, kinds of lists.

use serde_json::{Value, json};

use super::common::about;

fn schema() -> Value {
    json!({"type": "object", "properties": {
        "int": {"type": "integer"}, "number": {"type": "number"}, "flag": {"type": "boolean"}, "text": {"type": "string"},
        "port": {"x-kubernetes-int-or-string": true},
        "other": {"x-kubernetes-int-or-string": true},
        "day": {"type": "string", "format": "date"},
        "at": {"type": "string", "format": "date-time"},
        "for": {"type": "string", "format": "duration"},
        "data": {"type": "string", "format": "byte"},
        "a.b-c/d__e": {"type": "string"},
        "namespace": {"type": "string"},
        "maybe": {"type": "string", "nullable": true},
        "unset": {"type": "object", "properties": {"x": {"type": "string"}}},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}},
        "list": {"type": "array", "items": {"type": "integer"}},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "otherSet": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "integer"}}}},
        "otherKeyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "integer"}}}},
        "kept": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"known": {"type": "string"}}},
        "any": {"x-kubernetes-preserve-unknown-fields": true},
    }})
}

fn document() -> Value {
    json!({
        "int": 3, "number": 2, "flag": true, "text": "abc", "port": 80, "other": "http", "day": "2024-02-29",
        "at": "2024-02-29T12:00:00Z", "for": "90s", "data": "aGk=", "a.b-c/d__e": "odd", "namespace": "ns", "maybe": null,
        "map": {"x": 1, "y-z": 2}, "list": [3, 1, 2], "set": ["a", "b"], "otherSet": ["b", "a"],
        "keyed": [{"name": "a", "n": 1}, {"name": "b", "n": 2}],
        "otherKeyed": [{"name": "b", "n": 2}, {"name": "a", "n": 1}],
        "kept": {"known": "k", "unknown": 1}, "any": {"a": 1},
    })
}

#[track_caller]
fn check(source: &str) {
    about(&schema(), &document(), source, Ok(true));
}

#[test]
fn scalars_have_the_types_of_the_schema() {
    check("self.int == 3 && type(self.number) == double && self.number == 2.0 && self.flag && self.text == 'abc'");
    check("self.day.getDate() == 29 && self.at == timestamp('2024-02-29T12:00:00Z')");
    check("self.for == duration('1m30s') && self.__for__.getSeconds() == 90");
    check("self.data == b'hi'");
    check("type(self.port) == int ? self.port < 100 : self.port == 'x'");
    check("type(self.other) == string && self.other == 'http' && self.port != self.other");
}

#[test]
fn names_are_escaped() {
    check("self.a__dot__b__dash__c__slash__d__underscores__e == 'odd'");
    check("self.__namespace__ == 'ns' && self.namespace == 'ns' && has(self.namespace)");
}

#[test]
fn presence() {
    check("has(self.int) && !has(self.unset) && !has(self.unset.x) || true");
    check("has(self.maybe) && type(self.maybe) == null_type");
    check("!has(self.unset) && self.?unset.?x.orValue('none') == 'none'");
    about(&schema(), &document(), "self.unset.x == 'a'", Err("no such key: unset"));
    check("'x' in self.map && !('z' in self.map) && has(self.map.x) && self.map['y-z'] == 2 && self.map.x == 1");
    check("self.map.all(k, self.map[k] > 0) && self.map.size() == 2 && self.map.exists(k, v, v == 2)");
}

#[test]
fn lists_of_sets_and_maps() {
    check("self.list == [3, 1, 2] && self.list != [1, 2, 3] && self.list[0] == 3 && self.list.max() == 3");
    check("self.list + [4] == [3, 1, 2, 4]");
    check("self.set == self.otherSet && self.set != ['a'] && (self.set + ['b', 'c']) == ['a', 'b', 'c']");
    check("(self.set + ['b', 'c']) == ['c', 'b', 'a']");
    check("dyn(self.keyed) == self.otherKeyed && dyn(self.keyed[0]) != self.otherKeyed[0]");
    check("(dyn(self.keyed) + dyn(self.otherKeyed)).size() == 2 && self.keyed.exists(x, x.name == 'b' && x.n == 2)");
    check("dyn(self.keyed[0]) == self.otherKeyed[1]");
}

#[test]
fn unknown_fields_are_out_of_sight_but_compare() {
    check("self.kept.known == 'k' && self.kept == self.kept");
    let two = json!({"type": "array", "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "properties": {"known": {"type": "string"}}}});
    let documents = json!([{"known": "k", "x": 1}, {"known": "k", "x": 2}]);
    about(&two, &documents, "self[0] != self[1]", Ok(true));
}

#[test]
fn values_that_break_the_schema_are_errors_where_they_are_used() {
    let broken = json!({"int": "three", "at": "soon", "text": null});
    about(&schema(), &broken, "self.int == 3", Err("invalid data, expected int, got string"));
    about(&schema(), &broken, "self.at == timestamp(0)", Err("Invalid date-time formatted string soon"));
    about(&schema(), &broken, "!has(self.text) && !has(self.flag)", Ok(true));
}
