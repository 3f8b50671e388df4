use k8s_openapi::api::core::v1::{
    ConfigMapEnvSource, ConfigMapKeySelector, EnvFromSource, EnvVar, ObjectFieldSelector,
};
use k8s_openapi::api::core::v1::{ResourceFieldSelector, ServicePort};
use testkit::{object, pod, service};

use super::*;

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

fn from(name: &str, source: EnvVarSource) -> EnvVar {
    EnvVar { name: name.to_owned(), value: None, value_from: Some(source) }
}

fn key_of_map(key: &str, optional: bool) -> EnvVarSource {
    let selector = ConfigMapKeySelector { name: "map".into(), key: key.into(), optional: Some(optional) };
    EnvVarSource { config_map_key_ref: Some(selector), ..EnvVarSource::default() }
}

fn build_with(variables: Vec<EnvVar>, from_maps: Vec<EnvFromSource>) -> Result<Vec<String>, EnvError> {
    let pod = pod("web").label("app", "x").with(|pod| pod.spec.as_mut().expect("there").node_name = Some("n1".into()));
    let pod = pod.build();
    let container =
        Container { name: "a".into(), env: Some(variables), env_from: Some(from_maps), ..Container::default() };
    let map = object::<ConfigMap>("default/map").with(|map| map.data = Some([("k".into(), "v".into())].into())).build();
    let kubernetes = service("default/kubernetes").with(|service| {
        let spec = service.spec.get_or_insert_default();
        spec.cluster_ip = Some("10.43.0.1".into());
        spec.ports = Some(vec![ServicePort { name: Some("https".into()), port: 443, ..ServicePort::default() }]);
    });
    let ips = ["10.42.0.5".to_owned()];
    let fields = FieldContext { pod_ips: &ips, host_ips: &ips, allocatable: [("cpu".to_owned(), 2000)].into() };
    let inputs = Inputs {
        config_maps: &[("map".to_owned(), Some(Arc::new(map)))].into(),
        secrets: &BTreeMap::new(),
        files: &BTreeMap::new(),
        services: &[Arc::new(kubernetes.build())],
        fields: &fields,
    };
    build(&pod, &container, &inputs)
        .map(|list| list.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
}

#[track_caller]
fn check(variables: Vec<EnvVar>, expected: &[&str]) {
    let built = build_with(variables, Vec::new()).expect("variables");
    let own: Vec<&String> = built.iter().filter(|line| !line.starts_with("KUBERNETES_")).collect();
    assert_eq!(own, expected);
}

#[test]
fn values_refer_to_what_comes_before() {
    check(
        vec![variable("A", "1"), variable("B", "$(A)-$(C)-$$(A)"), variable("C", "3"), variable("A", "2")],
        &["A=2", "B=1-$(C)-$(A)", "C=3"],
    );
    check(vec![variable("URL", "https://$(KUBERNETES_SERVICE_HOST)")], &["URL=https://10.43.0.1"]);
}

#[test]
fn fields_and_resources_become_text() {
    let field = |path: &str| EnvVarSource {
        field_ref: Some(ObjectFieldSelector { field_path: path.into(), ..ObjectFieldSelector::default() }),
        ..EnvVarSource::default()
    };
    let cpu = EnvVarSource {
        resource_field_ref: Some(ResourceFieldSelector { resource: "limits.cpu".into(), ..Default::default() }),
        ..EnvVarSource::default()
    };
    check(
        vec![
            from("NAME", field("metadata.name")),
            from("IP", field("status.podIP")),
            from("NODE", field("spec.nodeName")),
            from("APP", field("metadata.labels['app']")),
            from("CPU", cpu),
        ],
        &["NAME=web", "IP=10.42.0.5", "NODE=n1", "APP=x", "CPU=2"],
    );
}

#[test]
fn keys_of_config_maps_are_taken_or_missed() {
    check(vec![from("K", key_of_map("k", false)), from("O", key_of_map("none", true))], &["K=v"]);
    let missing = build_with(vec![from("K", key_of_map("none", false))], Vec::new());
    assert_eq!(missing.expect_err("no such key").to_string(), "couldn't find key none in ConfigMap default/map");
    let source = |name: &str| EnvFromSource {
        prefix: Some("P_".into()),
        config_map_ref: Some(ConfigMapEnvSource { name: name.into(), optional: None }),
        secret_ref: None,
    };
    let built = build_with(Vec::new(), vec![source("map")]).expect("variables");
    assert!(built.contains(&"P_k=v".to_owned()), "{built:?}");
    let missing = build_with(Vec::new(), vec![source("other")]);
    assert_eq!(missing.expect_err("no such map").to_string(), "configmap \"other\" not found");
}

#[test]
fn services_are_told() {
    let built = build_with(Vec::new(), Vec::new()).expect("variables");
    for line in [
        "KUBERNETES_SERVICE_HOST=10.43.0.1",
        "KUBERNETES_SERVICE_PORT=443",
        "KUBERNETES_SERVICE_PORT_HTTPS=443",
        "KUBERNETES_PORT=tcp://10.43.0.1:443",
        "KUBERNETES_PORT_443_TCP=tcp://10.43.0.1:443",
        "KUBERNETES_PORT_443_TCP_ADDR=10.43.0.1",
    ] {
        assert!(built.contains(&line.to_owned()), "{line} in {built:?}");
    }
}
