//! What admission policies cost a request: `cargo bench -p skiff-cel --bench policies`.
//!
//! A policy of three validations, one of them over the containers of a pod, is compiled, and asked about a pod of usual
//! size; the pod is read where it lies.

use std::hint::black_box;
use std::time::Instant;

use cel::admission::{BUDGET, Environment, Expression, Inputs, Purpose};
use serde_json::{Value as Json, json};
use skiff_cel as cel;

/// How often each thing is done.
const ROUNDS: u32 = 20_000;

const VALIDATIONS: [&str; 3] = [
    "object.spec.containers.all(c, has(c.resources) && has(c.resources.limits) && 'memory' in c.resources.limits)",
    "!has(object.spec.hostNetwork) || !object.spec.hostNetwork",
    "variables.team != '' && variables.team.matches('^[a-z]+$')",
];

fn pod() -> Json {
    let container = |number: u32| {
        let env: Vec<Json> =
            (0..10).map(|n| json!({"name": format!("KEY_{n}"), "value": format!("value {n}")})).collect();
        json!({"name": format!("c{number}"), "image": "registry.example.com/app:1.2.3", "env": env,
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}]})
    };
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web", "team": "payments"}},
        "spec": {"containers": [container(0), container(1), container(2)], "nodeName": "n1",
            "volumes": [{"name": "data", "emptyDir": {}}]}})
}

fn compile() -> (Environment, Vec<Expression>) {
    let mut environment = Environment::new(false);
    let wrong = environment
        .add_variable("team", "has(object.metadata.labels) ? object.metadata.labels[?'team'].orValue('') : ''");
    assert_eq!(wrong, None);
    let expressions = VALIDATIONS.map(|source| environment.compile(Purpose::Condition, source)).into();
    (environment, expressions)
}

fn main() {
    let (environment, expressions) = compile();
    let pod = pod();
    measure("policies.compile", ROUNDS / 20, || {
        black_box(compile());
    });
    measure("policies.evaluate_policy", ROUNDS, || {
        let inputs = Inputs { object: Some(&pod), ..Inputs::default() };
        let mut activation = environment.activate(&inputs, BUDGET);
        for expression in &expressions {
            assert!(matches!(activation.evaluate(expression), Ok(cel::Value::Bool(true))));
        }
    });
    measure("policies.evaluate_field", ROUNDS, || {
        let inputs = Inputs { object: Some(&pod), ..Inputs::default() };
        let result = environment.activate(&inputs, BUDGET).evaluate(&expressions[1]);
        assert!(matches!(result, Ok(cel::Value::Bool(true))));
    });
}

fn measure(name: &str, rounds: u32, act: impl Fn()) {
    let began = Instant::now();
    for _ in 0..rounds {
        act();
    }
    println!("bench: {name} {:.2} us", began.elapsed().as_secs_f64() * 1e6 / f64::from(rounds));
}
