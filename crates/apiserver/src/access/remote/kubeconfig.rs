//! Kubeconfigs that say which server to ask, and how.

use std::path::Path;

use base::Env;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::HeaderValue;
use serde_json::Value;
use url::Url;

use super::{Remote, RemoteError, Shown, parse_url, read};

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

impl Remote {
    /// The server that the current context of a kubeconfig names, and how to ask it.
    pub(crate) fn from_kubeconfig(path: &Path, env: Env) -> Result<(Url, Self), RemoteError> {
        let mut kubeconfig = Kubeconfig { path, config: Value::Null };
        kubeconfig.config = serde_saphyr::from_str(&read(path)?).map_err(|err| kubeconfig.wrong(&err.to_string()))?;
        let context = kubeconfig.named("contexts", "context", &kubeconfig.config["current-context"]);
        let context = context.ok_or_else(|| kubeconfig.wrong("there is no current context"))?;
        let cluster = kubeconfig.named("clusters", "cluster", &context["cluster"]);
        let cluster = cluster.ok_or_else(|| kubeconfig.wrong("its cluster is missing"))?;
        let user = kubeconfig.named("users", "user", &context["user"]).cloned().unwrap_or_default();
        kubeconfig.refuse(cluster, &CLUSTER_REFUSED)?;
        kubeconfig.refuse(&user, &USER_REFUSED)?;
        let url = parse_url(cluster["server"].as_str().unwrap_or_default())?;
        let authorities = kubeconfig.text(cluster, "certificate-authority")?;
        let certificate = kubeconfig.text(&user, "client-certificate")?;
        let client = match (&certificate, kubeconfig.text(&user, "client-key")?) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key)),
            (None, None) => None,
            _ => return Err(kubeconfig.wrong("a client certificate and its key go together")),
        };
        let client = client.as_ref().map(|(certificate, key)| (certificate.as_str(), key.as_str()));
        Ok((url, Self::new(authorities.as_deref(), client, kubeconfig.shown(&user)?, env)?))
    }
}
