//! Every admission plugin, alone: what it changes or refuses when it is on passes when it is off.

use futures::future::BoxFuture;
use serde_json::{Value, json};
use skiff_apiserver::AdmissionPlugins;

use crate::double::Double;
use crate::hooks::Hook;
use crate::support::{Answer, Cluster};

const MERGE: &str = "application/merge-patch+json";

/// Whether a plugin did something in a namespace.
type Trial = for<'a> fn(&'a Cluster, &'a str) -> BoxFuture<'a, bool>;

struct Row {
    plugin: &'static str,
    is_default: bool,
    /// What it has to be told; `KUBECONFIG` leads to a server that refuses everything.
    configuration: Option<&'static str>,
    trial: Trial,
}

/// A plugin that is on by default.
const fn on(plugin: &'static str, trial: Trial) -> Row {
    Row { plugin, is_default: true, configuration: None, trial }
}

/// A plugin that a flag turns on.
const fn off(plugin: &'static str, trial: Trial) -> Row {
    Row { is_default: false, ..on(plugin, trial) }
}

/// In the order of the plugins.
const TABLE: [Row; 34] = [
    off("NamespaceAutoProvision", |cluster, _| Box::pin(makes_a_namespace(cluster))),
    on("NamespaceLifecycle", |cluster, _| Box::pin(misses_a_namespace(cluster))),
    off("NamespaceExists", |cluster, _| Box::pin(misses_a_namespace(cluster))),
    off("LimitPodHardAntiAffinityTopology", |cluster, namespace| Box::pin(anti_affinity(cluster, namespace))),
    on("LimitRanger", |cluster, namespace| Box::pin(limit_range(cluster, namespace))),
    on("ServiceAccount", |cluster, namespace| Box::pin(service_account(cluster, namespace))),
    on("NodeRestriction", |cluster, namespace| Box::pin(other_node(cluster, namespace))),
    on("TaintNodesByCondition", |cluster, namespace| Box::pin(new_node(cluster, namespace))),
    off("AlwaysPullImages", |cluster, namespace| Box::pin(pulls(cluster, namespace))),
    Row {
        configuration: Some("{imagePolicy: {kubeConfigFile: KUBECONFIG}}"),
        ..off("ImagePolicyWebhook", |cluster, namespace| Box::pin(refuses_pod(cluster, namespace, json!({}))))
    },
    on("PodSecurity", |cluster, namespace| Box::pin(pod_security(cluster, namespace))),
    off("PodNodeSelector", |cluster, namespace| Box::pin(node_selector(cluster, namespace))),
    on("Priority", |cluster, namespace| {
        Box::pin(refuses_pod(cluster, namespace, json!({"priorityClassName": "missing"})))
    }),
    on("DefaultTolerationSeconds", |cluster, namespace| Box::pin(tolerates(cluster, namespace, json!({})))),
    off("PodTolerationRestriction", |cluster, namespace| Box::pin(tolerations(cluster, namespace))),
    Row {
        configuration: Some(
            "{apiVersion: eventratelimit.admission.k8s.io/v1alpha1, kind: Configuration, limits: [{type: Server, qps: 1, burst: 1}]}",
        ),
        ..off("EventRateLimit", |cluster, namespace| Box::pin(many_events(cluster, namespace)))
    },
    off("ExtendedResourceToleration", |cluster, namespace| {
        let resources = json!({"limits": {"example.com/gpu": "1"}, "requests": {"example.com/gpu": "1"}});
        let containers = json!([{"name": "a", "image": "a", "resources": resources}]);
        Box::pin(tolerates(cluster, namespace, json!({"containers": containers})))
    }),
    on("DefaultStorageClass", |cluster, namespace| Box::pin(default_class(cluster, namespace))),
    on("StorageObjectInUseProtection", |cluster, namespace| Box::pin(claim_is_protected(cluster, namespace))),
    off("OwnerReferencesPermissionEnforcement", |cluster, namespace| Box::pin(blocks_owner(cluster, namespace))),
    on("PersistentVolumeClaimResize", |cluster, namespace| Box::pin(grows(cluster, namespace))),
    on("RuntimeClass", |cluster, namespace| {
        Box::pin(refuses_pod(cluster, namespace, json!({"runtimeClassName": "missing"})))
    }),
    on("CertificateApproval", |cluster, namespace| Box::pin(decides(cluster, namespace, "approval", "Approved"))),
    on("CertificateSigning", |cluster, namespace| Box::pin(decides(cluster, namespace, "status", "Failed"))),
    on("ClusterTrustBundleAttest", |cluster, namespace| Box::pin(attests(cluster, namespace))),
    on("CertificateSubjectRestriction", |cluster, _| Box::pin(asks_to_be_a_master(cluster))),
    on("DefaultIngressClass", |cluster, namespace| Box::pin(default_ingress_class(cluster, namespace))),
    off("DenyServiceExternalIPs", |cluster, namespace| Box::pin(external_ips(cluster, namespace))),
    on("PodTopologyLabels", |cluster, namespace| Box::pin(topology(cluster, namespace))),
    on("MutatingAdmissionPolicy", |cluster, namespace| Box::pin(mutating_policy(cluster, namespace))),
    on("MutatingAdmissionWebhook", |cluster, namespace| Box::pin(webhook(cluster, namespace, "Mutating"))),
    on("ValidatingAdmissionPolicy", |cluster, namespace| Box::pin(validating_policy(cluster, namespace))),
    on("ValidatingAdmissionWebhook", |cluster, namespace| Box::pin(webhook(cluster, namespace, "Validating"))),
    on("ResourceQuota", |cluster, namespace| Box::pin(quota(cluster, namespace))),
];

#[test]
fn the_table_names_every_plugin_in_order_and_whether_it_is_on() {
    let named: Vec<&str> = TABLE.iter().map(|row| row.plugin).collect();
    assert_eq!(named, AdmissionPlugins::names());
    let plugins = AdmissionPlugins::default();
    for row in &TABLE {
        assert_eq!(plugins.has(row.plugin), row.is_default, "{}", row.plugin);
    }
}

#[tokio::test]
async fn every_plugin_acts_when_it_is_on_and_not_when_it_is_off() {
    let without = start(None).await;
    for row in &TABLE {
        assert!(!act(&without, row).await, "{} acts though it is off", row.plugin);
        assert!(act(&start(Some(row)).await, row).await, "{} does not act though it is on", row.plugin);
    }
}

/// A cluster with one plugin, or with none.
async fn start(row: Option<&Row>) -> Running {
    let others = AdmissionPlugins::names();
    let others: Vec<&str> = others.into_iter().filter(|name| row.is_none_or(|row| row.plugin != *name)).collect();
    let one: Vec<&str> = row.iter().map(|row| row.plugin).collect();
    let plugins = AdmissionPlugins::new(&one, &others).expect("plugins");
    let double = Double::start().await;
    let review =
        json!({"apiVersion": "imagepolicy.k8s.io/v1alpha1", "kind": "ImageReview", "status": {"allowed": false}});
    double.answers(move |_, _| Some(review.clone()));
    let configuration = row.and_then(|row| Some((row.plugin, row.configuration?)));
    let admission = configuration.map(|(plugin, configuration)| {
        let configuration = configuration.replace("KUBECONFIG", &double.kubeconfig("/").display().to_string());
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n- name: {plugin}\n  \
             configuration: {configuration}\n"
        );
        let file = double.file("admission.yaml", &text);
        skiff_apiserver::load_admission_configuration(&file).expect("a configuration")
    });
    let cluster = Cluster::start_with(move |config| {
        config.admission_plugins = plugins;
        config.admission = admission.unwrap_or_default();
        config.runtime_config =
            "certificates.k8s.io/v1beta1=true,admissionregistration.k8s.io/v1beta1=true".parse().expect("settings");
    })
    .await;
    Running { cluster, _double: double }
}

struct Running {
    cluster: Cluster,
    _double: Double,
}

/// Whether the plugin of a row acts in a namespace of its own.
async fn act(Running { cluster, .. }: &Running, row: &Row) -> bool {
    let namespace = row.plugin.to_lowercase();
    make(cluster, "/api/v1/namespaces", json!({"metadata": {"name": namespace}})).await;
    (row.trial)(cluster, &namespace).await
}

/// Makes something; a list after that shows that the server's cache has it.
async fn make(cluster: &Cluster, path: &str, object: Value) -> Value {
    let made = cluster.post(path, object).await.expect(201);
    cluster.get(&format!("{path}?limit=1")).await.expect(200);
    made
}

/// Whether an answer is a refusal with a status, rather than good.
#[track_caller]
fn is_refused(answer: &Answer, status: u16) -> bool {
    assert!(matches!(answer.status(), 200 | 201) || answer.status() == status, "{answer:?}");
    answer.status() == status
}

fn in_namespace(namespace: &str, plural: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/{plural}")
}

fn pod(more: Value) -> Value {
    let mut spec = json!({"containers": [{"name": "a", "image": "busybox:1"}]});
    for (field, value) in more.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    json!({"metadata": {"name": "p"}, "spec": spec})
}

async fn post_pod(cluster: &Cluster, namespace: &str, spec: Value) -> Answer {
    cluster.post(&in_namespace(namespace, "pods"), pod(spec)).await
}

async fn refuses_pod(cluster: &Cluster, namespace: &str, spec: Value) -> bool {
    is_refused(&post_pod(cluster, namespace, spec).await, 403)
}

async fn tolerates(cluster: &Cluster, namespace: &str, spec: Value) -> bool {
    let created = post_pod(cluster, namespace, spec).await.expect(201);
    created["spec"]["tolerations"].as_array().is_some_and(|all| !all.is_empty())
}

async fn annotate(cluster: &Cluster, namespace: &str, metadata: Value) {
    let path = format!("/api/v1/namespaces/{namespace}");
    cluster.patch(&path, MERGE, json!({"metadata": metadata})).await.expect(200);
    cluster.get("/api/v1/namespaces").await.expect(200);
}

async fn makes_a_namespace(cluster: &Cluster) -> bool {
    make(cluster, &in_namespace("provided", "configmaps"), json!({"metadata": {"name": "m"}})).await;
    cluster.get("/api/v1/namespaces/provided").await.status() == 200
}

async fn misses_a_namespace(cluster: &Cluster) -> bool {
    let map = json!({"metadata": {"generateName": "m"}});
    is_refused(&cluster.post(&in_namespace("missing", "configmaps"), map).await, 404)
}

async fn anti_affinity(cluster: &Cluster, namespace: &str) -> bool {
    let term = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}});
    let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]});
    refuses_pod(cluster, namespace, json!({"affinity": {"podAntiAffinity": required}})).await
}

async fn limit_range(cluster: &Cluster, namespace: &str) -> bool {
    let limits = json!([{"type": "Container", "default": {"cpu": "1"}}]);
    let range = json!({"metadata": {"name": "r"}, "spec": {"limits": limits}});
    make(cluster, &in_namespace(namespace, "limitranges"), range).await;
    let created = post_pod(cluster, namespace, json!({})).await.expect(201);
    created["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "1"
}

async fn service_account(cluster: &Cluster, namespace: &str) -> bool {
    refuses_pod(cluster, namespace, json!({"serviceAccountName": "missing"})).await
}

async fn other_node(cluster: &Cluster, namespace: &str) -> bool {
    let node = cluster.as_user("system:node:a", &["system:nodes"]);
    is_refused(&node.post("/api/v1/nodes", json!({"metadata": {"name": namespace}})).await, 403)
}

async fn new_node(cluster: &Cluster, namespace: &str) -> bool {
    let created = make(cluster, "/api/v1/nodes", json!({"metadata": {"name": namespace}})).await;
    created["spec"]["taints"][0]["key"] == "node.kubernetes.io/not-ready"
}

async fn pulls(cluster: &Cluster, namespace: &str) -> bool {
    let created = post_pod(cluster, namespace, json!({})).await.expect(201);
    created["spec"]["containers"][0]["imagePullPolicy"] == "Always"
}

async fn pod_security(cluster: &Cluster, namespace: &str) -> bool {
    annotate(cluster, namespace, json!({"labels": {"pod-security.kubernetes.io/enforce": "baseline"}})).await;
    refuses_pod(cluster, namespace, json!({"hostNetwork": true})).await
}

async fn node_selector(cluster: &Cluster, namespace: &str) -> bool {
    annotate(cluster, namespace, json!({"annotations": {"scheduler.alpha.kubernetes.io/node-selector": "env=test"}}))
        .await;
    let created = post_pod(cluster, namespace, json!({})).await.expect(201);
    created["spec"]["nodeSelector"]["env"] == "test"
}

async fn tolerations(cluster: &Cluster, namespace: &str) -> bool {
    let defaults = json!([{"key": "a", "operator": "Exists"}]).to_string();
    let annotations = json!({"scheduler.alpha.kubernetes.io/defaultTolerations": defaults});
    annotate(cluster, namespace, json!({"annotations": annotations})).await;
    tolerates(cluster, namespace, json!({})).await
}

async fn many_events(cluster: &Cluster, namespace: &str) -> bool {
    let mut is_limited = false;
    for _ in 0..20 {
        let about = json!({"kind": "Pod", "namespace": namespace, "name": "p"});
        let event = json!({"metadata": {"generateName": "e"}, "involvedObject": about});
        is_limited |= is_refused(&cluster.post(&in_namespace(namespace, "events"), event).await, 429);
    }
    is_limited
}

fn claim(name: &str) -> Value {
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    json!({"metadata": {"name": name}, "spec": spec})
}

/// A class of storage that is the default, and whose claims do not grow.
async fn storage_class(cluster: &Cluster, name: &str) {
    let annotations = json!({"storageclass.kubernetes.io/is-default-class": "true"});
    let class = json!({"metadata": {"name": name, "annotations": annotations}, "provisioner": "a.io/b"});
    make(cluster, "/apis/storage.k8s.io/v1/storageclasses", class).await;
}

async fn default_class(cluster: &Cluster, namespace: &str) -> bool {
    storage_class(cluster, namespace).await;
    let created = make(cluster, &in_namespace(namespace, "persistentvolumeclaims"), claim("c")).await;
    created["spec"]["storageClassName"] == namespace
}

async fn claim_is_protected(cluster: &Cluster, namespace: &str) -> bool {
    let created = make(cluster, &in_namespace(namespace, "persistentvolumeclaims"), claim("c")).await;
    created["metadata"]["finalizers"] == json!(["kubernetes.io/pvc-protection"])
}

async fn grows(cluster: &Cluster, namespace: &str) -> bool {
    storage_class(cluster, namespace).await;
    let mut claim = claim("c");
    claim["spec"]["storageClassName"] = namespace.into();
    make(cluster, &in_namespace(namespace, "persistentvolumeclaims"), claim).await;
    let path = format!("{}/c", in_namespace(namespace, "persistentvolumeclaims"));
    cluster.patch(&format!("{path}/status"), MERGE, json!({"status": {"phase": "Bound"}})).await.expect(200);
    let more = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    is_refused(&cluster.patch(&path, MERGE, more).await, 403)
}

/// Lets the user `u` do something.
async fn allow(cluster: &Cluster, namespace: &str, group: &str, resource: &str, verbs: &[&str]) {
    let rules = json!([{"apiGroups": [group], "resources": [resource], "verbs": verbs}]);
    let meta = json!({"name": namespace});
    let roles = "/apis/rbac.authorization.k8s.io/v1";
    make(cluster, &format!("{roles}/clusterroles"), json!({"metadata": meta, "rules": rules})).await;
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": namespace});
    let subjects = json!([{"kind": "User", "name": "u", "apiGroup": "rbac.authorization.k8s.io"}]);
    let binding = json!({"metadata": meta, "roleRef": role, "subjects": subjects});
    make(cluster, &format!("{roles}/clusterrolebindings"), binding).await;
}

async fn blocks_owner(cluster: &Cluster, namespace: &str) -> bool {
    allow(cluster, namespace, "", "configmaps", &["create"]).await;
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "1", "blockOwnerDeletion": true});
    let map = json!({"metadata": {"name": "m", "ownerReferences": [owner]}});
    is_refused(&cluster.as_user("u", &[]).post(&in_namespace(namespace, "configmaps"), map).await, 403)
}

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// A request for a certificate.
async fn certificate_request(cluster: &Cluster, name: &str, signer: &str, organization: &str) -> Answer {
    use base64::Engine;
    let request = pki::SigningRequest::new("u", &[organization.to_owned()]).expect("a request");
    let request = base64::prelude::BASE64_STANDARD.encode(request.request);
    let spec = json!({"request": request, "signerName": signer, "usages": ["client auth"]});
    let answer = cluster.post(REQUESTS, json!({"metadata": {"name": name}, "spec": spec})).await;
    cluster.get(REQUESTS).await.expect(200);
    answer
}

async fn decides(cluster: &Cluster, namespace: &str, subresource: &str, condition: &str) -> bool {
    certificate_request(cluster, namespace, "example.com/signer", "o").await.expect(201);
    let resource = format!("certificatesigningrequests/{subresource}");
    allow(cluster, namespace, "certificates.k8s.io", &resource, &["patch"]).await;
    let conditions = json!([{"type": condition, "status": "True", "reason": "r", "message": "m"}]);
    let path = format!("{REQUESTS}/{namespace}/{subresource}");
    let patch = json!({"status": {"conditions": conditions}});
    is_refused(&cluster.as_user("u", &[]).patch(&path, MERGE, patch).await, 403)
}

async fn asks_to_be_a_master(cluster: &Cluster) -> bool {
    let signer = "kubernetes.io/kube-apiserver-client";
    is_refused(&certificate_request(cluster, "master", signer, "system:masters").await, 403)
}

async fn attests(cluster: &Cluster, namespace: &str) -> bool {
    allow(cluster, namespace, "certificates.k8s.io", "clustertrustbundles", &["create"]).await;
    let authority = pki::Authority::load_or_create(cluster.dir(), "ca", &base::Env::system()).expect("an authority");
    let bundle = json!({
        "metadata": {"name": "example.com:signer:a"},
        "spec": {"signerName": "example.com/signer", "trustBundle": authority.certificate_pem()},
    });
    let path = "/apis/certificates.k8s.io/v1beta1/clustertrustbundles";
    is_refused(&cluster.as_user("u", &[]).post(path, bundle).await, 403)
}

async fn default_ingress_class(cluster: &Cluster, namespace: &str) -> bool {
    let annotations = json!({"ingressclass.kubernetes.io/is-default-class": "true"});
    let class = json!({"metadata": {"name": namespace, "annotations": annotations}, "spec": {"controller": "a.io/b"}});
    make(cluster, "/apis/networking.k8s.io/v1/ingressclasses", class).await;
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    let ingress = json!({"metadata": {"name": "i"}, "spec": {"defaultBackend": backend}});
    let path = format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses");
    make(cluster, &path, ingress).await["spec"]["ingressClassName"] == namespace
}

async fn external_ips(cluster: &Cluster, namespace: &str) -> bool {
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "externalIPs": ["203.0.113.7"]}});
    is_refused(&cluster.post(&in_namespace(namespace, "services"), service).await, 403)
}

async fn topology(cluster: &Cluster, namespace: &str) -> bool {
    let labels = json!({"topology.kubernetes.io/zone": "z"});
    make(cluster, "/api/v1/nodes", json!({"metadata": {"name": "zoned", "labels": labels}})).await;
    let pods = in_namespace(namespace, "pods");
    let mut placed = pod(json!({"nodeName": "zoned"}));
    placed["metadata"]["name"] = "placed".into();
    let placed = make(cluster, &pods, placed).await;
    make(cluster, &pods, pod(json!({}))).await;
    let target = json!({"kind": "Node", "name": "zoned"});
    cluster.post(&format!("{pods}/p/binding"), json!({"metadata": {"name": "p"}, "target": target})).await.expect(201);
    let bound = cluster.get(&format!("{pods}/p")).await.expect(200);
    let [placed, bound] = [placed, bound].map(|pod| pod["metadata"]["labels"] == labels);
    assert_eq!(placed, bound, "both ways to a node count");
    bound
}

/// Which requests the hooks and policies of a namespace are for.
fn config_maps_of(namespace: &str) -> Value {
    json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "resourceRules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
    })
}

async fn post_map(cluster: &Cluster, namespace: &str) -> Answer {
    cluster.post(&in_namespace(namespace, "configmaps"), json!({"metadata": {"name": "m"}})).await
}

async fn mutating_policy(cluster: &Cluster, namespace: &str) -> bool {
    let group = "/apis/admissionregistration.k8s.io/v1beta1";
    let expression = "Object{data: {'changed': 'yes'}}";
    let mutation = json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}});
    let spec = json!({
        "matchConstraints": config_maps_of(namespace), "mutations": [mutation], "reinvocationPolicy": "Never",
    });
    let policy = json!({"metadata": {"name": namespace}, "spec": spec});
    make(cluster, &format!("{group}/mutatingadmissionpolicies"), policy).await;
    let binding = json!({"metadata": {"name": namespace}, "spec": {"policyName": namespace}});
    make(cluster, &format!("{group}/mutatingadmissionpolicybindings"), binding).await;
    post_map(cluster, namespace).await.expect(201)["data"]["changed"] == "yes"
}

async fn validating_policy(cluster: &Cluster, namespace: &str) -> bool {
    let group = "/apis/admissionregistration.k8s.io/v1";
    let spec = json!({"matchConstraints": config_maps_of(namespace), "validations": [{"expression": "false"}]});
    let policy = json!({"metadata": {"name": namespace}, "spec": spec});
    make(cluster, &format!("{group}/validatingadmissionpolicies"), policy).await;
    let spec = json!({"policyName": namespace, "validationActions": ["Deny"]});
    let binding = json!({"metadata": {"name": namespace}, "spec": spec});
    make(cluster, &format!("{group}/validatingadmissionpolicybindings"), binding).await;
    is_refused(&post_map(cluster, namespace).await, 422)
}

/// A webhook that refuses everything.
async fn webhook(cluster: &Cluster, namespace: &str, kind: &str) -> bool {
    let hook = Hook::start(|review| {
        let response = json!({"uid": review["request"]["uid"], "allowed": false, "status": {"code": 403}});
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    })
    .await;
    let mut matched = config_maps_of(namespace);
    let webhook = json!({
        "name": "w.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": hook.url, "caBundle": hook.ca_bundle},
        "rules": matched["resourceRules"].take(), "namespaceSelector": matched["namespaceSelector"].take(),
    });
    let path = format!("/apis/admissionregistration.k8s.io/v1/{}webhookconfigurations", kind.to_lowercase());
    make(cluster, &path, json!({"metadata": {"name": namespace}, "webhooks": [webhook]})).await;
    is_refused(&post_map(cluster, namespace).await, 403)
}

async fn quota(cluster: &Cluster, namespace: &str) -> bool {
    let quotas = in_namespace(namespace, "resourcequotas");
    let hard = json!({"configmaps": "0"});
    make(cluster, &quotas, json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).await;
    let status = json!({"status": {"hard": hard, "used": {"configmaps": "0"}}});
    cluster.patch(&format!("{quotas}/q/status"), MERGE, status).await.expect(200);
    cluster.get(&quotas).await.expect(200);
    is_refused(&post_map(cluster, namespace).await, 403)
}
