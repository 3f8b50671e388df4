//! Users that another party vouches for: OIDC issuers, and a server that knows tokens.

use std::path::{Path, PathBuf};

use crate::credentials::{get, who};
use crate::double::Double;
use crate::support::Cluster;
use pki::jwt::SigningKey;
use serde_json::{Value, json};

/// A key of an issuer, quicker to make than RSA's.
fn key(dir: &Path, name: &str) -> SigningKey {
    let path = dir.join(name);
    let authority = pki::Authority::load_or_create(dir, name, &base::Env::system()).expect("an authority");
    drop(authority);
    std::fs::rename(dir.join(format!("{name}.key")), &path).expect("its key");
    SigningKey::load(&path).expect("a key")
}

/// Lets a double be an issuer with these keys.
fn serve_keys(double: &Double, keys: &[&SigningKey]) {
    let (url, keys) = (double.url.clone(), keys.iter().map(|key| key.public().to_jwk()).collect::<Vec<_>>());
    double.answers(move |path, _| match path {
        "/.well-known/openid-configuration" => Some(json!({"issuer": url, "jwks_uri": format!("{url}/keys")})),
        "/keys" => Some(json!({"keys": keys})),
        _ => None,
    });
}

fn claims(double: &Double, more: Value) -> Value {
    let mut claims = json!({
        "iss": double.url, "aud": "skiff", "sub": "jane", "exp": 4_000_000_000_i64, "team": ["dev", "ops"],
        "email": "jane@example.com", "email_verified": true,
    });
    for (claim, value) in more.as_object().expect("claims") {
        claims[claim] = value.clone();
    }
    claims
}

fn configuration(double: &Double, mappings: &Value, rest: &Value) -> String {
    let issuer = json!({"url": double.url, "audiences": ["skiff"], "certificateAuthority": double.ca_pem});
    let mut jwt = json!({"issuer": issuer, "claimMappings": mappings});
    for (field, value) in rest.as_object().expect("fields") {
        jwt[field] = value.clone();
    }
    json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [jwt]}).to_string()
}

/// Who the bearer of a token is; nothing if it is refused.
async fn user(cluster: &Cluster, token: &str) -> Option<Value> {
    let headers = format!("authorization: Bearer {token}\r\n");
    let answer = cluster.raw(cluster.connect_anonymous().await, &who(&headers)).await;
    match answer.status() {
        401 => None,
        _ => Some(answer.expect(201)["status"]["userInfo"].clone()),
    }
}

async fn cluster(path: PathBuf) -> Cluster {
    Cluster::start_with(move |config| config.authentication_config = Some(path)).await
}

#[tokio::test]
async fn claims_become_users_by_expressions() {
    let double = Double::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let signing = key(dir.path(), "signing");
    serve_keys(&double, &[&signing]);
    let mappings = json!({
        "username": {"expression": "claims.email_verified ? 'oidc:' + claims.email : ''"},
        "groups": {"expression": "claims.team.map(t, 'team:' + t)"},
        "uid": {"claim": "sub"},
        "extra": [{"key": "example.com/first", "valueExpression": "claims.team[0]"}],
    });
    let rest = json!({
        "claimValidationRules": [
            {"claim": "hd", "requiredValue": "example.com"},
            {"expression": "claims.exp - claims.iat <= 86400", "message": "a day at most"},
        ],
        "userValidationRules": [{"expression": "!user.username.startsWith('system:')", "message": "reserved"}],
    });
    let cluster = cluster(double.file("config", &configuration(&double, &mappings, &rest))).await;
    let good = json!({"hd": "example.com", "iat": 4_000_000_000_i64 - 3600});
    let token = |more: &[(&str, Value)]| {
        let mut claims = claims(&double, good.clone());
        for (claim, value) in more {
            claims[*claim] = value.clone();
        }
        signing.sign(&claims)
    };
    let jane = user(&cluster, &token(&[])).await.expect("a good token");
    assert_eq!(jane["username"], "oidc:jane@example.com");
    assert_eq!(jane["groups"], json!(["team:dev", "team:ops", "system:authenticated"]));
    assert_eq!((&jane["uid"], &jane["extra"]), (&json!("jane"), &json!({"example.com/first": ["dev"]})));
    for (what, changed) in [
        ("another audience", ("aud", json!("other"))),
        ("expired", ("exp", json!(1_000_000_000))),
        ("not yet", ("nbf", json!(4_000_000_000_i64))),
        ("an address that nobody confirmed", ("email_verified", json!(false))),
        ("another required claim", ("hd", json!("example.org"))),
        ("too long", ("iat", json!(0))),
        ("another issuer", ("iss", json!("https://issuer.example.com"))),
        ("teams that are none", ("team", json!([1]))),
    ] {
        assert_eq!(user(&cluster, &token(&[changed])).await, None, "{what}");
    }
    // One of several audiences is enough, and another key none.
    assert!(user(&cluster, &token(&[("aud", json!(["other", "skiff"]))])).await.is_some());
    let forged = key(dir.path(), "forged").sign(&claims(&double, good.clone()));
    assert_eq!(user(&cluster, &forged).await, None);
}

#[tokio::test]
async fn keys_are_fetched_once_and_again_when_they_change() {
    let double = Double::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let (old, new) = (key(dir.path(), "old"), key(dir.path(), "new"));
    serve_keys(&double, &[&old]);
    let mappings = json!({"username": {"claim": "sub", "prefix": "oidc:"}});
    let cluster = cluster(double.file("config", &configuration(&double, &mappings, &json!({})))).await;
    let claims = claims(&double, json!({}));
    for _ in 0..3 {
        assert_eq!(user(&cluster, &old.sign(&claims)).await.expect("a good token")["username"], "oidc:jane");
    }
    assert_eq!(double.asked().len(), 2, "the discovery document and the keys");
    serve_keys(&double, &[&new]);
    // New keys are looked for at most once a second.
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    while user(&cluster, &new.sign(&claims)).await.is_none() {
        assert!(tokio::time::Instant::now() < deadline, "the new key is never believed");
    }
    // An issuer that is away takes nothing back.
    double.answers(|_, _| None);
    assert!(user(&cluster, &new.sign(&claims)).await.is_some());
}

#[tokio::test]
async fn a_changed_configuration_is_taken_up() {
    let double = Double::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let signing = key(dir.path(), "signing");
    serve_keys(&double, &[&signing]);
    let text =
        |prefix: &str| configuration(&double, &json!({"username": {"claim": "sub", "prefix": prefix}}), &json!({}));
    let path = double.file("config", &text("one:"));
    let cluster = cluster(path.clone()).await;
    let token = signing.sign(&claims(&double, json!({})));
    assert_eq!(user(&cluster, &token).await.expect("a good token")["username"], "one:jane");
    std::fs::write(&path, "jwt: nonsense").expect("written");
    std::fs::write(path.with_extension("new"), text("two:")).expect("written");
    std::fs::rename(path.with_extension("new"), &path).expect("renamed");
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let jane = user(&cluster, &token).await.expect("a token that stays good");
        if jane["username"] == "two:jane" {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{jane}");
    }
    crate::metrics::until_reloaded(&cluster, "authentication").await;
}

#[tokio::test]
async fn groups_are_fetched_from_where_they_are_kept() {
    let (double, elsewhere) = (Double::start().await, Double::start().await);
    let dir = tempfile::tempdir().expect("a directory");
    let (signing, other) = (key(dir.path(), "signing"), key(dir.path(), "other"));
    let both = format!("{}{}", double.ca_pem, elsewhere.ca_pem);
    serve_keys(&double, &[&signing]);
    let mappings =
        json!({"username": {"claim": "sub", "prefix": ""}, "groups": {"claim": "groups", "prefix": "oidc:"}});
    let issuer = json!({"url": double.url, "audiences": ["skiff"], "certificateAuthority": both});
    let text = configuration(&double, &mappings, &json!({"issuer": issuer}));
    let cluster = cluster(double.file("config", &text)).await;
    // Another party keeps the groups, and signs what it says of them.
    let keep = |document: Value| {
        let (url, keys) = (elsewhere.url.clone(), [other.public().to_jwk()]);
        elsewhere.answers(move |path, _| match path {
            "/.well-known/openid-configuration" => Some(json!({"issuer": url, "jwks_uri": format!("{url}/keys")})),
            "/keys" => Some(json!({"keys": keys})),
            "/groups" => Some(document.clone()),
            _ => None,
        });
    };
    let kept = |more: Value| {
        let mut kept = json!({"iss": elsewhere.url, "aud": "skiff", "exp": 4_000_000_000_i64, "groups": ["a", "b"]});
        kept.as_object_mut().expect("claims").extend(more.as_object().expect("claims").clone());
        kept
    };
    let source = json!({"endpoint": format!("{}/groups", elsewhere.url), "access_token": "pass"});
    let spread = json!({"_claim_names": {"groups": "there"}, "_claim_sources": {"there": source}});
    let jane = signing.sign(&claims(&double, spread.clone()));
    keep(other.sign(&kept(json!({}))).into());
    let found = user(&cluster, &jane).await.expect("a good token");
    assert_eq!(found["groups"], json!(["oidc:a", "oidc:b", "system:authenticated"]));
    assert_eq!(elsewhere.shown(), ["Bearer pass"]);
    for (what, document) in [
        ("for somebody else", other.sign(&kept(json!({"aud": "other"}))).into()),
        ("expired", other.sign(&kept(json!({"exp": 1}))).into()),
        ("signed by nobody who may", signing.sign(&kept(json!({}))).into()),
        ("of an issuer that is none", other.sign(&kept(json!({"iss": "http://plain.example.com"}))).into()),
        ("about something else", other.sign(&json!({"iss": elsewhere.url, "aud": "skiff", "exp": 4e9})).into()),
        ("no token", json!({"groups": ["a"]})),
    ] {
        keep(document);
        assert_eq!(user(&cluster, &jane).await, None, "{what}");
    }
    // What the token has itself comes first, what is not named is missing, and names without sources are wrong.
    let mut own = spread;
    own["groups"] = json!(["own"]);
    let found = user(&cluster, &signing.sign(&claims(&double, own))).await.expect("a good token");
    assert_eq!(found["groups"], json!(["oidc:own", "system:authenticated"]));
    let unnamed = json!({"_claim_names": {"teams": "there"}, "_claim_sources": {}});
    let found = user(&cluster, &signing.sign(&claims(&double, unnamed))).await.expect("a good token");
    assert_eq!(found["groups"], json!(["system:authenticated"]));
    let nowhere = json!({"_claim_names": {"groups": "there"}});
    assert_eq!(user(&cluster, &signing.sign(&claims(&double, nowhere))).await, None);
}

#[tokio::test]
async fn nobody_is_let_in_where_the_configuration_says_so() {
    let double = Double::start().await;
    let text = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
        "anonymous": {"enabled": true, "conditions": [{"path": "/livez"}, {"path": "/metrics"}]},
    });
    let cluster = cluster(double.file("config", &text.to_string())).await;
    for (path, expected) in [("/livez", 200), ("/readyz", 401), ("/version", 401), ("/api", 401), ("/metrics", 403)] {
        let answer = cluster.raw(cluster.connect_anonymous().await, &get(path, "")).await;
        assert_eq!(answer.status(), expected, "{path}");
    }
}

#[tokio::test]
async fn nobody_is_let_in_where_the_flag_says_so() {
    let cluster = Cluster::start_with(|config| config.anonymous_auth = Some(false)).await;
    let answer = cluster.raw(cluster.connect_anonymous().await, &get("/livez", "")).await;
    assert_eq!(answer.status(), 401);
    cluster.get("/livez").await.expect(200);
}

#[tokio::test]
async fn the_flags_name_one_issuer() {
    let double = Double::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let signing = key(dir.path(), "signing");
    serve_keys(&double, &[&signing]);
    let flags = |algorithm: &str| skiff_apiserver::OidcFlags {
        issuer_url: double.url.clone(),
        client_id: "skiff".to_owned(),
        ca_file: Some(double.file("ca", &double.ca_pem)),
        groups_claim: "team".to_owned(),
        groups_prefix: "oidc:".to_owned(),
        signing_algs: vec![algorithm.to_owned()],
        ..skiff_apiserver::OidcFlags::default()
    };
    let token = signing.sign(&claims(&double, json!({})));
    let with = async |algorithm: &str| {
        let flags = flags(algorithm);
        Cluster::start_with(move |config| config.oidc = Some(flags)).await
    };
    let jane = user(&with("ES256").await, &token).await.expect("a good token");
    assert_eq!(jane["username"], format!("{}#jane", double.url));
    assert_eq!(jane["groups"], json!(["oidc:dev", "oidc:ops", "system:authenticated"]));
    assert_eq!(user(&with("RS256").await, &token).await, None);
}

#[tokio::test]
async fn another_server_knows_tokens() {
    let double = Double::start().await;
    double.answers(|path, review| {
        let is_known = path == "/authenticate" && review["spec"]["token"] == "known";
        let user = json!({"username": "jane", "uid": "1", "groups": ["dev"], "extra": {"a": ["b"]}});
        Some(json!({"kind": "TokenReview", "status": match is_known {
            true => json!({"authenticated": true, "user": user}),
            false => json!({"authenticated": false}),
        }}))
    });
    let config_file = double.kubeconfig("/authenticate");
    let webhook = skiff_apiserver::TokenWebhookConfig {
        config_file,
        version: "v1".to_owned(),
        cache_ttl: std::time::Duration::from_secs(3600),
    };
    let cluster = Cluster::start_with(move |config| config.token_webhook = Some(webhook)).await;
    for _ in 0..3 {
        let jane = user(&cluster, "known").await.expect("a known token");
        assert_eq!((&jane["username"], &jane["uid"]), (&json!("jane"), &json!("1")));
        assert_eq!(jane["groups"], json!(["dev", "system:authenticated"]));
        assert_eq!(user(&cluster, "unknown").await, None);
    }
    let asked = double.asked();
    assert_eq!(asked.len(), 2, "each token is asked about once");
    assert_eq!(asked[0].1["apiVersion"], "authentication.k8s.io/v1");
    // A server that fails knows nothing, and is asked again.
    double.answers(|_, _| None);
    assert_eq!(user(&cluster, "third").await, None);
    assert_eq!(user(&cluster, "third").await, None);
    assert_eq!(double.asked().len(), 2);
}
