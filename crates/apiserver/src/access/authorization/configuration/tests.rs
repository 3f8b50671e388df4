//! What is said of wrong files and flags.

use super::*;

const GOOD: &str = "\
apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- type: Webhook
  name: first
  webhook:
    timeout: 3s
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    failurePolicy: Deny
    unauthorizedTTL: 1m
    cacheAuthorizedRequests: false
    connectionInfo:
      type: KubeConfigFile
      kubeConfigFile: FILE
    matchConditions:
    - expression: has(request.resourceAttributes)
- type: Node
  name: node
- type: RBAC
  name: rbac
";

/// A good file whose part is replaced.
fn with(part: &str, other: &str) -> String {
    assert!(GOOD.contains(part), "{part}");
    let file = std::env::current_exe().expect("a file");
    GOOD.replace(part, other).replace("FILE", &file.to_string_lossy())
}

#[track_caller]
fn check(part: &str, other: &str, expected: &str) {
    let why = parse(&with(part, other), &[]).map(drop).expect_err("a wrong file").to_string();
    assert_eq!(why.strip_prefix("invalid authorization configuration: ").unwrap_or(&why), expected);
}

#[test]
fn a_good_file_is_a_chain() {
    let chain = parse(&with("FILE", "FILE"), &[AuthorizationMode::Node]).expect("a good file");
    let modes: Vec<_> = chain.iter().map(|each| each.mode.as_str()).collect();
    assert_eq!(modes, ["Webhook", "Node", "RBAC"]);
    let (webhook, conditions) = chain[0].webhook.as_ref().expect("a webhook");
    assert_eq!((webhook.authorized_ttl, webhook.unauthorized_ttl), (None, Some(Duration::from_secs(60))));
    assert_eq!((webhook.timeout, webhook.failure_policy), (Duration::from_secs(3), FailurePolicy::Deny));
    assert_eq!(conditions.len(), 1);
}

#[test]
fn wrong_parts_are_named_in_upstreams_words() {
    let why = "it is a \"AuthorizationConfiguration\" of \"apiserver.config.k8s.io/v2\", not an \
               AuthorizationConfiguration of apiserver.config.k8s.io/v1";
    check("k8s.io/v1", "k8s.io/v2", why);
    let modes = "supported values: \"ABAC\", \"AlwaysAllow\", \"AlwaysDeny\", \"Node\", \"RBAC\", \"Webhook\"";
    check("type: Node", "type: node", &format!("authorizers[1].type: Unsupported value: \"node\": {modes}"));
    check(
        "name: rbac",
        "name: roles",
        "authorizers[2].name: Invalid value: \"roles\": expected name rbac for authorizer RBAC",
    );
    check("type: Node\n  name: node", "type: RBAC\n  name: rbac", "authorizers[2].type: Duplicate value: \"RBAC\"");
    let why = "authorizers[2].name: Duplicate value: \"first\"";
    check(
        "- type: RBAC\n  name: rbac",
        "- type: Webhook\n  name: first",
        &format!("[{why}, authorizers[2].webhook: Required value: required when type=Webhook]"),
    );
    check("  name: node\n", "", "authorizers[1].name: Required value");
    check("    timeout: 3s\n", "", "authorizers[0].timeout: Required value");
    check("3s", "31s", "authorizers[0].timeout: Invalid value: \"31s\": must be > 0s and <= 30s");
    check("1m", "-1s", "authorizers[0].unauthorizedTTL: Invalid value: \"-1s\": must be > 0s");
    check("    failurePolicy: Deny\n", "", "authorizers[0].failurePolicy: Required value");
    let why = "authorizers[0].failurePolicy: Unsupported value: \"Fail\": supported values: \"NoOpinion\", \"Deny\"";
    check("Deny", "Fail", why);
    let place = "authorizers[0].connectionInfo.kubeConfigFile";
    check("FILE", "config", &format!("{place}: Invalid value: \"config\": must be an absolute path"));
    check("FILE", "/", &format!("{place}: Invalid value: \"/\": must be a regular file"));
    let why = "authorizers[0].matchConditionSubjectAccessReviewVersion: Required value: required if match conditions \
               are specified";
    check("    matchConditionSubjectAccessReviewVersion: v1\n", "", why);
    let why = "authorizers[1].webhook: Invalid value: \"non-null\": may only be specified when type=Webhook";
    check("  name: node\n", "  name: node\n  webhook: {}\n", why);
    let why = parse(&with("FILE", "FILE"), &[AuthorizationMode::Abac]).map(drop).expect_err("a mode is missing");
    assert!(why.to_string().ends_with("authorizers: Required value: missing required types: [\"ABAC\"]"), "{why}");
}

#[track_caller]
fn check_flags(options: &AuthorizationOptions, expected: Result<usize, &str>) {
    let chain = of_flags(options).map(|chain| chain.len()).map_err(|err| err.to_string());
    assert_eq!(chain, expected.map_err(str::to_owned));
}

#[test]
fn flags_go_together() {
    use AuthorizationMode::{Abac, Node, Rbac, Webhook};
    let of = |modes: &[AuthorizationMode]| AuthorizationOptions { modes: modes.to_vec(), ..Default::default() };
    check_flags(&AuthorizationOptions::default(), Ok(2));
    check_flags(&of(&[]), Err("at least one authorization-mode must be passed"));
    check_flags(&of(&[Rbac, Node, Rbac]), Err("authorization-mode \"RBAC\" has mode specified more than once"));
    check_flags(&of(&[Abac]), Err("authorization-mode ABAC needs --authorization-policy-file"));
    check_flags(&of(&[Webhook]), Err("authorization-mode Webhook needs --authorization-webhook-config-file"));
    let unused = AuthorizationOptions { policy_file: Some("p".into()), ..of(&[Rbac]) };
    check_flags(&unused, Err("cannot specify --authorization-policy-file without mode ABAC"));
}
