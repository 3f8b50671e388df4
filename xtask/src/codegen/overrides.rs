//! What the two crates do not say about kinds and types: written by hand, from upstream's documentation.

/// A subresource; with an empty kind it is of the kind of its resource.
pub struct Subresource {
    pub name: &'static str,
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub verbs: &'static [&'static str],
}

/// What a resource is called for short, and what can be done with it.
pub struct Extra {
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub verbs: &'static [&'static str],
    pub subresources: &'static [Subresource],
}

const ALL_VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const NO_COLLECTION: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
const READ_ONLY: &[&str] = &["get", "list"];
const CREATE: &[&str] = &["create"];
const CONNECT: &[&str] = &["create", "get"];
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];
const GET_PATCH_UPDATE: &[&str] = &["get", "patch", "update"];

const fn own(name: &'static str, verbs: &'static [&'static str]) -> Subresource {
    Subresource { name, group: "", version: "", kind: "", verbs }
}

const fn core(name: &'static str, kind: &'static str, verbs: &'static [&'static str]) -> Subresource {
    Subresource { name, group: "", version: "v1", kind, verbs }
}

const STATUS: Subresource = own("status", GET_PATCH_UPDATE);
const SCALE: Subresource =
    Subresource { name: "scale", group: "autoscaling", version: "v1", kind: "Scale", verbs: GET_PATCH_UPDATE };
const EVICTION: Subresource =
    Subresource { name: "eviction", group: "policy", version: "v1", kind: "Eviction", verbs: CREATE };
const TOKEN: Subresource =
    Subresource { name: "token", group: "authentication.k8s.io", version: "v1", kind: "TokenRequest", verbs: CREATE };

const ALL: &[&str] = &["all"];
const API_EXTENSIONS: &[&str] = &["api-extensions"];

const fn plain() -> Extra {
    Extra { short_names: &[], categories: &[], verbs: ALL_VERBS, subresources: &[] }
}

const fn short(names: &'static [&'static str]) -> Extra {
    Extra { short_names: names, ..plain() }
}

impl Extra {
    const fn with(self, subresources: &'static [Subresource]) -> Extra {
        Extra { subresources, ..self }
    }

    const fn in_categories(self, categories: &'static [&'static str]) -> Extra {
        Extra { categories, ..self }
    }

    const fn only(self, verbs: &'static [&'static str]) -> Extra {
        Extra { verbs, ..self }
    }
}

/// What is to be added to a resource.
pub fn resource(group: &str, plural: &str) -> Extra {
    match (group, plural) {
        ("", _) => core_resource(plural),
        ("authentication.k8s.io" | "authorization.k8s.io", _) => plain().only(CREATE),
        ("apps", "controllerrevisions") => plain(),
        ("apps", "daemonsets") => short(&["ds"]).in_categories(ALL).with(&[STATUS]),
        ("apps", "deployments") => short(&["deploy"]).in_categories(ALL).with(&[SCALE, STATUS]),
        ("apps", "replicasets") => short(&["rs"]).in_categories(ALL).with(&[SCALE, STATUS]),
        ("apps", "statefulsets") => short(&["sts"]).in_categories(ALL).with(&[SCALE, STATUS]),
        ("autoscaling", "horizontalpodautoscalers") => short(&["hpa"]).in_categories(ALL).with(&[STATUS]),
        ("batch", "cronjobs") => short(&["cj"]).in_categories(ALL).with(&[STATUS]),
        ("batch", "jobs") => plain().in_categories(ALL).with(&[STATUS]),
        ("certificates.k8s.io", "certificatesigningrequests") => {
            short(&["csr"]).with(const { &[own("approval", GET_PATCH_UPDATE), STATUS] })
        }
        ("events.k8s.io", "events") => short(&["ev"]),
        ("networking.k8s.io", "ingresses") => short(&["ing"]).with(&[STATUS]),
        ("networking.k8s.io", "ipaddresses") => short(&["ip"]),
        ("networking.k8s.io", "networkpolicies") => short(&["netpol"]),
        ("policy", "poddisruptionbudgets") => short(&["pdb"]).with(&[STATUS]),
        ("scheduling.k8s.io", "priorityclasses") => short(&["pc"]),
        ("storage.k8s.io", "storageclasses") => short(&["sc"]),
        ("storage.k8s.io", "volumeattributesclasses") => short(&["vac"]),
        ("apiextensions.k8s.io", "customresourcedefinitions") => {
            short(&["crd", "crds"]).in_categories(API_EXTENSIONS).with(&[STATUS])
        }
        ("apiregistration.k8s.io", "apiservices") => plain().in_categories(API_EXTENSIONS).with(&[STATUS]),
        ("admissionregistration.k8s.io", "validatingadmissionpolicies") => {
            plain().in_categories(API_EXTENSIONS).with(&[STATUS])
        }
        ("admissionregistration.k8s.io", _) => plain().in_categories(API_EXTENSIONS),
        ("storage.k8s.io", "volumeattachments")
        | ("networking.k8s.io", "servicecidrs")
        | ("certificates.k8s.io", "podcertificaterequests")
        | ("flowcontrol.apiserver.k8s.io", _)
        | ("resource.k8s.io", "resourceclaims" | "devicetaintrules")
        | ("storagemigration.k8s.io", "storageversionmigrations")
        | ("internal.apiserver.k8s.io", "storageversions") => plain().with(&[STATUS]),
        _ => plain(),
    }
}

fn core_resource(plural: &str) -> Extra {
    match plural {
        "bindings" => plain().only(CREATE),
        "componentstatuses" => short(&["cs"]).only(READ_ONLY),
        "configmaps" => short(&["cm"]),
        "endpoints" => short(&["ep"]),
        "events" => short(&["ev"]),
        "limitranges" => short(&["limits"]),
        "namespaces" => short(&["ns"]).only(NO_COLLECTION).with(const { &[own("finalize", &["update"]), STATUS] }),
        "nodes" => short(&["no"]).with(const { &[core("proxy", "NodeProxyOptions", PROXY), STATUS] }),
        "persistentvolumeclaims" => short(&["pvc"]).with(&[STATUS]),
        "persistentvolumes" => short(&["pv"]).with(&[STATUS]),
        "pods" => short(&["po"]).in_categories(ALL).with(
            const {
                &[
                    core("attach", "PodAttachOptions", CONNECT),
                    core("binding", "Binding", CREATE),
                    own("ephemeralcontainers", GET_PATCH_UPDATE),
                    EVICTION,
                    core("exec", "PodExecOptions", CONNECT),
                    own("log", &["get"]),
                    core("portforward", "PodPortForwardOptions", CONNECT),
                    core("proxy", "PodProxyOptions", PROXY),
                    own("resize", GET_PATCH_UPDATE),
                    STATUS,
                ]
            },
        ),
        "replicationcontrollers" => short(&["rc"]).in_categories(ALL).with(&[SCALE, STATUS]),
        "resourcequotas" => short(&["quota"]).with(&[STATUS]),
        "serviceaccounts" => short(&["sa"]).with(&[TOKEN]),
        "services" => {
            short(&["svc"]).in_categories(ALL).with(const { &[core("proxy", "ServiceProxyOptions", PROXY), STATUS] })
        }
        _ => plain(),
    }
}

/// The group under which objects are stored: both kinds of events are the same objects.
pub fn storage_group<'a>(group: &'a str, plural: &str) -> &'a str {
    if group == "events.k8s.io" && plural == "events" { "" } else { group }
}

/// Whether a field is optional though neither crate says so.
pub fn is_optional(type_name: &str, field: &str) -> bool {
    // Events that were written through the core group have none, and are read through this one.
    let is_time_of_event = type_name == "io.k8s.api.events.v1.Event" && field == "eventTime";
    // Upstream writes metadata always, but no object has to have some.
    is_time_of_event || field == "metadata"
}

/// The variant of `FieldType` for a definition that is not made of fields.
pub fn opaque(definition: &str) -> Option<&'static str> {
    Some(match definition.rsplit('.').next()? {
        "Quantity" => "Quantity",
        "IntOrString" => "IntOrString",
        "Time" => "Time",
        "MicroTime" => "MicroTime",
        "FieldsV1" => "FieldsV1",
        "RawExtension" => "Raw",
        "JSON" => "Json",
        "JSONSchemaPropsOrArray" => "SchemaOrArray",
        "JSONSchemaPropsOrBool" => "SchemaOrBool",
        "JSONSchemaPropsOrStringArray" => "SchemaOrStringArray",
        _ => return None,
    })
}

/// The JSON text of a default marker; some refer to constants.
pub fn default_value(marker: &str) -> &str {
    match marker {
        "ref(AzureDataDiskCachingReadWrite)" => "\"ReadWrite\"",
        "ref(AzureSharedBlobDisk)" => "\"Shared\"",
        other => other,
    }
}
