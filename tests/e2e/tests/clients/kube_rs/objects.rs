//! Typed objects: every way to read, write and refuse them.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenReview};
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use kube::api::entry::Entry;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, VersionMatch};
use kube::runtime::events::{Event as Occurrence, EventType, Recorder, Reporter};
use kube::{Api, Client, Discovery, Resource, ResourceExt, discovery};
use serde_json::{Value, json};

use super::{NAMESPACE, made, refused};

pub async fn check(client: Client) {
    let client = &client;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    create_and_read(&maps).await;
    pages(&maps).await;
    patches(client).await;
    apply(&maps).await;
    conflicts(&maps).await;
    deletions(&maps).await;
    subresources(client).await;
    tokens(client).await;
    events(client, &maps).await;
    discovered(client).await;
}

fn map(name: &str, data: &Value) -> ConfigMap {
    made(json!({"metadata": {"name": name, "labels": {"made": "here"}}, "data": data}))
}

async fn create_and_read(maps: &Api<ConfigMap>) {
    let created = maps.create(&PostParams::default(), &map("first", &json!({"a": "1"}))).await.expect("created");
    assert!(created.uid().is_some() && created.resource_version().is_some(), "{created:?}");
    let got = maps.get("first").await.expect("it is there");
    assert_eq!(got, created);
    assert!(maps.get_opt("nothing").await.expect("an answer").is_none());
    let metadata = maps.get_metadata("first").await.expect("metadata");
    assert_eq!(metadata.metadata.uid, created.metadata.uid);

    let missing = refused(maps.get("nothing").await, 404, "NotFound");
    assert!(missing.is_not_found());
    assert_eq!(missing.message, "configmaps \"nothing\" not found");
    let again = refused(maps.create(&PostParams::default(), &map("first", &json!({}))).await, 409, "AlreadyExists");
    assert!(again.is_already_exists());
    let invalid = refused(maps.create(&PostParams::default(), &map("not_valid", &json!({}))).await, 422, "Invalid");
    let causes = invalid.details.expect("details").causes;
    assert_eq!(
        (causes.len(), causes[0].field.as_str(), causes[0].reason.as_str()),
        (1, "metadata.name", "FieldValueInvalid")
    );
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    maps.create(&dry, &map("dry", &json!({}))).await.expect("it would do");
    assert!(maps.get_opt("dry").await.expect("an answer").is_none());
}

async fn pages(maps: &Api<ConfigMap>) {
    for number in 0..5 {
        maps.create(&PostParams::default(), &map(&format!("page-{number}"), &json!({}))).await.expect("created");
    }
    let wanted = ListParams::default().labels("made=here").limit(2);
    let (mut found, mut params) = (Vec::new(), wanted.clone());
    loop {
        let page = maps.list(&params).await.expect("a page");
        assert!(page.items.len() <= 2);
        found.extend(page.items.iter().map(ResourceExt::name_any));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = wanted.clone().continue_token(&token),
            None => break,
        }
    }
    assert_eq!(found, ["first", "page-0", "page-1", "page-2", "page-3", "page-4"]);

    let one = ListParams::default().fields("metadata.name=page-3");
    let listed = maps.list(&one).await.expect("a list");
    assert_eq!(listed.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["page-3"]);
    let version = listed.metadata.resource_version.expect("lists have one");
    maps.delete("page-3", &DeleteParams::default()).await.expect("deleted");
    let then = one.clone().at(&version).matching(VersionMatch::Exact);
    assert_eq!(maps.list(&then).await.expect("the list of then").items.len(), 1);
    assert_eq!(maps.list(&one).await.expect("a list").items.len(), 0);
    assert_eq!(
        maps.list_metadata(&ListParams::default().match_any()).await.expect("metadata").types.kind,
        "PartialObjectMetadataList"
    );
    let token = refused(maps.list(&ListParams::default().continue_token("nonsense")).await, 400, "BadRequest");
    assert!(token.message.contains("continue key is not valid"), "{token:?}");
}

async fn patches(client: &Client) {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let container = |name: &str| json!({"name": name, "image": "skiff.local/hello:1"});
    let made = made(json!({"metadata": {"name": "api"}, "spec": {
        "replicas": 0, "selector": {"matchLabels": {"app": "api"}},
        "template": {"metadata": {"labels": {"app": "api"}}, "spec": {"containers": [container("main")]}}}}));
    deployments.create(&PostParams::default(), &made).await.expect("created");
    let names = |deployment: &Deployment| {
        let spec = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).expect("a spec");
        spec.containers.iter().map(|container| container.name.clone()).collect::<Vec<_>>()
    };
    let side = json!({"spec": {"template": {"spec": {"containers": [container("side")]}}}});
    let params = PatchParams::default();
    let merged = deployments.patch("api", &params, &Patch::Strategic(&side)).await.expect("merged by name");
    assert_eq!((names(&merged), merged.metadata.generation), (vec!["side".to_owned(), "main".to_owned()], Some(2)));
    let replaced = deployments.patch("api", &params, &Patch::Merge(&side)).await.expect("replaced");
    assert_eq!(names(&replaced), ["side"]);
    let (dry, paused) = (PatchParams::default().dry_run(), Patch::Merge(json!({"spec": {"paused": true}})));
    let shown = deployments.patch("api", &dry, &paused).await.expect("it would do");
    assert_eq!(shown.spec.and_then(|spec| spec.paused), Some(true));
    let label = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
    let metadata = deployments.patch_metadata("api", &params, &label).await.expect("patched");
    assert_eq!(metadata.labels()["a"], "b");

    let unknown = Patch::Apply(json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replica": 1}}));
    let strict = deployments.patch("api", &PatchParams::apply("me").validation_strict(), &unknown).await;
    let strict = refused(strict, 500, "");
    assert!(strict.message.contains(".spec.replica: field not declared in schema"), "{strict:?}");
    let selector = json!({"spec": {"selector": {"matchLabels": {"app": "other"}}}});
    let fixed = refused(deployments.patch("api", &params, &Patch::Merge(&selector)).await, 422, "Invalid");
    assert!(fixed.message.contains("field is immutable"), "{fixed:?}");
    refused(deployments.patch("nothing", &params, &Patch::Merge(json!({}))).await, 404, "NotFound");
}

async fn apply(maps: &Api<ConfigMap>) {
    let config = |data: Value| {
        Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": data}))
    };
    let one = maps.patch("applied", &PatchParams::apply("one"), &config(json!({"a": "1", "b": "1"}))).await;
    assert_eq!(one.expect("applied").managed_fields()[0].operation.as_deref(), Some("Apply"));
    let two = PatchParams::apply("two");
    let conflict = refused(maps.patch("applied", &two, &config(json!({"a": "2"}))).await, 409, "Conflict");
    assert_eq!(conflict.message, "Apply failed with 1 conflict: conflict with \"one\": .data.a");
    let causes = conflict.details.as_ref().map(|details| &details.causes).expect("details");
    assert_eq!((causes[0].reason.as_str(), causes[0].field.as_str()), ("FieldManagerConflict", ".data.a"));
    let forced = maps.patch("applied", &two.clone().force(), &config(json!({"a": "2"}))).await.expect("forced");
    assert_eq!(forced.data.as_ref().map(|data| data["a"].as_str()), Some("2"));
    // What a manager no longer applies is gone unless it is somebody else's, too.
    let given_up = maps.patch("applied", &PatchParams::apply("one"), &config(json!({}))).await.expect("applied");
    assert_eq!(given_up.data.expect("data").into_keys().collect::<Vec<_>>(), ["a"]);
    // Typed objects are applied as they are.
    let typed: ConfigMap = made(json!({"metadata": {"name": "typed"}, "data": {"a": "1"}}));
    let typed = maps.patch("typed", &PatchParams::apply("one"), &Patch::Apply(&typed)).await.expect("applied");
    assert_eq!(typed.managed_fields().len(), 1);
}

async fn conflicts(maps: &Api<ConfigMap>) {
    let stale = maps.get("first").await.expect("it is there");
    let Entry::Occupied(entry) = maps.entry("first").await.expect("an entry") else { panic!("it is there") };
    let changed = |map: &mut ConfigMap| drop(map.data.get_or_insert_default().insert("b".to_owned(), "2".to_owned()));
    let mut entry = entry.and_modify(changed);
    entry.commit(&PostParams::default()).await.expect("committed");
    let mut later = stale.clone();
    later.labels_mut().insert("late".to_owned(), "yes".to_owned());
    let conflict = refused(maps.replace("first", &PostParams::default(), &later).await, 409, "Conflict");
    assert!(conflict.is_conflict() && conflict.message.contains("the object has been modified"), "{conflict:?}");
    later.metadata.resource_version = entry.get().resource_version();
    maps.replace("first", &PostParams::default(), &later).await.expect("replaced");
    let made = maps.entry("entered").await.expect("an entry").or_insert(|| map("entered", &json!({"c": "3"})));
    let mut made = made;
    made.commit(&PostParams::default()).await.expect("created");
    assert!(made.get().uid().is_some());
}

async fn deletions(maps: &Api<ConfigMap>) {
    let there = maps.get("entered").await.expect("it is there");
    let only_if = |uid: &str, version: Option<String>| {
        DeleteParams::default().preconditions(Preconditions { uid: Some(uid.to_owned()), resource_version: version })
    };
    let wrong = refused(maps.delete("entered", &only_if("wrong", None)).await.map(drop), 409, "Conflict");
    assert!(wrong.message.contains("the UID in the precondition (wrong) does not match"), "{wrong:?}");
    let uid = there.uid().expect("objects have one");
    let wrong = refused(maps.delete("entered", &only_if(&uid, Some("1".to_owned()))).await.map(drop), 409, "Conflict");
    assert!(wrong.message.contains("ResourceVersion in the precondition (1)"), "{wrong:?}");
    maps.delete("entered", &DeleteParams::default().dry_run()).await.expect("it would do");
    let gone = maps.delete("entered", &only_if(&uid, there.resource_version())).await.expect("deleted");
    let status = gone.right().expect("what is gone at once is answered with a status");
    assert!(status.is_success() && status.details.is_some_and(|details| details.name == "entered"));
    refused(maps.delete("entered", &DeleteParams::default()).await.map(drop), 404, "NotFound");

    // A finalizer keeps it until somebody takes it away.
    let kept: ConfigMap = made(json!({"metadata": {"name": "kept", "finalizers": ["example.com/kept"]}}));
    maps.create(&PostParams::default(), &kept).await.expect("created");
    let going = maps.delete("kept", &DeleteParams::default()).await.expect("it begins to go");
    assert!(going.left().expect("what stays is answered with itself").metadata.deletion_timestamp.is_some());
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("kept", &PatchParams::default(), &free).await.expect("patched");
    assert!(maps.get_opt("kept").await.expect("an answer").is_none());

    let pages = ListParams::default().labels("made=here").fields("metadata.name!=first");
    maps.delete_collection(&DeleteParams::background(), &pages).await.expect("deleted");
    let left = maps.list(&ListParams::default().labels("made=here")).await.expect("a list");
    assert_eq!(left.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["first"]);
}

async fn subresources(client: &Client) {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let params = PatchParams::default();
    let mut scale = deployments.get_scale("api").await.expect("a scale");
    let status = scale.status.as_ref().expect("a status");
    assert_eq!((status.replicas, status.selector.as_deref()), (0, Some("app=api")));
    let paused = Patch::Merge(json!({"spec": {"paused": true}}));
    deployments.patch("api", &params, &paused).await.expect("nothing comes of what follows");
    let scaled = deployments.patch_scale("api", &params, &Patch::Merge(json!({"spec": {"replicas": 3}}))).await;
    assert_eq!(scaled.expect("scaled").spec.and_then(|spec| spec.replicas), Some(3));
    scale.spec.get_or_insert_default().replicas = Some(1);
    refused(deployments.replace_scale("api", &PostParams::default(), &scale).await, 409, "Conflict");
    deployments.delete("api", &DeleteParams::foreground()).await.expect("deleted");

    let services: Api<Service> = Api::namespaced(client.clone(), NAMESPACE);
    let service =
        made(json!({"metadata": {"name": "outside"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}));
    services.create(&PostParams::default(), &service).await.expect("created");
    let status =
        Patch::Merge(json!({"spec": {"ports": []}, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}}));
    services.patch_status("outside", &params, &status).await.expect("patched");
    let mut shown = services.get_status("outside").await.expect("a status");
    let balancer = shown.status.as_ref().and_then(|status| status.load_balancer.as_ref()).expect("a load balancer");
    assert_eq!(balancer.ingress.as_ref().expect("addresses")[0].ip.as_deref(), Some("192.0.2.7"));
    assert_eq!(shown.spec.as_ref().and_then(|spec| spec.ports.as_ref()).map(Vec::len), Some(1));
    shown.status = None;
    let emptied = services.replace_status("outside", &PostParams::default(), &shown).await.expect("replaced");
    let balancer = emptied.status.and_then(|status| status.load_balancer);
    assert!(balancer.is_none_or(|balancer| balancer.ingress.is_none()));
}

async fn tokens(client: &Client) {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), NAMESPACE);
    let account = made(json!({"metadata": {"name": "robot"}}));
    accounts.create(&PostParams::default(), &account).await.expect("created");
    let wanted: TokenRequest = made(json!({"metadata": {}, "spec": {"audiences": [], "expirationSeconds": 900}}));
    let token: TokenRequest =
        accounts.create_subresource("token", "robot", &PostParams::default(), &wanted).await.expect("a token");
    let token = token.status.expect("a status").token;
    let reviews: Api<TokenReview> = Api::all(client.clone());
    let asked = made(json!({"spec": {"token": token}}));
    let review = reviews.create(&PostParams::default(), &asked).await.expect("a review").status.expect("a status");
    let name = review.user.and_then(|user| user.username);
    assert_eq!(name.as_deref(), Some("system:serviceaccount:kube-rs:robot"));
}

async fn events(client: &Client, maps: &Api<ConfigMap>) {
    let recorder = Recorder::new(client.clone(), Reporter { controller: "robot".to_owned(), instance: None });
    let about = maps.get("first").await.expect("it is there").object_ref(&());
    let occurrence = Occurrence {
        type_: EventType::Normal,
        reason: "Seen".to_owned(),
        note: Some("it is there".to_owned()),
        action: "Looking".to_owned(),
        secondary: None,
    };
    for _ in 0..2 {
        recorder.publish(&occurrence, &about).await.expect("published");
    }
    let events: Api<Event> = Api::namespaced(client.clone(), NAMESPACE);
    let published = events.list(&ListParams::default().fields("reason=Seen")).await.expect("a list");
    let counts: Vec<_> = published.items.iter().map(|event| event.series.as_ref().map(|series| series.count)).collect();
    assert_eq!(counts, [Some(2)]);
}

async fn discovered(client: &Client) {
    assert_eq!(client.apiserver_version().await.expect("a version").minor, "35");
    let classic = Discovery::new(client.clone()).filter(&["apps", ""]).run().await.expect("discovered");
    let aggregated = Discovery::new(client.clone()).filter(&["apps", ""]).run_aggregated().await.expect("discovered");
    for discovered in [&classic, &aggregated] {
        let apps = discovered.get("apps").expect("the group");
        assert_eq!(apps.preferred_version_or_latest(), "v1");
        let (resource, capabilities) = apps.recommended_kind("StatefulSet").expect("the kind");
        assert_eq!(
            (resource.plural.as_str(), capabilities.scope.clone()),
            ("statefulsets", discovery::Scope::Namespaced)
        );
        assert!(capabilities.supports_operation(discovery::verbs::WATCH));
        let mut subresources: Vec<&str> =
            capabilities.subresources.iter().map(|(subresource, _)| subresource.plural.as_str()).collect();
        subresources.sort_unstable();
        assert_eq!(subresources, ["scale", "status"]);
    }
}
