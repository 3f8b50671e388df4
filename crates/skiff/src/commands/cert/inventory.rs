//! The certificates that are on this machine.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine;
use jiff::Timestamp;
use kube::config::Kubeconfig;
use pki::CertificateInfo;

use crate::commands::table;

/// What the file names of certificates end with, and those of an authority's that only complete a chain.
const END: &str = ".crt";
const CROSS_END: &str = ".cross.crt";

/// A file with certificates.
pub struct Found {
    pub name: String,
    pub file: PathBuf,
    /// What the file says.
    pub text: String,
    /// The one that counts; of an authority, those that it succeeded behind it.
    pub certificates: Vec<CertificateInfo>,
}

impl Found {
    pub fn is_authority(&self) -> bool {
        self.certificates.first().is_some_and(|certificate| certificate.is_authority)
    }
}

/// The certificates in some directories, and in kubeconfigs that are there.
pub fn find(dirs: &[PathBuf], kubeconfigs: &[PathBuf]) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut kubeconfigs = kubeconfigs.to_vec();
    for dir in dirs.iter().filter(|dir| dir.is_dir()) {
        let entries = std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
        let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        files.sort();
        for file in files {
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            match name.strip_suffix(END) {
                Some(stem) if !name.ends_with(CROSS_END) => found.push(read(stem, &file)?),
                _ if name.ends_with(".kubeconfig") => kubeconfigs.push(file),
                _ => {}
            }
        }
    }
    for file in kubeconfigs.into_iter().filter(|file| file.exists()) {
        let context = || format!("cannot read {}", file.display());
        let Some(text) = client_certificate(&Kubeconfig::read_from(&file).with_context(context)?) else { continue };
        let certificates = pki::inspect(&text).with_context(context)?;
        found.push(Found { name: "kubeconfig".to_owned(), file, text, certificates });
    }
    Ok(found)
}

fn read(name: &str, file: &Path) -> Result<Found> {
    let context = || format!("cannot read {}", file.display());
    let text = std::fs::read_to_string(file).with_context(context)?;
    let certificates = pki::inspect(&text).with_context(context)?;
    Ok(Found { name: name.to_owned(), file: file.to_owned(), text, certificates })
}

/// The client certificate that a kubeconfig holds, PEM.
pub fn client_certificate(kubeconfig: &Kubeconfig) -> Option<String> {
    let user = kubeconfig.auth_infos.first()?.auth_info.as_ref()?;
    let bytes = base64::prelude::BASE64_STANDARD.decode(user.client_certificate_data.as_ref()?).ok()?;
    String::from_utf8(bytes).ok()
}

/// What they are, whose, and when they end.
pub fn table(found: &[Found], now: Timestamp) -> String {
    let head = ["NAME", "KIND", "SUBJECT", "EXPIRES", "DAYS LEFT", "FILE"].map(str::to_owned);
    let rows: Vec<[String; 6]> = [head].into_iter().chain(found.iter().flat_map(|found| rows(found, now))).collect();
    table::aligned(&rows)
}

fn rows(found: &Found, now: Timestamp) -> Vec<[String; 6]> {
    // Behind a leaf come those that lead to its authority, which has a row of its own.
    let count = if found.is_authority() { found.certificates.len() } else { 1 };
    let row = |(index, certificate): (usize, &CertificateInfo)| {
        let kind = match (certificate.is_authority, certificate.is_server, certificate.is_client) {
            (true, ..) if index > 0 => "earlier authority",
            (true, ..) => "authority",
            (_, true, _) => "server",
            (_, _, true) => "client",
            _ => "other",
        };
        let groups = certificate.organizations.iter().map(|group| format!(" O={group}"));
        let left = certificate.not_after.duration_since(now).as_hours() / 24;
        [
            found.name.clone(),
            kind.to_owned(),
            format!("CN={}{}", certificate.common_name, groups.collect::<String>()),
            certificate.not_after.to_string(),
            if certificate.not_after <= now { "expired".to_owned() } else { left.to_string() },
            found.file.display().to_string(),
        ]
    };
    found.certificates.iter().take(count).enumerate().map(row).collect()
}
