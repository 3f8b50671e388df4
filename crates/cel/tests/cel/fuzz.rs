//! Any text and any expression: compiling and evaluating ends, within its budget, without panic.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use skiff_cel::{Bindings, Env, EvalError, Type, Value};

const LIMIT: u64 = 20_000;

static DOCUMENT: LazyLock<Json> = LazyLock::new(|| {
    json!({"a": 1, "b": "text é", "c": [1, 2.5, "x", null, {"d": [true]}], "e": {"f": "g", "1": 2}, "g": [3, 1, 2],
        "t": "2024-02-29T12:00:00Z", "ip": "10.0.0.1", "u": "https://a/b?c=d"})
});

fn leaf() -> impl Strategy<Value = String> {
    let fixed = prop::sample::select(vec![
        "self",
        "self.a",
        "self.b",
        "self.c",
        "self.e",
        "self.g",
        "self.t",
        "self.ip",
        "self.u",
        "x",
        "y",
        "1",
        "-1",
        "0",
        "2u",
        "1.5",
        "'a'",
        "''",
        "b'\\377'",
        "null",
        "true",
        "false",
        "[]",
        "{}",
        "int",
        "9223372036854775807",
        "duration('1h')",
        "timestamp(0)",
        "optional.none()",
        "'é😀'",
        "'[a-z]+'",
        "'%s %d %.2f'",
        "18446744073709551615u",
    ]);
    fixed.prop_map(str::to_owned)
}

fn expression() -> impl Strategy<Value = String> {
    leaf().prop_recursive(5, 60, 4, |inner| {
        let two = (inner.clone(), inner.clone());
        let operator =
            prop::sample::select(vec!["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "in"]);
        let member = prop::sample::select(vec![
            "size()",
            "trim()",
            "lowerAscii()",
            "reverse()",
            "sum()",
            "max()",
            "min()",
            "isSorted()",
            "first()",
            "last()",
            "join()",
            "getHours()",
            "getFullYear('Europe/Berlin')",
            "family()",
            "masked()",
            "sign()",
            "asInteger()",
            "major()",
            "hasValue()",
            "value()",
            "getQuery()",
            "getHost()",
            "unwrapOpt()",
            "a",
            "f",
            "?f",
            "?a.b",
        ]);
        let with_one = prop::sample::select(vec![
            "contains",
            "startsWith",
            "endsWith",
            "matches",
            "find",
            "findAll",
            "indexOf",
            "lastIndexOf",
            "split",
            "join",
            "charAt",
            "substring",
            "format",
            "orValue",
            "or",
            "containsIP",
            "add",
            "compareTo",
            "validate",
            "getDate",
        ]);
        let function = prop::sample::select(vec![
            "size",
            "int",
            "uint",
            "double",
            "string",
            "bytes",
            "bool",
            "type",
            "dyn",
            "timestamp",
            "duration",
            "ip",
            "cidr",
            "url",
            "quantity",
            "semver",
            "isIP",
            "isURL",
            "isQuantity",
            "strings.quote",
            "optional.of",
            "optional.ofNonZeroValue",
            "format.named",
            "!",
            "-",
        ]);
        let pair =
            prop::sample::select(vec!["sets.contains", "sets.equivalent", "sets.intersects", "matches", "semver"]);
        let fold = prop::sample::select(vec!["all", "exists", "exists_one", "map", "filter", "optMap", "optFlatMap"]);
        let fold2 = prop::sample::select(vec![
            "all",
            "exists",
            "existsOne",
            "transformList",
            "transformMap",
            "transformMapEntry",
        ]);
        prop_oneof![
            (two.clone(), operator).prop_map(|((a, b), operator)| format!("(dyn({a}) {operator} dyn({b}))")),
            (inner.clone(), member).prop_map(|(a, member)| format!("dyn({a}).{member}")),
            (two.clone(), with_one).prop_map(|((a, b), function)| format!("dyn({a}).{function}(dyn({b}))")),
            (inner.clone(), function).prop_map(|(a, function)| format!("{function}(dyn({a}))")),
            (two.clone(), pair).prop_map(|((a, b), function)| format!("{function}(dyn({a}), dyn({b}))")),
            (two.clone(), fold).prop_map(|((a, b), function)| format!("dyn({a}).{function}(x, dyn({b}))")),
            (two.clone(), fold2).prop_map(|((a, b), function)| format!("dyn({a}).{function}(x, y, dyn({b}))")),
            two.clone().prop_map(|(a, b)| format!("dyn({a}).transformMapEntry(x, y, {{dyn(y): dyn({b})}})")),
            two.clone().prop_map(|(a, b)| format!("cel.bind(x, {a}, dyn({b}))")),
            two.clone().prop_map(|(a, b)| format!("dyn({a})[dyn({b})]")),
            two.clone().prop_map(|(a, b)| format!("dyn({a})[?dyn({b})]")),
            two.clone().prop_map(|(a, b)| format!("[dyn({a}), dyn({b})]")),
            two.clone().prop_map(|(a, b)| format!("{{dyn({a}): dyn({b})}}")),
            two.clone().prop_map(|(a, b)| format!("Object{{a: {a}, ?f: dyn({b})}}")),
            inner.clone().prop_map(|a| format!("JSONPatch{{op: 'add', value: {a}}}")),
            (two, inner).prop_map(|((a, b), c)| format!("(dyn({c}) ? dyn({a}) : dyn({b}))")),
        ]
    })
}

fn env() -> Env {
    Env::new().variable("self", Type::Dyn).variable("x", Type::Dyn).variable("y", Type::Dyn).messages()
}

/// Ends a law with success when it has had the time that `FUZZ_SECONDS` gives to each, however many cases are left.
macro_rules! in_time {
    () => {{
        static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
        let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
        if seconds.is_some_and(|seconds| BEGAN.elapsed() >= Duration::from_secs(seconds)) {
            return Ok(());
        }
    }};
}

proptest! {
    // `PROPTEST_CASES` asks for more.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 2, ..ProptestConfig::default() })]

    #[test]
    fn every_expression_ends(source in expression()) {
        in_time!();
        let program = match env().compile(&source) {
            Ok(program) => program,
            Err(error) => {
                prop_assert!(error.to_string().contains("ERROR: <input>"), "{source}: {error}");
                return Ok(());
            }
        };
        let bindings = Bindings::new()
            .bind("self", Value::dynamic(&DOCUMENT))
            .bind("x", Value::Int(1))
            .bind("y", Value::dynamic(&DOCUMENT["e"]));
        let evaluation = program.evaluate(&bindings, LIMIT);
        if evaluation.cost > LIMIT {
            prop_assert_eq!(evaluation.result.unwrap_err(), EvalError::CostLimitExceeded);
        } else {
            // What was not stopped costs the same every time.
            prop_assert_eq!(program.evaluate(&bindings, LIMIT).cost, evaluation.cost);
            let _ = evaluation.result.map(|value| value.to_json());
        }
    }

    #[test]
    fn every_text_is_an_expression_or_refused(source in "\\PC*") {
        in_time!();
        let _ = env().compile(&source);
    }

    #[test]
    fn every_mix_of_tokens_is_an_expression_or_refused(
        tokens in prop::collection::vec(
            prop::sample::select(vec![
                "a", "self", "1", "'s'", "(", ")", "[", "]", "{", "}", ".", ",", "?", ":", "&&", "||", "!", "-", "+", "*", "==",
                "in", "has", "all", "x", "1u", "0x", "1.", "b'", "\"", "'''", "\\", "//", "\n", "cel.bind", "@", "`", "Object{", "Object.a{",
            ]),
            0..25,
        )
    ) {
        in_time!();
        let _ = env().compile(&tokens.concat());
        let _ = env().compile(&tokens.join(" "));
    }
}
