//! Certificates of a server that does not run, and of one that does.

use std::sync::Arc;

use pki::{Authority, Leaf};

use super::*;

const DEADLINE: Duration = Duration::from_secs(60);

fn request() -> IssueRequest {
    IssueRequest {
        common_name: "jane".to_owned(),
        organizations: vec!["dev".to_owned()],
        dns_names: Vec::new(),
        ips: Vec::new(),
        usage: Usage::Client,
        validity: VALIDITY,
    }
}

#[tokio::test]
async fn certificates_are_listed_and_renewed() {
    let (dir, env) = (tempfile::tempdir().expect("a directory"), Env::system());
    let installation = Installation { data_dir: dir.path().to_owned(), run_dir: dir.path().join("run") };
    let pki_dir = layout::pki_dir(&installation.instance());
    let without = rotate(&installation, false, &[], DEADLINE, &env).await.map_err(|err| err.to_string());
    assert!(without.is_err_and(|why| why.contains("on the server's machine")));

    let authorities = Authorities::load_or_create(&pki_dir, &env).expect("authorities");
    let authority = &authorities.client;
    let leaf = Arc::new(Leaf::load_or_issue(authority, &pki_dir, "client", request(), &env).expect("a certificate"));
    let kubeconfig = dir.path().join("jane.kubeconfig");
    let (ca, own) = (authorities.server.certificate_pem(), authority.issue(&request()).expect("a certificate"));
    let written = pki::kubeconfig::Kubeconfig {
        server: "https://here:6443",
        certificate_authority: &ca,
        name: "mine",
        client: &own,
    };
    written.write(&kubeconfig).expect("writable");
    let kubeconfigs = [kubeconfig.clone()];
    let listed = |kubeconfigs: &[PathBuf]| {
        let found = inventory::find(std::slice::from_ref(&pki_dir), kubeconfigs).expect("readable");
        inventory::table(&found, env.now())
    };
    let table = listed(&kubeconfigs);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines.len() == 6 && lines[0].starts_with("NAME "), "{table}");
    assert!(lines[1].contains("authority") && lines[1].contains(" 3649 "), "{table}");
    assert!(
        lines[3].starts_with("client ") && lines[3].contains("CN=jane O=dev") && lines[3].contains(" 364 "),
        "{table}"
    );
    assert!(lines[2].starts_with("client-ca ") && lines[4].starts_with("front-proxy-ca "), "{table}");
    assert!(lines[5].contains("jane.kubeconfig"), "{table}");

    // A server that runs takes up what is asked for.
    let (trigger, drain) = base::drain();
    let mut server = base::Tasks::new();
    server.spawn("authority", authority.clone().run(drain.clone()));
    server.spawn("leaf", leaf.clone().run(drain.clone()));
    let mut renewed = leaf.subscribe();
    let done = rotate(&installation, false, &kubeconfigs, DEADLINE, &env).await.expect("renewed");
    assert_eq!(done[0], "client: issued anew", "{done:?}");
    tokio::time::timeout(DEADLINE, renewed.changed()).await.expect("in time").expect("it is kept");
    let renewed = std::fs::read_to_string(&kubeconfig).expect("readable");
    assert!(renewed != written.to_yaml() && renewed.contains("https://here:6443"));

    let done = rotate(&installation, true, &kubeconfigs, DEADLINE, &env).await.expect("renewed");
    assert!(done[0].starts_with("ca: a successor") && done[1].starts_with("client-ca: a successor"), "{done:?}");
    assert_eq!(done[3], "client: issued anew", "{done:?}");
    assert_eq!(authority.certificates().len(), 2, "both are trusted");
    assert!(listed(&kubeconfigs).contains("earlier authority"));

    trigger.drain();
    server.shutdown(DEADLINE).await;
}

#[test]
fn a_kubeconfig_of_another_cluster_is_left_alone() {
    let (dir, env) = (tempfile::tempdir().expect("a directory"), Env::system());
    let own = Authorities::load_or_create(dir.path(), &env).expect("authorities");
    let other = Authority::load_or_create(dir.path(), "other", &env).expect("an authority");
    let path = dir.path().join("kubeconfig");
    let (ca, client) = (other.certificate_pem(), other.issue(&request()).expect("a certificate"));
    let written = pki::kubeconfig::Kubeconfig {
        server: "https://there:6443",
        certificate_authority: &ca,
        name: "theirs",
        client: &client,
    };
    written.write(&path).expect("writable");
    let refused = reissue(&own, &path).map_err(|err| err.to_string());
    assert!(refused.is_err_and(|why| why.contains("not by this cluster")));
    assert_eq!(std::fs::read_to_string(&path).expect("readable"), written.to_yaml());
}
