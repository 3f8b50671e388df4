//! What resources an API server offers.

use http::Request;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroupList, APIResourceList};
use kube::core::{ApiResource, GroupVersion};

/// One resource in the version that the server prefers.
#[derive(Clone, Debug)]
pub struct Offered {
    /// Group, version, kind and plural.
    pub resource: ApiResource,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// What can be done with it.
    pub verbs: Vec<String>,
}

impl Offered {
    /// Whether all of these verbs are among its own.
    pub fn supports(&self, verbs: &[&str]) -> bool {
        verbs.iter().all(|verb| self.verbs.iter().any(|own| own == verb))
    }
}

/// What a server offers, each resource once, in the version it prefers.
#[derive(Debug, Default)]
pub struct Discovered {
    /// The resources, without subresources.
    pub resources: Vec<Offered>,
    /// Group versions that the server lists but could not describe, with the reason: mostly an aggregated API
    /// server that is down.
    pub failures: Vec<(String, kube::Error)>,
}

/// Asks the server for all its resources.
pub async fn discover(client: &kube::Client) -> Result<Discovered, kube::Error> {
    let groups: APIGroupList = client.request(request("/apis")?).await?;
    let mut paths = vec![("v1".to_owned(), "/api/v1".to_owned())];
    for group in groups.groups {
        let preferred = group.preferred_version.as_ref().map(|version| version.group_version.clone());
        let mut versions: Vec<String> = group.versions.into_iter().map(|version| version.group_version).collect();
        // The preferred version first: it wins where several have a resource.
        versions.sort_by_key(|version| Some(version) != preferred.as_ref());
        paths.extend(versions.into_iter().map(|version| (version.clone(), format!("/apis/{version}"))));
    }
    let mut discovered = Discovered::default();
    for (group_version, path) in paths {
        match client.request::<APIResourceList>(request(&path)?).await {
            Ok(list) => discovered.add(&group_version, list),
            Err(err) => discovered.failures.push((group_version, err)),
        }
    }
    Ok(discovered)
}

impl Discovered {
    fn add(&mut self, group_version: &str, list: APIResourceList) {
        let Ok(parsed) = group_version.parse::<GroupVersion>() else { return };
        for resource in list.resources {
            let known =
                |offered: &Offered| offered.resource.group == parsed.group && offered.resource.plural == resource.name;
            if resource.name.contains('/') || self.resources.iter().any(known) {
                continue;
            }
            self.resources.push(Offered {
                resource: ApiResource {
                    group: parsed.group.clone(),
                    version: parsed.version.clone(),
                    api_version: group_version.to_owned(),
                    kind: resource.kind,
                    plural: resource.name,
                },
                namespaced: resource.namespaced,
                verbs: resource.verbs,
            });
        }
    }
}

fn request(path: &str) -> Result<Request<Vec<u8>>, kube::Error> {
    Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)
}
