//! Kubeconfigs that say which server to ask, and how.

use std::path::Path;
use std::sync::Arc;

use base::Env;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::HeaderValue;
use serde_json::Value;
use url::Url;

use super::{Remote, RemoteError, parse_url, read};
use crate::webhook::{Credentials, Shown, Users};

/// What would change whom the server trusts or what it shows, and is not there to be had: a kubeconfig with one of them
/// is not taken, lest it be taken for something else.
const CLUSTER_REFUSED: [&str; 3] = ["insecure-skip-tls-verify", "tls-server-name", "proxy-url"];
const USER_REFUSED: [&str; 5] = ["exec", "auth-provider", "as", "as-groups", "as-uid"];

/// A kubeconfig that was read.
struct Kubeconfig<'a> {
    path: &'a Path,
    config: Value,
}

impl Kubeconfig<'_> {
    fn wrong(&self, why: &str) -> RemoteError {
        RemoteError::Kubeconfig { path: self.path.to_owned(), why: why.to_owned() }
    }

    fn named(&self, list: &str, kind: &str, name: &Value) -> Option<&Value> {
        let mut all = self.config[list].as_array().into_iter().flatten();
        all.find(|each| each["name"] == *name).map(|each| &each[kind])
    }

    fn refuse(&self, part: &Value, fields: &[&str]) -> Result<(), RemoteError> {
        let is_set = |field: &&&str| !matches!(&part[**field], Value::Null | Value::Bool(false));
        match fields.iter().find(is_set) {
            Some(field) => Err(self.wrong(&format!("{field} is not supported here"))),
            None => Ok(()),
        }
    }

    /// What is given inline comes before what a file has; names of files are relative to the kubeconfig.
    fn text(&self, part: &Value, field: &str) -> Result<Option<String>, RemoteError> {
        if let Some(data) = part[format!("{field}-data")].as_str() {
            let bytes = BASE64_STANDARD.decode(data).map_err(|_| self.wrong(&format!("{field}-data is not base64")))?;
            return String::from_utf8(bytes).map(Some).map_err(|_| self.wrong(&format!("{field}-data is not text")));
        }
        let file = part[field].as_str().filter(|file| !file.is_empty());
        file.map(|file| read(&self.beside(file))).transpose()
    }

    fn beside(&self, file: &str) -> std::path::PathBuf {
        self.path.parent().unwrap_or(Path::new(".")).join(file)
    }

    fn shown(&self, user: &Value) -> Result<Shown, RemoteError> {
        if let Some(file) = user["tokenFile"].as_str().filter(|file| !file.is_empty()) {
            return Ok(Shown::TokenFile(self.beside(file)));
        }
        let text = |field: &str| user[field].as_str().filter(|text| !text.is_empty());
        let header = match (text("token"), text("username")) {
            (Some(token), _) => format!("Bearer {token}"),
            (None, Some(name)) => {
                let pair = format!("{name}:{}", text("password").unwrap_or_default());
                format!("Basic {}", BASE64_STANDARD.encode(pair))
            }
            (None, None) => return Ok(Shown::Nothing),
        };
        let header = HeaderValue::from_str(&header);
        header.map(Shown::Header).map_err(|_| self.wrong("the token cannot stand in a header"))
    }
}

impl Kubeconfig<'_> {
    fn read(path: &Path) -> Result<Kubeconfig<'_>, RemoteError> {
        let mut kubeconfig = Kubeconfig { path, config: Value::Null };
        kubeconfig.config = serde_saphyr::from_str(&read(path)?).map_err(|err| kubeconfig.wrong(&err.to_string()))?;
        Ok(kubeconfig)
    }

    fn current_context(&self) -> Option<&Value> {
        self.named("contexts", "context", &self.config["current-context"])
    }

    /// What a user shows.
    fn credentials(&self, user: &Value) -> Result<Credentials, RemoteError> {
        self.refuse(user, &USER_REFUSED)?;
        let certificate = match (self.text(user, "client-certificate")?, self.text(user, "client-key")?) {
            (Some(certificate), Some(key)) => Some(Arc::new((certificate, key))),
            (None, None) => None,
            _ => return Err(self.wrong("a client certificate and its key go together")),
        };
        Ok(Credentials { certificate, shown: self.shown(user)? })
    }
}

/// The users of a kubeconfig, each for the hosts that its name says.
pub(crate) fn users(path: &Path) -> Result<Users, RemoteError> {
    let kubeconfig = Kubeconfig::read(path)?;
    let mut users = Vec::new();
    for user in kubeconfig.config["users"].as_array().into_iter().flatten() {
        let name = user["name"].as_str().ok_or_else(|| kubeconfig.wrong("a user has no name"))?;
        users.push((name.to_owned(), kubeconfig.credentials(&user["user"])?));
    }
    let current = kubeconfig.current_context().and_then(|context| context["user"].as_str());
    Ok(Users::new(users, current))
}

impl Remote {
    /// The server that the current context of a kubeconfig names, and how to ask it.
    pub(crate) fn from_kubeconfig(path: &Path, env: Env) -> Result<(Url, Self), RemoteError> {
        let kubeconfig = Kubeconfig::read(path)?;
        let context = kubeconfig.current_context();
        let context = context.ok_or_else(|| kubeconfig.wrong("there is no current context"))?;
        let cluster = kubeconfig.named("clusters", "cluster", &context["cluster"]);
        let cluster = cluster.ok_or_else(|| kubeconfig.wrong("its cluster is missing"))?;
        let user = kubeconfig.named("users", "user", &context["user"]).cloned().unwrap_or_default();
        kubeconfig.refuse(cluster, &CLUSTER_REFUSED)?;
        let url = parse_url(cluster["server"].as_str().unwrap_or_default())?;
        let authorities = kubeconfig.text(cluster, "certificate-authority")?;
        Ok((url, Self::new(authorities.as_deref(), kubeconfig.credentials(&user)?, env)?))
    }
}
