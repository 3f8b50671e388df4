//! Authorities of clients in files: who is believed follows them while the server runs.

use serde_json::{Value, json};

use crate::credentials::who;
use crate::support::{Cluster, DEADLINE};

const TRUST: &str = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";

/// An authority in a directory of its own.
struct Other {
    dir: tempfile::TempDir,
    pem: String,
}

impl Other {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let authority = pki::Authority::load_or_create(dir.path(), "ca", &base::Env::system()).expect("an authority");
        Self { pem: authority.certificate_pem(), dir }
    }

    /// What the server says of who its client is that says more in headers.
    async fn said(&self, cluster: &Cluster, client: &str, headers: &str) -> (u16, Value) {
        let connection = cluster.connect_by(self.dir.path(), client, &[]).await;
        let said = cluster.raw(connection, &who(headers)).await;
        (said.status(), said.body()["status"]["userInfo"]["username"].clone())
    }

    /// Waits until the server believes its client.
    async fn until_believed(&self, cluster: &Cluster, client: &str, headers: &str, user: &str) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let said = self.said(cluster, client, headers).await;
            if said == (201, json!(user)) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{client} is never {user}: {said:?}");
            tokio::task::yield_now().await;
        }
    }
}

/// Follows a file with one authority after another, whose client is a user by these headers.
async fn check(flag: &str, client: &str, headers: &str, user: &str, named: &str) {
    let (first, second) = (Other::new(), Other::new());
    let files = tempfile::tempdir().expect("a directory");
    let file = files.path().join("clients.crt");
    pki::write_private(&file, &first.pem).expect("written");
    let path = Some(file.clone());
    let cluster = Cluster::start_with(|config| match flag {
        "client-ca-file" => config.client_ca_file = path,
        _ => config.request_headers.client_ca_file = path,
    })
    .await;
    assert_eq!(first.said(&cluster, client, headers).await, (201, json!(user)));
    assert_eq!(second.said(&cluster, client, headers).await.0, 401);
    pki::write_private(&file, &second.pem).expect("written");
    second.until_believed(&cluster, client, headers, user).await;
    assert_eq!(first.said(&cluster, client, headers).await.0, 401);
    // What is no authority changes nothing.
    pki::write_private(&file, "nothing").expect("written");
    assert_eq!(second.said(&cluster, client, headers).await, (201, json!(user)));
    // Extension API servers are told.
    let is_told = |pem: &str| pem.contains(second.pem.trim()) && !pem.contains(first.pem.trim());
    let own = pki::Authority::load_or_create(cluster.dir(), named, &base::Env::system()).expect("an authority");
    let told = |config: &Value| {
        let pem = config["data"][flag].as_str().unwrap_or_default();
        is_told(pem) && pem.contains(own.certificate_pem().trim())
    };
    cluster.eventually_with(TRUST, told).await;
    // The cluster's own clients are believed as before.
    let connection = cluster.connect("jane", &[]).await;
    let said = cluster.raw(connection, &who("")).await.expect(201);
    assert_eq!(said["status"]["userInfo"]["username"], "jane");
}

#[tokio::test]
async fn clients_of_further_authorities_are_believed() {
    check("client-ca-file", "anna", "", "anna", "client-ca").await;
}

#[tokio::test]
async fn front_proxies_are_those_of_another_authority() {
    let headers = "x-remote-user: otto\r\n";
    check("requestheader-client-ca-file", "front-proxy-client", headers, "otto", "front-proxy-ca").await;
}
