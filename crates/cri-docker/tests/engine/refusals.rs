//! What Docker Engine has not: a pod that asks for it is refused rather than run without.

use cri::{Code, ContainerConfig};

use crate::support::{Machine, container, context, strings};

/// What is asked for, how, and what is answered.
type Refusal = (&'static str, fn(&mut ContainerConfig), &'static str);

const REFUSALS: &[Refusal] = &[
    ("a volume that is an image", |config| mount(config, |mount| mount.image = Some(Default::default())), "no images"),
    (
        "a mount that is read-only all the way down",
        |config| mount(config, |mount| (mount.readonly, mount.recursive_read_only) = (true, true)),
        "recursive read-only mounts",
    ),
    (
        "a mount with other owners",
        |config| {
            mount(config, |mount| mount.uid_mappings = vec![cri::IdMapping { host_id: 9, container_id: 0, length: 1 }])
        },
        "mapped owners",
    ),
    (
        "devices by names of CDI",
        |config| config.cdi_devices = vec![cri::CdiDevice { name: "vendor.com/gpu=0".to_owned() }],
        "CDI devices",
    ),
    (
        "ambient capabilities",
        |config| {
            let ambient = cri::Capability { add_ambient_capabilities: strings(&["NET_ADMIN"]), ..Default::default() };
            context(config).capabilities = Some(ambient);
        },
        "ambient capabilities",
    ),
    (
        "huge pages",
        |config| {
            let limit = cri::HugepageLimit { page_size: "2MB".to_owned(), limit: 2 << 20 };
            let resources = config.linux.get_or_insert_default().resources.get_or_insert_default();
            resources.hugepage_limits = vec![limit];
        },
        "huge pages",
    ),
];

fn mount(config: &mut ContainerConfig, set: fn(&mut cri::Mount)) {
    let mut mount = cri::Mount { host_path: "/tmp".to_owned(), container_path: "/m".to_owned(), ..Default::default() };
    set(&mut mount);
    config.mounts.push(mount);
}

pub async fn what_docker_has_not_is_refused(machine: &mut Machine) {
    let config = machine.pod("refused");
    let id = machine.run_pod(&config).await;
    for (what, ask, expected) in REFUSALS {
        let mut wanted = container("main", "true");
        ask(&mut wanted);
        let err = machine.create((&id, &config), wanted).await.expect_err(what);
        assert_eq!(err.code(), Code::InvalidArgument, "{what}: {err}");
        assert!(err.message().contains(expected), "{what}: {err}");
    }
    machine.remove_pod(&id).await;

    // Users of its own are the pod's.
    let mut config = machine.pod("users");
    let security = config.linux.get_or_insert_default().security_context.get_or_insert_default();
    let users = cri::UserNamespace { mode: cri::NamespaceMode::Pod.into(), ..Default::default() };
    security.namespace_options.get_or_insert_default().userns_options = Some(users);
    let request = cri::RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
    let err = machine.runtime.run_pod_sandbox(request).await.expect_err("it has none");
    assert!(err.message().contains("user namespaces"), "{err}");
}
