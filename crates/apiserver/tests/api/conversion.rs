//! Custom resources whose versions a webhook converts.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::Cluster;

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const V1: &str = "/apis/example.com/v1/namespaces/default/widgets";
const V2: &str = "/apis/example.com/v2/namespaces/default/widgets";

/// A webhook that runs as long as this lives: `spec.old` of v1 is `spec.new` of v2.
struct Webhook {
    url: String,
    ca_bundle: String,
    _tasks: base::Tasks,
    _dir: tempfile::TempDir,
}

impl Webhook {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let authority = pki::Authority::load_or_create(dir.path(), "ca", &base::Env::system()).expect("an authority");
        let request = pki::IssueRequest {
            common_name: "webhook".to_owned(),
            organizations: Vec::new(),
            dns_names: Vec::new(),
            ips: vec![[127, 0, 0, 1].into()],
            usage: pki::Usage::Server,
            validity: std::time::Duration::from_secs(3600),
        };
        let pair = authority.issue(&request).expect("a certificate");
        let certificates = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
        let certificates = certificates.collect::<Result<Vec<_>, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .expect("a configuration");
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("https://{}/convert", listener.local_addr().expect("an address"));
        let mut tasks = base::Tasks::new();
        tasks.spawn("webhook", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let service = service_fn(answer);
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            }
        });
        let ca_bundle = BASE64_STANDARD.encode(authority.certificate_pem());
        Self { url, ca_bundle, _tasks: tasks, _dir: dir }
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let review: Value = serde_json::from_slice(&body).expect("a review");
    let wanted = &review["request"]["desiredAPIVersion"];
    let (from, to) = if *wanted == "example.com/v2" { ("old", "new") } else { ("new", "old") };
    let convert = |object: &Value| {
        let mut object = object.clone();
        object["apiVersion"] = wanted.clone();
        let value = object["spec"][from].take();
        object["spec"] = json!({to: value});
        object
    };
    let objects = review["request"]["objects"].as_array().expect("objects");
    let is_bad = objects.iter().any(|object| object["spec"][from] == "bad");
    let result = match is_bad {
        true => json!({"status": "Failure", "message": "bad is not converted"}),
        false => json!({"status": "Success"}),
    };
    let converted: Vec<Value> = objects.iter().map(convert).collect();
    let response = json!({
        "kind": "ConversionReview", "apiVersion": review["apiVersion"],
        "response": {"uid": review["request"]["uid"], "result": result, "convertedObjects": converted},
    });
    Ok(Response::new(Full::new(Bytes::from(response.to_string()))))
}

#[tokio::test]
async fn a_webhook_converts_what_is_read_and_written() {
    let webhook = Webhook::start().await;
    let cluster = Cluster::start().await;
    let version = |name: &str, field: &str| {
        let spec = json!({"type": "object", "properties": {field: {"type": "string"}}});
        json!({"name": name, "served": true, "storage": name == "v1",
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}})
    };
    let client = json!({"url": webhook.url, "caBundle": webhook.ca_bundle});
    let conversion = json!({"strategy": "Webhook",
        "webhook": {"clientConfig": client, "conversionReviewVersions": ["v1"]}});
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [version("v1", "old"), version("v2", "new")], "conversion": conversion},
    });
    cluster.post(CRDS, crd).await.expect(201);
    cluster.eventually(V1).await;
    let widget = |version: &str, name: &str, spec: Value| {
        json!({"apiVersion": format!("example.com/{version}"), "kind": "Widget", "metadata": {"name": name},
            "spec": spec})
    };
    let created = cluster.post(V2, widget("v2", "a", json!({"new": "x"}))).await.expect(201);
    assert_eq!(created["spec"], json!({"new": "x"}));
    assert_eq!(cluster.get(&format!("{V1}/a")).await.expect(200)["spec"], json!({"old": "x"}));
    let merge = "application/merge-patch+json";
    let patched = cluster.patch(&format!("{V2}/a"), merge, json!({"spec": {"new": "y"}})).await.expect(200);
    assert_eq!(patched["spec"], json!({"new": "y"}));
    let list = cluster.get(V2).await.expect(200);
    assert_eq!(
        (&list["items"][0]["apiVersion"], &list["items"][0]["spec"]["new"]),
        (&json!("example.com/v2"), &json!("y"))
    );
    let mut watch = cluster.watch("/apis/example.com/v2/widgets?watch=1").await;
    assert_eq!(watch.take(1).await, ["ADDED a"]);

    cluster.post(V1, widget("v1", "b", json!({"old": "bad"}))).await.expect(201);
    let failed = cluster.get(&format!("{V2}/b")).await.expect(500);
    assert_eq!(failed["message"], "conversion webhook for example.com/v1, Kind=Widget failed: bad is not converted");
}
