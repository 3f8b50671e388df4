//! Webhooks that answer badly or not at all: what a request is told where they may not be missed, and that it goes on
//! where they may.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::hooks::TlsServer;
use crate::support::Cluster;
use crate::webhooks::{GROUP, MAPS, answer, configure, map};

const VALIDATING: &str = "ValidatingWebhookConfiguration";
const MUTATING: &str = "MutatingWebhookConfiguration";

/// What is sent of an answer, and how that ends.
type Pieces = Vec<io::Result<Bytes>>;

/// What a path says to a review; nothing if it says nothing.
fn say(path: &str, review: &Value) -> Option<(u16, Pieces)> {
    let whole = |text: String| vec![Ok(Bytes::from(text))];
    let response = |response: Value| whole(answer(review, response).to_string());
    let patch = BASE64_STANDARD.encode("[]");
    let said = match path {
        "/html" => (200, whole("<html>".to_owned())),
        "/nothing" => (200, whole("{}".to_owned())),
        "/boom" => (500, whole("boom".to_owned())),
        "/told" => (409, whole(json!({"kind": "Status", "message": "ask later"}).to_string())),
        "/elsewhere" => (302, Vec::new()),
        "/huge" => (200, vec![Ok(Bytes::from(vec![b' '; 17 << 20]))]),
        "/cut" => (200, vec![Ok(Bytes::from_static(b"{\"kind\":")), Err(io::Error::other("the server dies"))]),
        "/other" => {
            let mut said = answer(review, json!({"allowed": true}));
            said["response"]["uid"] = "other".into();
            (200, whole(said.to_string()))
        }
        "/beta" | "/pod" => {
            let mut said = answer(review, json!({"allowed": true}));
            let (field, value) =
                if path == "/pod" { ("kind", "Pod") } else { ("apiVersion", "admission.k8s.io/v1beta1") };
            said[field] = value.into();
            (200, whole(said.to_string()))
        }
        "/untyped" => (200, response(json!({"allowed": true, "patch": patch}))),
        "/typed" => (200, response(json!({"allowed": true, "patchType": "JSONPatch"}))),
        "/blank" => (200, response(json!({"allowed": true, "patch": patch, "patchType": ""}))),
        "/merge" => {
            let patch = BASE64_STANDARD.encode(json!([{"op": "add", "path": "/data/b", "value": "2"}]).to_string());
            (200, response(json!({"allowed": true, "patch": patch, "patchType": "Merge"})))
        }
        "/no" => {
            let details = json!({"name": "n", "kind": "k", "causes": [{"reason": "r", "message": "m", "field": "f"}]});
            let status = json!({"status": "Success", "code": 409, "reason": "Conflict", "message": "not now",
                "details": details});
            (200, response(json!({"allowed": false, "status": status})))
        }
        _ => return None,
    };
    Some(said)
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

async fn serve(request: Request<Incoming>, sent_on: Arc<AtomicBool>) -> Result<Response<Body>, hyper::Error> {
    let path = request.uri().path().to_owned();
    sent_on.fetch_or(path == "/target", Ordering::SeqCst);
    let body = request.into_body().collect().await?.to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let Some((status, pieces)) = say(&path, &review) else { return std::future::pending().await };
    let frames = futures::stream::iter(pieces).then(async |piece| {
        // What came before is sent while this one is waited for.
        tokio::task::yield_now().await;
        piece.map(Frame::data)
    });
    let response = Response::builder().status(status).header("location", "/target");
    Ok(response.body(StreamBody::new(frames).boxed_unsync()).expect("an answer"))
}

/// A server of all these answers.
struct Liar {
    server: TlsServer,
    /// Whether somebody went where it sends everybody.
    sent_on: Arc<AtomicBool>,
}

impl Liar {
    async fn start() -> Self {
        let sent_on = Arc::new(AtomicBool::new(false));
        let seen = sent_on.clone();
        let server = TlsServer::start(Ipv4Addr::LOCALHOST.into(), move |request| serve(request, seen.clone())).await;
        Self { server, sent_on }
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.server.address)
    }

    fn client(&self, path: &str) -> Value {
        json!({"url": self.url(path), "caBundle": BASE64_STANDARD.encode(&self.server.ca_pem)})
    }
}

fn webhook(client: &Value, policy: &str, seconds: u32) -> Value {
    json!({
        "name": "x.example.com", "clientConfig": client, "failurePolicy": policy, "timeoutSeconds": seconds,
        "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
        "sideEffects": "None", "admissionReviewVersions": ["v1"],
    })
}

/// What a create is answered while there is a webhook.
async fn create_with(cluster: &Cluster, kind: &str, webhook: Value) -> (u16, Value) {
    configure(cluster, kind, "x", vec![webhook]).await;
    let created = cluster.post(MAPS, map("a")).await;
    let path = format!("{GROUP}/{}s/x", kind.to_lowercase());
    cluster.delete(&path).await.expect(200);
    cluster.get(&path).await.expect(404);
    (created.status(), created.body().clone())
}

/// What a create is told for a webhook that fails, and that it succeeds where the webhook may be missed. A text that
/// ends in a blank or a quote is the beginning of what is told.
async fn check(cluster: &Cluster, kind: &str, client: &Value, seconds: u32, why: &str) {
    let (status, told) = create_with(cluster, kind, webhook(client, "Fail", seconds)).await;
    let message = told["message"].as_str().unwrap_or_default();
    let expected = format!("Internal error occurred: failed calling webhook \"x.example.com\": {why}");
    assert!(status == 500 && message.starts_with(&expected), "{client}: {status} {told}, not {expected}");
    assert!(why.ends_with([' ', '"']) || message == expected, "{message}, not {expected}");
    assert_eq!(told["reason"], "InternalError", "{told}");

    let (status, told) = create_with(cluster, kind, webhook(client, "Ignore", seconds)).await;
    assert_eq!(status, 201, "{client}: {told}");
    assert_eq!(told["data"], json!({"a": "1"}));
    cluster.delete(&format!("{MAPS}/a")).await.expect(200);
}

#[tokio::test]
async fn bad_answers_are_told_in_upstreams_words() {
    let liar = Liar::start().await;
    let cluster = Cluster::start().await;
    let read = "failed to call webhook: unexpected error when reading response body. Please retry. Original error: ";
    let invalid = "received invalid webhook response: ";
    let got = "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got ";
    for (kind, path, why) in [
        (VALIDATING, "/html", "failed to call webhook: couldn't get version/kind; json parse error: ".to_owned()),
        (VALIDATING, "/nothing", format!("{invalid}webhook response was absent")),
        (
            MUTATING,
            "/boom",
            "failed to call webhook: an error on the server (\"boom\") has prevented the request from succeeding"
                .to_owned(),
        ),
        (MUTATING, "/told", "failed to call webhook: ask later".to_owned()),
        (
            VALIDATING,
            "/elsewhere",
            "failed to call webhook: the server responded with the status code 302 but did not return more information"
                .to_owned(),
        ),
        (VALIDATING, "/huge", format!("{read}the answer is larger than 16777216 bytes")),
        (VALIDATING, "/cut", format!("{read}unexpected EOF")),
        (MUTATING, "/cut", format!("{read}unexpected EOF")),
        (VALIDATING, "/other", format!("{invalid}expected response.uid=\"")),
        (VALIDATING, "/beta", format!("{invalid}{got}admission.k8s.io/v1beta1, Kind=AdmissionReview")),
        (MUTATING, "/pod", format!("{invalid}{got}admission.k8s.io/v1, Kind=Pod")),
        (VALIDATING, "/untyped", format!("{invalid}validating webhook may not return response.patch")),
        (VALIDATING, "/typed", format!("{invalid}validating webhook may not return response.patchType")),
        (MUTATING, "/untyped", format!("{invalid}webhook returned response.patch but not response.patchType")),
        (MUTATING, "/typed", format!("{invalid}webhook returned response.patchType but not response.patch")),
        (MUTATING, "/blank", format!("{invalid}webhook returned invalid response.patchType of \"\"")),
        (MUTATING, "/merge", "unsupported patch type \"Merge\"".to_owned()),
    ] {
        check(&cluster, kind, &liar.client(path), 30, &why).await;
    }
    assert!(!liar.sent_on.load(Ordering::SeqCst), "a webhook sends the server nowhere");
}

#[tokio::test]
async fn webhooks_that_do_not_answer_are_not_waited_for() {
    let liar = Liar::start().await;
    let cluster = Cluster::start().await;
    let why = |url: &str| format!("failed to call webhook: Post \"{url}?timeout=1s\": context deadline exceeded");
    check(&cluster, MUTATING, &liar.client("/slow"), 1, &why(&liar.url("/slow"))).await;
    // The listener is kept, so that nobody else gets the port; nobody accepts, and the answer to TLS never comes.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut client = liar.client("/");
    let url = format!("https://{}/", listener.local_addr().expect("an address"));
    client["url"] = url.as_str().into();
    check(&cluster, VALIDATING, &client, 1, &why(&url)).await;
    let service = json!({"name": "hooks", "namespace": "default", "path": "/x"});
    let missing = json!({"service": service, "caBundle": client["caBundle"]});
    let why =
        "failed to call webhook: Post \"https://hooks.default.svc:443/x?timeout=30s\": service \"hooks\" not found";
    check(&cluster, VALIDATING, &missing, 30, why).await;
}

#[tokio::test]
async fn only_whom_the_configuration_trusts_is_asked() {
    let liar = Liar::start().await;
    let cluster = Cluster::start().await;
    let refused = |url: &str, why: &str| {
        format!("failed to call webhook: Post \"{url}?timeout=30s\": tls: failed to verify certificate: x509: {why}")
    };
    let (url, unknown) = (liar.url("/nothing"), "certificate signed by unknown authority");
    let dir = tempfile::tempdir().expect("a directory");
    let other = pki::Authority::load_or_create(dir.path(), "ca", &base::Env::system()).expect("an authority");
    let stranger = json!({"url": url, "caBundle": BASE64_STANDARD.encode(other.certificate_pem())});
    check(&cluster, VALIDATING, &stranger, 30, &refused(&url, unknown)).await;
    check(&cluster, VALIDATING, &json!({"url": url}), 30, &refused(&url, unknown)).await;

    // A certificate is of the host that is asked, and of now.
    let mut by_name = liar.client("/nothing");
    let url = format!("https://localhost:{}/nothing", liar.server.address.port());
    by_name["url"] = url.as_str().into();
    let why = "certificate is valid for hooks.default.svc, not localhost";
    check(&cluster, VALIDATING, &by_name, 30, &refused(&url, why)).await;

    let nobody = Arc::new(AtomicBool::new(false));
    let year = jiff::SignedDuration::from_hours(365 * 24);
    let now = base::Env::system().now();
    for then in [now - year, now + year] {
        let env = base::Env::simulated(then, 1);
        let nobody = nobody.clone();
        let ip = Ipv4Addr::LOCALHOST.into();
        let server = TlsServer::start_at(&env, ip, move |request| serve(request, nobody.clone())).await;
        let liar = Liar { server, sent_on: Arc::default() };
        let why = refused(&liar.url("/nothing"), "certificate has expired or is not yet valid: current time ");
        check(&cluster, VALIDATING, &liar.client("/nothing"), 30, &why).await;
    }
}

#[tokio::test]
async fn a_refusal_is_told_as_the_webhook_says_it_whatever_the_failure_policy() {
    let liar = Liar::start().await;
    let cluster = Cluster::start().await;
    let expected = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 409, "reason": "Conflict",
        "message": "admission webhook \"x.example.com\" denied the request: not now",
        "details": {"name": "n", "kind": "k", "causes": [{"reason": "r", "message": "m", "field": "f"}]},
    });
    for kind in [VALIDATING, MUTATING] {
        for policy in ["Fail", "Ignore"] {
            let told = create_with(&cluster, kind, webhook(&liar.client("/no"), policy, 30)).await;
            assert_eq!(told, (409, expected.clone()), "{kind} {policy}");
        }
    }
    cluster.get(&format!("{MAPS}/a")).await.expect(404);
}
