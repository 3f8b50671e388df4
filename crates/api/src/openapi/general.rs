//! Documents of paths without resources: groups, versions of the API and of the server, the token issuer.

use serde_json::{Map, Value, json};

use super::components::{self, reference};
use super::names;
use super::operations::content;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
/// The media types of discovery.
const DISCOVERY: &[&str] = &["application/json", "application/vnd.kubernetes.protobuf", "application/yaml"];

/// The keys of the documents that every server has beside those of its groups.
pub const KEYS: [&str; 5] = [".well-known/openid-configuration", "api", "apis", "openid/v1/jwks", "version"];

/// The document with this key: one of [`KEYS`] or `apis/<group>`.
pub fn document(key: &str) -> Value {
    let schema = |name: &str| components::of_types(&[&format!("{META}.{name}")]);
    let (path, operation, schemas) = match key {
        "api" => (key, discovery("core", "getCoreAPIVersions", "APIVersions"), schema("APIVersions")),
        "apis" => (key, discovery("apis", "getAPIVersions", "APIGroupList"), schema("APIGroupList")),
        ".well-known/openid-configuration" => {
            let name = "getServiceAccountIssuerOpenIDConfiguration";
            let text = "the configuration of the issuer of service account tokens, for OpenID discovery";
            (key, text_of("WellKnown", name, text, "application/json"), Map::new())
        }
        "openid/v1/jwks" => {
            let text = "the public keys that verify service account tokens, as a JSON Web Key Set";
            let name = "getServiceAccountIssuerOpenIDKeyset";
            (key, text_of("openid", name, text, "application/jwk-set+json"), Map::new())
        }
        "version" => {
            let info = "io.k8s.apimachinery.pkg.version.Info";
            let operation = json!({
                "tags": ["version"], "operationId": "getCodeVersion", "description": "the version of the server",
                "responses": responses(&["application/json"], &reference(info)),
            });
            (key, operation, Map::from_iter([(info.to_owned(), version_info())]))
        }
        group => {
            let tag = names::group_tag(group.strip_prefix("apis/").unwrap_or(group));
            let name = format!("get{}APIGroup", names::operation_part(&tag, true));
            (group, discovery(&tag, &name, "APIGroup"), schema("APIGroup"))
        }
    };
    super::wrap(json!({(format!("/{path}/")): {"get": operation}}), Value::Object(schemas))
}

fn discovery(tag: &str, name: &str, kind: &str) -> Value {
    read(&[tag], name, "what this server serves here", &reference(&format!("{META}.{kind}")))
}

/// A plain read of a document of discovery.
pub(super) fn read(tags: &[&str], name: &str, description: &str, schema: &Value) -> Value {
    json!({
        "tags": tags, "operationId": name, "description": description, "responses": responses(DISCOVERY, schema),
    })
}

fn text_of(tag: &str, name: &str, description: &str, media_type: &str) -> Value {
    json!({
        "tags": [tag], "operationId": name, "description": description,
        "responses": responses(&[media_type], &json!({"type": "string"})),
    })
}

fn responses(media_types: &[&str], schema: &Value) -> Value {
    json!({
        "200": {"description": "OK", "content": content(media_types, schema)},
        "401": {"description": "Unauthorized"},
    })
}

fn version_info() -> Value {
    const REQUIRED: [(&str, &str); 9] = [
        ("major", "the major version of the API"),
        ("minor", "the minor version of the API"),
        ("gitVersion", "the version of the server"),
        ("gitCommit", "the commit that the server was built from"),
        ("gitTreeState", "whether that commit was all that the server was built from"),
        ("buildDate", "when the server was built"),
        ("goVersion", "the version of Go that built the server"),
        ("compiler", "what built the server"),
        ("platform", "the operating system and the architecture that the server was built for"),
    ];
    const OPTIONAL: [(&str, &str); 4] = [
        ("emulationMajor", "the major version of the API that the server behaves as"),
        ("emulationMinor", "the minor version of the API that the server behaves as"),
        ("minCompatibilityMajor", "the major version of the oldest server that this one can follow"),
        ("minCompatibilityMinor", "the minor version of the oldest server that this one can follow"),
    ];
    let mut properties = Map::new();
    for (name, description) in REQUIRED {
        properties.insert(name.to_owned(), json!({"type": "string", "default": "", "description": description}));
    }
    for (name, description) in OPTIONAL {
        properties.insert(name.to_owned(), json!({"type": "string", "description": description}));
    }
    json!({
        "type": "object", "description": "the version of the server and how it was built",
        "required": REQUIRED.map(|(name, _)| name), "properties": properties,
    })
}
