//! Where a registry's images are fetched from: mirrors, authorities and headers, in the layout that containerd uses.
//!
//! `<dir>/<registry>/hosts.toml` (the registry's port may be written `_5000_`), or `<dir>/_default/hosts.toml` for all
//! others. A directory with certificates alone (`*.crt`, `*.cert` with `*.key`) is what Docker has. The files are read
//! for each pull, so that a change needs no restart.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use toml::{Table, Value};
use url::Url;

/// The file of a registry's settings.
const FILE: &str = "hosts.toml";

/// The directory of registries that have none of their own.
const DEFAULT: &str = "_default";

/// The port of those who speak without TLS.
const HTTP: u16 = 80;

/// The name by which images of Docker's registry go, and the host that serves them.
const DOCKER: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file says what is not understood.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// What a host is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capability {
    /// Fetching by digest.
    Pull,
    /// Finding out to which digest a tag leads.
    Resolve,
    /// Taking images.
    Push,
}

/// One host that serves a registry's images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    /// Its address with the path of its API, without a slash at the end.
    pub base: Url,
    /// What it may be asked for.
    pub capabilities: Vec<Capability>,
    /// Authorities beside the machine's, in PEM.
    pub ca: Vec<PathBuf>,
    /// Certificates and keys for it, in PEM; a certificate's file may hold the key too.
    pub client: Vec<(PathBuf, Option<PathBuf>)>,
    /// Its certificate is not checked.
    pub skip_verify: bool,
    /// What is said with every request.
    pub headers: HeaderMap,
    /// How long a connection may take.
    pub dial_timeout: Option<Duration>,
    /// It serves for another registry, whose name it is told.
    pub mirror: bool,
    /// Where it does not speak TLS, it is spoken to without.
    pub falls_back: bool,
}

impl Host {
    fn new(base: Url, mirror: bool) -> Self {
        Self {
            base,
            capabilities: vec![Capability::Pull, Capability::Resolve, Capability::Push],
            ca: Vec::new(),
            client: Vec::new(),
            skip_verify: false,
            headers: HeaderMap::new(),
            dial_timeout: None,
            mirror,
            falls_back: false,
        }
    }

    /// The registry's own, of which nothing is said. One on this machine need not show a certificate that is trusted, and
    /// at a port that tells nothing it need not speak TLS, as with containerd.
    fn own(registry: &str) -> Result<Self, String> {
        let name = if registry == DOCKER.0 { DOCKER.1 } else { registry };
        let mut host = Self::new(base(name, false)?, false);
        if is_local(&host.base) {
            let plain = host.base.port() == Some(HTTP);
            host.skip_verify = !plain;
            host.falls_back = !plain && host.base.port().is_some();
            if plain {
                host.base = base(&format!("http://{name}"), false)?;
            }
        }
        Ok(host)
    }

    /// Whether it may be asked for this.
    pub(crate) fn can(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }

    /// Its name, with the port where it says one.
    pub(crate) fn name(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        self.base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

/// The hosts that serve a registry, in the order in which they are asked; the registry's own is the last.
pub(crate) fn hosts(dir: &Path, registry: &str) -> Result<Vec<Host>, HostsError> {
    let own = Host::own(registry).map_err(|reason| HostsError::Invalid { path: dir.to_owned(), reason })?;
    for name in [with_underscores(registry), registry.to_owned(), DEFAULT.to_owned()] {
        let settings = dir.join(name);
        if settings.is_dir() {
            return read(&settings, own);
        }
    }
    Ok(vec![own])
}

/// `host:5000` as `host_5000_`, for file systems that know no colon.
fn with_underscores(registry: &str) -> String {
    match registry.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => format!("{host}_{port}_"),
        _ => registry.to_owned(),
    }
}

fn base(text: &str, override_path: bool) -> Result<Url, String> {
    let full = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let mut url = Url::parse(&full).map_err(|err| format!("{text:?} is no address of a host: {err}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(format!("{text:?} is no address of a host: it needs http or https, and a name"));
    }
    url.set_query(None);
    let path = url.path().trim_end_matches('/').to_owned();
    let path = if override_path || path.ends_with("/v2") { path } else { format!("{path}/v2") };
    url.set_path(&path);
    Ok(url)
}

fn is_local(base: &Url) -> bool {
    match base.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

fn read(dir: &Path, own: Host) -> Result<Vec<Host>, HostsError> {
    let path = dir.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return certificates(dir, own),
        Err(source) => return Err(HostsError::Read { path, source }),
    };
    let invalid = |reason: String| HostsError::Invalid { path: path.clone(), reason };
    let table: Table = text.parse().map_err(|err: toml::de::Error| invalid(err.to_string()))?;
    let mut found = Vec::new();
    if let Some(hosts) = table.get("host") {
        let hosts = hosts.as_table().ok_or_else(|| invalid("host is not a table".to_owned()))?;
        for (address, settings) in hosts {
            let settings = settings.as_table().ok_or_else(|| invalid(format!("host {address:?} is not a table")))?;
            let of_mirror = named(address, settings, true).and_then(|host| configure(dir, host, settings));
            found.push(of_mirror.map_err(invalid)?);
        }
    }
    let server = match table.get("server") {
        Some(server) => {
            let server = server.as_str().ok_or_else(|| invalid("server is not a text".to_owned()))?;
            named(server, &table, false).map_err(invalid)?
        }
        None => own,
    };
    found.push(configure(dir, server, &table).map_err(invalid)?);
    warn_of_unknown(&path, &table);
    Ok(found)
}

/// Other programs may know more settings; what says nothing here is no reason not to pull.
fn warn_of_unknown(path: &Path, table: &Table) {
    const KNOWN: [&str; 7] = ["capabilities", "ca", "client", "skip_verify", "header", "override_path", "dial_timeout"];
    let hosts = table.get("host").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let of_hosts = hosts.filter_map(Value::as_table).flat_map(Table::keys);
    let own = table.keys().filter(|key| !matches!(key.as_str(), "server" | "host"));
    for unknown in of_hosts.chain(own).filter(|key| !KNOWN.contains(&key.as_str())) {
        tracing::warn!(file = %path.display(), setting = unknown, "an unknown setting of a registry is passed over");
    }
}

fn flag(settings: &Table, key: &str) -> Result<Option<bool>, String> {
    let is_flag = |value: &Value| value.as_bool().ok_or_else(|| format!("{key} is neither true nor false"));
    settings.get(key).map(is_flag).transpose()
}

/// The host at an address.
fn named(address: &str, settings: &Table, mirror: bool) -> Result<Host, String> {
    Ok(Host::new(base(address, flag(settings, "override_path")?.unwrap_or_default())?, mirror))
}

fn configure(dir: &Path, mut host: Host, settings: &Table) -> Result<Host, String> {
    let skip_verify = flag(settings, "skip_verify")?;
    host.skip_verify = skip_verify.unwrap_or(host.skip_verify);
    let named = settings.get("capabilities").map(|value| texts("capabilities", value)).transpose()?;
    if let Some(named) = named.filter(|named| !named.is_empty()) {
        host.capabilities = named.iter().map(|name| capability(name)).collect::<Result<_, _>>()?;
    }
    if let Some(ca) = settings.get("ca") {
        host.ca = texts("ca", ca)?.iter().map(|path| dir.join(path)).collect();
    }
    if let Some(client) = settings.get("client") {
        host.client = pairs(dir, client)?;
    }
    if let Some(headers) = settings.get("header") {
        host.headers = header_map(headers)?;
    }
    if let Some(timeout) = settings.get("dial_timeout") {
        let timeout = timeout.as_str().and_then(|text| text.parse::<jiff::SignedDuration>().ok());
        let timeout = timeout.and_then(|timeout| Duration::try_from(timeout).ok());
        host.dial_timeout = Some(timeout.ok_or("dial_timeout is no length of time, such as \"5s\"")?);
    }
    let says_of_tls = skip_verify.is_some() || !host.ca.is_empty() || !host.client.is_empty();
    if host.base.scheme() == "http" && says_of_tls && host.base.port().is_some() {
        // Why say that of a host that does not speak TLS? It may, and is asked first.
        let _ = host.base.set_scheme("https");
        host.falls_back = true;
    }
    Ok(host)
}

fn capability(name: &str) -> Result<Capability, String> {
    match name.to_ascii_lowercase().as_str() {
        "pull" => Ok(Capability::Pull),
        "resolve" => Ok(Capability::Resolve),
        "push" => Ok(Capability::Push),
        _ => Err(format!("unknown capability {name:?}")),
    }
}

/// One text, or a list of them.
fn texts(key: &str, value: &Value) -> Result<Vec<String>, String> {
    let wrong = || format!("{key} is neither a text nor a list of texts");
    match value {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(list) => list.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect(),
        _ => Err(wrong()),
    }
}

/// A file with both certificate and key, a list of such files, or a list of pairs.
fn pairs(dir: &Path, value: &Value) -> Result<Vec<(PathBuf, Option<PathBuf>)>, String> {
    let pair = |item: &Value| match item {
        Value::String(both) => Ok((dir.join(both), None)),
        Value::Array(_) => match texts("client", item)?.as_slice() {
            [certificate] => Ok((dir.join(certificate), None)),
            [certificate, key] => Ok((dir.join(certificate), (!key.is_empty()).then(|| dir.join(key)))),
            _ => Err("client has a list that is no pair of certificate and key".to_owned()),
        },
        _ => Err("client is neither a file nor a list of files or pairs".to_owned()),
    };
    match value {
        Value::Array(list) => list.iter().map(pair).collect(),
        one => Ok(vec![pair(one)?]),
    }
}

fn header_map(value: &Value) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in value.as_table().ok_or("header is not a table")? {
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|err| format!("header {name:?}: {err}"))?;
        for text in texts(name, value)? {
            let value = HeaderValue::from_str(&text).map_err(|err| format!("header {name:?}: {err}"))?;
            headers.append(&key, value);
        }
    }
    Ok(headers)
}

/// Certificates that lie in a directory without a file of settings.
fn certificates(dir: &Path, own: Host) -> Result<Vec<Host>, HostsError> {
    let mut host = own;
    let failed = |source| HostsError::Read { path: dir.to_owned(), source };
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        files.push(entry.map_err(failed)?.path());
    }
    files.sort();
    for file in files {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => host.ca.push(file),
            Some("cert") => {
                let key = file.with_extension("key");
                host.client.push((file, Some(key)));
            }
            _ => {}
        }
    }
    Ok(vec![host])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hosts of a registry where these files are: each with the address and what it can.
    #[track_caller]
    fn check(files: &[(&str, &str)], registry: &str, expected: &[(&str, &str)]) -> Vec<Host> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        }
        let found = hosts(dir.path(), registry).expect("valid settings");
        let letters = |host: &Host| -> String {
            let all = [(Capability::Pull, 'p'), (Capability::Resolve, 'r'), (Capability::Push, 'w')];
            all.iter().filter(|(capability, _)| host.can(*capability)).map(|(_, letter)| letter).collect()
        };
        let told: Vec<(String, String)> =
            found.iter().map(|host| (host.base.as_str().to_owned(), letters(host))).collect();
        let told: Vec<(&str, &str)> = told.iter().map(|(base, can)| (base.as_str(), can.as_str())).collect();
        assert_eq!(told, expected);
        found
    }

    #[test]
    fn a_registry_without_settings_serves_itself() {
        check(&[], "docker.io", &[("https://registry-1.docker.io/v2", "prw")]);
        check(&[], "10.0.0.1:5000", &[("https://10.0.0.1:5000/v2", "prw")]);
        check(&[], "localhost.example.org", &[("https://localhost.example.org/v2", "prw")]);
        for (local, falls_back) in
            [("localhost", false), ("localhost:5000", true), ("127.0.0.1:5000", true), ("[::1]:5000", true)]
        {
            let found = check(&[], local, &[(&format!("https://{local}/v2"), "prw")]);
            assert_eq!((found[0].skip_verify, found[0].falls_back), (true, falls_back), "{local}");
        }
        let found = check(&[], "localhost:80", &[("http://localhost/v2", "prw")]);
        assert!(!found[0].skip_verify && !found[0].falls_back);
    }

    #[test]
    fn mirrors_come_first_and_in_their_order() {
        let text = r#"
            server = "https://r.example"
            [host."https://z.example"]
              capabilities = ["pull"]
            [host."http://a.example:5000/proxy/v2"]
              capabilities = ["Pull", "resolve"]
              skip_verify = true
              dial_timeout = "3s"
              [host."http://a.example:5000/proxy/v2".header]
                x-one = "1"
                x-two = ["2", "3"]
            [host."https://b.example/root"]
              override_path = true
        "#;
        let expected = [
            ("https://z.example/v2", "p"),
            ("https://a.example:5000/proxy/v2", "pr"),
            ("https://b.example/root", "prw"),
            ("https://r.example/v2", "prw"),
        ];
        let found = check(&[("r.io_5000_/hosts.toml", text), ("_default/hosts.toml", "")], "r.io:5000", &expected);
        assert_eq!(found.iter().map(|host| host.mirror).collect::<Vec<_>>(), [true, true, true, false]);
        assert!(found[1].skip_verify && !found[0].skip_verify);
        assert_eq!(found.iter().map(|host| host.falls_back).collect::<Vec<_>>(), [false, true, false, false]);
        assert_eq!((found[1].headers.len(), found[1].dial_timeout), (3, Some(Duration::from_secs(3))));
        assert_eq!(found[1].name(), "a.example:5000");
    }

    #[test]
    fn the_default_stands_for_others_and_certificates_for_themselves() {
        let default = (
            "_default/hosts.toml",
            "[host.\"https://m.example\"]\nca = \"ca.pem\"\nclient = [[\"c\", \"k\"], \"both\"]\n",
        );
        let both = [("https://m.example/v2", "prw"), ("https://quay.io/v2", "prw")];
        let found = check(&[default], "quay.io", &both);
        assert!(found[0].ca[0].ends_with("_default/ca.pem"));
        assert_eq!(found[0].client.iter().map(|(_, key)| key.is_some()).collect::<Vec<_>>(), [true, false]);
        let files = [("quay.io/ca.crt", ""), ("quay.io/me.cert", ""), ("quay.io/me.key", ""), default];
        let found = check(&files, "quay.io", &both[1..]);
        assert_eq!((found[0].ca.len(), found[0].client.len()), (1, 1));
    }

    #[test]
    fn settings_of_other_programs_are_passed_over() {
        let text = "later = 1\n[host.\"https://m.example\"]\nrewrite = {a = \"b\"}\n";
        check(&[("r.io/hosts.toml", text)], "r.io", &[("https://m.example/v2", "prw"), ("https://r.io/v2", "prw")]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join("r.io")).expect("made");
        for wrong in ["x", "server = 1", "capabilities = [\"fly\"]", "[host]\na = 1", "ca = 1", "server = \"ftp://x\""]
        {
            fs::write(dir.path().join("r.io/hosts.toml"), wrong).expect("written");
            let err = hosts(dir.path(), "r.io").expect_err(wrong);
            assert!(err.to_string().contains("r.io/hosts.toml"), "{err}");
        }
    }
}
