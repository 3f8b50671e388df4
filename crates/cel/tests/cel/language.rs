//! The language itself: operators, types, macros, errors.

use super::common::{dynamic, fails, holds, refused};
use serde_json::json;

#[test]
fn operators_of_numbers() {
    for source in [
        "1 + 2 * 3 == 7",
        "(1 + 2) * 3 == 9",
        "7 / 2 == 3 && -7 / 2 == -3",
        "7 % 3 == 1 && -7 % 3 == -1",
        "1.5 + 1.5 == 3.0",
        "2.0 * 2.5 / 5.0 == 1.0",
        "3u - 1u == 2u",
        "-(-1) == 1",
        "--1 == 1",
        "- 1 == -1",
        "0x10 == 16 && 0x10u == 16u",
        "-9223372036854775808 < 0",
        "1 < 2 && 2 <= 2 && 3 > 2 && 3 >= 3",
        "1 < 1.5 && 1.5 > 1 && 1u < 2 && 2 > 1u && 1u < 1.5",
        "dyn(1) == 1.0 && dyn(1) == 1u && dyn(1u) == 1.0",
        "dyn(1) != 'a'",
        "9223372036854775807 != dyn(9223372036854775808.0)",
        "1 in [1, 2] && !(3 in [1, 2])",
        "dyn(1.0) in [1, 2]",
        "1.0 / 0.0 > 1e308",
    ] {
        holds(source);
    }
}

#[test]
fn arithmetic_does_not_wrap_around() {
    fails("9223372036854775807 + 1 > 0", "integer overflow");
    fails("-9223372036854775808 - 1 < 0", "integer overflow");
    fails("9223372036854775807 * 2 > 0", "integer overflow");
    fails("-(-9223372036854775808) > 0", "integer overflow");
    fails("0u - 1u == 0u", "unsigned integer overflow");
    fails("1 / 0 == 1", "division by zero");
    fails("1 % 0 == 1", "modulus by zero");
    fails("timestamp('9999-12-31T23:59:59Z') + duration('1s') > timestamp(0)", "timestamp overflow");
    fails("duration('2000000h') + duration('2000000h') > duration('0')", "duration overflow");
}

#[test]
fn logic_makes_up_for_errors_of_one_side() {
    for source in [
        "true || 1 / 0 == 1",
        "1 / 0 == 1 || true",
        "!(false && 1 / 0 == 1)",
        "!(1 / 0 == 1 && false)",
        "true ? true : 1 / 0 == 1",
        "false ? 1 / 0 == 1 : true",
        "[0, 1].exists(x, 1 / x == 1)",
        "!([0, 2].all(x, 1 / x == 1))",
        "[1, 2, 3].all(x, x > 0) && !([1, 2].all(x, x > 1))",
    ] {
        holds(source);
    }
    fails("1 / 0 == 1 || false", "division by zero");
    fails("true && 1 / 0 == 1", "division by zero");
    fails("[0, 1].all(x, 1 / x == 1)", "division by zero");
    fails("[0, 2].exists(x, 1 / x == 1)", "division by zero");
    fails("dyn('a') || false", "no such overload");
    fails("dyn(1) ? true : false", "no such overload");
}

#[test]
fn containers() {
    for source in [
        "[1, 2] + [3] == [1, 2, 3]",
        "[1, 2][1] == 2",
        "size([1, 2]) == 2 && [1].size() == 1",
        "{'a': 1}.a == 1 && {'a': 1}['a'] == 1",
        "{1: 'a'}[1] == 'a' && {1: 'a'}[dyn(1u)] == 'a' && {1: 'a'}[dyn(1.0)] == 'a'",
        "'a' in {'a': 1} && !('b' in {'a': 1})",
        "{'a': dyn(1), 'b': [2]} == {'b': dyn([2]), 'a': 1}",
        "{'a': 1} != {'a': 2} && {'a': 1} != {'b': 1}",
        "has({'a': 1}.a) && !has({'a': 1}.b)",
        "[1, 2][dyn(1u)] == 2 && [1, 2][dyn(1.0)] == 2",
        "[[1], [2]] == [[1], [2]] && [1, 2] != [2, 1]",
        "size({}) == 0 && {}.size() == 0",
        "[1, dyn('a'), 2.0] == [1, dyn('a'), 2.0]",
    ] {
        holds(source);
    }
    fails("[1][1] == 1", "index out of bounds: 1");
    fails("[1][-1] == 1", "index out of bounds: -1");
    fails("{'a': 1}['b'] == 1", "no such key: b");
    fails("{'a': 1}.b == 1", "no such key: b");
    fails("{'a': 1, 'a': 2}.a == 1", "Failed with repeated key: a");
    fails("[1][dyn('a')] == 1", "unsupported index type 'string' in list");
}

#[test]
fn macros() {
    for source in [
        "[1, 2, 3].map(x, x * 2) == [2, 4, 6]",
        "[1, 2, 3].map(x, x > 1, x * 2) == [4, 6]",
        "[1, 2, 3].filter(x, x > 1) == [2, 3]",
        "[1, 2, 2].exists_one(x, x == 1) && ![1, 2, 2].exists_one(x, x == 2)",
        "[1, 2].existsOne(x, x == 1)",
        "{'a': 1, 'b': 2}.all(k, k < 'c')",
        "{'a': 1, 'b': 2}.map(k, k) == ['a', 'b']",
        "[[1, 2], [3]].map(x, x.map(x, x + 1)) == [[2, 3], [4]]",
        "[1, 2].all(x, [3, 4].exists(y, y == x + 2))",
        "[].all(x, false) && ![].exists(x, true)",
        "[10, 20].all(i, v, v == (i + 1) * 10)",
        "{'a': 1}.all(k, v, k == 'a' && v == 1)",
        "{'a': 1}.exists(k, v, v == 1) && [5].exists(i, v, i == 0 && v == 5)",
        "[1, 1].existsOne(i, v, i == 1) && [1, 1].exists_one(i, v, i == 1)",
        "[1, 2].transformList(i, v, i * v) == [0, 2]",
        "[1, 2].transformList(i, v, i > 0, v) == [2]",
        "{'a': 1}.transformList(k, v, k + string(v)) == ['a1']",
        "{'a': 1, 'b': 2}.transformMap(k, v, v + 1) == {'a': 2, 'b': 3}",
        "{'a': 1, 'b': 2}.transformMap(k, v, v > 1, v) == {'b': 2}",
        "['x'].transformMap(i, v, v) == {0: 'x'}",
        "{'a': 'x'}.transformMapEntry(k, v, {v: k}) == {'x': 'a'}",
        "{'a': 'x', 'b': 'y'}.transformMapEntry(k, v, k == 'a', {v: k}) == {'x': 'a'}",
        "cel.bind(x, 2, x * x) == 4",
        "cel.bind(x, [1, 2], cel.bind(y, x + [3], y.size())) == 3",
        "[1, 2].map(x, cel.bind(y, x + 1, y * y)) == [4, 9]",
    ] {
        holds(source);
    }
    fails("{'a': 1, 'b': 1}.transformMapEntry(k, v, {v: k}).size() == 1", "insert failed: key already exists 1");
    refused("[1].all(1, true)", 9, "argument must be a simple name");
    refused("has(1)", 5, "invalid argument to has() macro");
    refused("[1].all(x, x, true)", 12, "duplicate variable name: x");
}

#[test]
fn conversions() {
    for source in [
        "int('-12') == -12 && int(2.9) == 2 && int(-2.9) == -2 && int(3u) == 3",
        "int(timestamp('1970-01-01T00:01:00Z')) == 60",
        "uint('3') == 3u && uint(3.7) == 3u && uint(3) == 3u",
        "double('1.5') == 1.5 && double(3) == 3.0 && double(3u) == 3.0",
        "string(1) == '1' && string(1u) == '1' && string(1.0) == '1' && string(0.1) == '0.1'",
        "string(true) == 'true' && string(b'ab') == 'ab'",
        "string(1000000.0) == '1e+06' && string(0.00001) == '1e-05'",
        "string(duration('90m')) == '5400s' && string(duration('1500ms')) == '1.5s'",
        "string(timestamp('2024-01-01T01:00:00+01:00')) == '2024-01-01T00:00:00Z'",
        "bytes('ab') == b'ab' && bytes('é') == b'\\303\\251'",
        "bool('true') && bool('1') && !bool('false')",
        "timestamp(60) == timestamp('1970-01-01T00:01:00Z')",
        "duration('1h') == duration('60m')",
        "type(1) == int && type('a') == string && type(1.0) == double && type(1u) == uint",
        "type(true) == bool && type(null) == null_type && type(b'') == bytes",
        "type([1]) == list && type({}) == map && type(int) == type",
        "type(timestamp(0)) == google.protobuf.Timestamp && type(duration('0')) == google.protobuf.Duration",
        "type(1) != string",
    ] {
        holds(source);
    }
    fails("int('a') == 1", "type conversion error from 'string' to 'int'");
    fails("int(1e19) == 1", "integer overflow");
    fails("int(18446744073709551615u) == 1", "integer overflow");
    fails("uint(-1) == 1u", "unsigned integer overflow");
    fails("double('a') == 1.0", "type conversion error from 'string' to 'double'");
    fails("bool('yes')", "type conversion error from 'string' to 'bool'");
    fails("string(b'\\377') == ''", "invalid UTF-8 in bytes, cannot convert to string");
    fails(
        "timestamp(dyn('now')) == timestamp(0)",
        "type conversion error from 'string' to 'google.protobuf.Timestamp'",
    );
}

#[test]
fn strings_and_bytes_compare() {
    for source in [
        "'a' < 'b' && 'a' <= 'a' && 'b' > 'a' && 'Z' < 'a'",
        "b'a' < b'b' && b'a' + b'b' == b'ab'",
        "'a' + 'b' == 'ab' && size('é😀') == 2 && 'é'.size() == 1 && size(b'ab') == 2",
        "'abc'.contains('b') && 'abc'.startsWith('ab') && 'abc'.endsWith('bc')",
        "'a.b'.matches('^a\\\\.b$') && matches('abc', 'b') && !'abc'.matches('^b')",
        "false < true",
        "\"it's\" == 'it\\'s' && '''a'b''' == \"a'b\"",
    ] {
        holds(source);
    }
}

#[test]
fn time() {
    for source in [
        "timestamp('2024-02-29T13:14:15.678Z').getFullYear() == 2024",
        "timestamp('2024-02-29T13:14:15.678Z').getMonth() == 1",
        "timestamp('2024-02-29T13:14:15.678Z').getDayOfMonth() == 28",
        "timestamp('2024-02-29T13:14:15.678Z').getDate() == 29",
        "timestamp('2024-02-29T13:14:15.678Z').getDayOfYear() == 59",
        "timestamp('2024-02-29T13:14:15.678Z').getDayOfWeek() == 4",
        "timestamp('2024-02-29T13:14:15.678Z').getHours() == 13",
        "timestamp('2024-02-29T13:14:15.678Z').getMinutes() == 14",
        "timestamp('2024-02-29T13:14:15.678Z').getSeconds() == 15",
        "timestamp('2024-02-29T13:14:15.678Z').getMilliseconds() == 678",
        "timestamp('2024-07-01T00:00:00Z').getHours('Europe/Berlin') == 2",
        "timestamp('2024-07-01T00:00:00Z').getHours('-08:00') == 16",
        "timestamp('2024-07-01T00:00:00Z').getDate('-08:00') == 30",
        "timestamp('2024-07-01T00:00:00Z').getHours('05:30') == 5",
        "duration('90m').getHours() == 1 && duration('90m').getMinutes() == 90",
        "duration('90s').getSeconds() == 90 && duration('1.5s').getMilliseconds() == 1500",
        "timestamp('2024-01-01T01:00:00Z') - timestamp('2024-01-01T00:00:00Z') == duration('1h')",
        "timestamp(0) + duration('1s') == timestamp(1) && duration('1s') + timestamp(0) == timestamp(1)",
        "timestamp(1) - duration('1s') == timestamp(0) && timestamp(0) < timestamp(1)",
        "duration('1s') + duration('1s') == duration('2s') && duration('1s') - duration('2s') < duration('0')",
    ] {
        holds(source);
    }
    fails("timestamp(0).getHours('Mars/Base') == 0", "unknown time zone Mars/Base");
    refused("duration('soon') > duration('1s')", 10, "invalid duration argument");
    refused("timestamp('soon') > timestamp(0)", 11, "invalid timestamp argument");
    refused("'a'.matches('(')", 13, "invalid matches argument");
}

#[test]
fn optionals() {
    for source in [
        "optional.of(1).hasValue() && !optional.none().hasValue()",
        "optional.of(1).value() == 1 && optional.none().orValue(2) == 2 && optional.of(1).orValue(2) == 1",
        "optional.none().or(optional.of(3)).value() == 3",
        "optional.ofNonZeroValue('').hasValue() == false && optional.ofNonZeroValue('a').hasValue()",
        "{'a': {'b': 1}}.?a.b.value() == 1 && !{'a': {'b': 1}}.?c.b.hasValue()",
        "{'a': 1}[?'a'].value() == 1 && !{'a': 1}[?'b'].hasValue()",
        "[1, 2][?1].value() == 2 && ![1, 2][?5].hasValue()",
        "[?optional.of(1), ?optional.none(), 3] == [1, 3]",
        "{?'a': optional.of(1), ?'b': optional.none()} == {'a': 1}",
        "optional.of(1) == optional.of(1) && optional.none() == optional.none() && optional.of(1) != optional.of(2)",
        "optional.of(2).optMap(x, x * 2).value() == 4 && !optional.none().optMap(x, x).hasValue()",
        "optional.of([1]).optFlatMap(x, x[?0]).value() == 1",
        "optional.of(1).optMap(x, x + 1).optMap(x, x * 10).value() == 20",
        "[1, 2].first().value() == 1 && [1, 2].last().value() == 2 && ![].first().hasValue()",
        "optional.unwrap([optional.of(1), optional.none()]) == [1]",
        "[optional.of(1), optional.none()].unwrapOpt() == [1]",
        "has({'a': {'b': 1}}.?a.b) && !has({}.?a.b)",
    ] {
        holds(source);
    }
    fails("optional.none().value() == 1", "optional.none() dereference");
}

#[test]
fn documents_without_a_schema() {
    let document = json!({"a": 1, "b": [1.5, "x", null, true], "c": {"d": "e"}, "big": 18_446_744_073_709_551_615_u64});
    for source in [
        "self.a == 1 && type(self.a) == int",
        "self.b[0] == 1.5 && self.b[1] == 'x' && self.b[2] == null && self.b[3]",
        "self.c.d == 'e' && has(self.c.d) && !has(self.c.e) && 'c' in self",
        "self.b.size() == 4 && self.c == {'d': 'e'}",
        "type(self.big) == double",
        "self.all(k, k != 'z') && self.c.all(k, v, k == 'd' && v == 'e')",
    ] {
        dynamic(&document, source, Ok(true));
    }
    dynamic(&document, "self.nope == 1", Err("no such key: nope"));
    dynamic(&document, "self.a.b == 1", Err("no such overload"));
    dynamic(&document, "self.a + 'x' == 'x'", Err("no such overload"));
}
