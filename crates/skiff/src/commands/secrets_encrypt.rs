//! `skiff secrets-encrypt`: under which keys objects are stored, and other keys for them.
//!
//! The configuration is a file of the server's machine, which the server follows; what is stored is the server's
//! business. So this command changes the file, asks the server what it uses and has stored, and has it write objects
//! anew. It may end at any moment: each change of the file leaves every stored value readable, and doing the same again
//! goes on.

mod file;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base::Env;
use client::discovery;
use encryption::{KeyName, Report, ResourceReport};
use kube::Client;

use super::table::aligned;
use crate::options::user::{EncryptionKeys, SecretsEncrypt, SecretsEncryptAction};
use file::File;

/// How long the server may take to use a changed file.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);

/// How often everything is stored anew before it counts as impossible: others write meanwhile.
const PASSES: usize = 5;

/// Where the keys are, and the server that uses them.
struct Keys {
    file: File,
    client: Client,
    env: Env,
    /// Told what is done.
    say: fn(&str),
}

/// Does what is said.
pub async fn run(options: SecretsEncrypt) -> Result<()> {
    match options.action {
        SecretsEncryptAction::Status(options) => {
            print!("{}", Keys::reach(options).await?.status().await?);
            Ok(())
        }
        SecretsEncryptAction::Rotate(options) => Keys::reach(options).await?.rotate().await,
        SecretsEncryptAction::Reencrypt { keys, prune } => {
            let keys = Keys::reach(keys).await?;
            keys.reencrypt().await?;
            if prune { keys.prune().await } else { Ok(()) }
        }
    }
}

impl Keys {
    async fn reach(options: EncryptionKeys) -> Result<Self> {
        let file = File::new(&options.installation, options.encryption_provider_config);
        let client = super::reach(options.reach).await?;
        Ok(Self { file, client, env: Env::system(), say: |line| println!("{line}") })
    }

    fn say(&self, line: &str) {
        (self.say)(line);
    }

    /// What the server uses and has stored.
    async fn report(&self) -> Result<Report> {
        let request = http::Request::get("/debug/encryption").body(Vec::new())?;
        self.client.request(request).await.context("cannot ask the API server what is stored under which keys")
    }

    async fn status(&self) -> Result<String> {
        let report = self.report().await?;
        let use_of_file = match self.file.hash() {
            Ok(hash) if hash == report.config_hash => "in use",
            Ok(_) => "not in use: the server has another configuration",
            Err(_) => "not on this machine",
        };
        let mut text = format!("{}: {use_of_file}\n\n", self.file.path().display());
        let mut rows = vec![["RESOURCE", "KEY", "USE", "OBJECTS"].map(str::to_owned)];
        rows.extend(report.resources.iter().flat_map(rows_of));
        text += &aligned(&rows);
        let stale: usize = report.resources.iter().map(ResourceReport::stale).sum();
        if stale > 0 {
            text += &format!(
                "\n{stale} objects are not stored under the key that writes: skiff secrets-encrypt reencrypt\n"
            );
        }
        Ok(text)
    }

    /// Gives the server new keys, and has it use them for everything.
    async fn rotate(&self) -> Result<()> {
        let (mut configuration, report) = self.in_use().await?;
        if !configuration.is_prepared() {
            let used = used(&report);
            for key in configuration.forget(|key| used.contains(key)) {
                self.say(&format!("{key} is dropped: nothing is stored under it"));
            }
        }
        let prepared = configuration.prepare(&self.env);
        if prepared.is_empty() {
            bail!(
                "no key in {} writes: where a key management plugin encrypts, rotate its key and then run `skiff \
                 secrets-encrypt reencrypt`",
                self.file.path().display()
            );
        }
        self.put(&configuration).await?;
        for key in &prepared {
            self.say(&format!("{key} is known to the server"));
        }
        configuration.promote();
        self.put(&configuration).await?;
        for key in &prepared {
            self.say(&format!("{key} writes from now on"));
        }
        self.reencrypt().await
    }

    /// Has the server store anew what it would store under another key now.
    async fn reencrypt(&self) -> Result<()> {
        let offered = discovery::discover(&self.client).await.context("cannot ask what the API server offers")?;
        for _ in 0..PASSES {
            let report = self.report().await?;
            let stale: Vec<&ResourceReport> = report.resources.iter().filter(|of| of.stale() > 0).collect();
            if stale.is_empty() {
                self.say("everything is stored under the key that writes");
                return Ok(());
            }
            for of in stale {
                let name = name(of);
                let found = offered
                    .resources
                    .iter()
                    .find(|offered| offered.resource.group == of.group && offered.resource.plural == of.resource);
                let Some(found) = found else {
                    bail!(
                        "{} objects of {name} are stored under earlier keys, and the server does not serve it",
                        of.stale()
                    );
                };
                let total: usize = of.stored.iter().map(|stored| stored.objects).sum();
                let done = |count: usize| self.say(&format!("{name}: {count} of {total} looked at"));
                controllers::migrate(&self.client, found, &self.env, done).await?;
            }
        }
        bail!("objects are still stored under earlier keys: see `skiff secrets-encrypt status`")
    }

    /// Drops the keys that nothing is stored under.
    async fn prune(&self) -> Result<()> {
        let (mut configuration, report) = self.in_use().await?;
        let used = used(&report);
        let dropped = configuration.forget(|key| used.contains(key));
        if dropped.is_empty() {
            return Ok(());
        }
        self.put(&configuration).await?;
        for key in dropped {
            self.say(&format!("{key} is dropped: nothing is stored under it"));
        }
        Ok(())
    }

    /// The configuration in the file, which must be the one that the server uses.
    async fn in_use(&self) -> Result<(encryption::EncryptionConfiguration, Report)> {
        let (configuration, hash) = self.file.read()?;
        Ok((configuration, self.taken_up(&hash).await?))
    }

    /// Writes the file, and waits until the server uses it.
    async fn put(&self, configuration: &encryption::EncryptionConfiguration) -> Result<()> {
        let hash = self.file.write(configuration)?;
        self.taken_up(&hash).await.map(drop)
    }

    async fn taken_up(&self, hash: &str) -> Result<Report> {
        let deadline = self.env.instant() + PATIENCE;
        loop {
            let report = self.report().await?;
            if report.config_hash == hash {
                return Ok(report);
            }
            if self.env.instant() >= deadline {
                bail!(
                    "the server does not use {}: is it the one of this machine, with \
                     --encryption-provider-config-automatic-reload, and does it say in its log what is wrong?",
                    self.file.path().display()
                );
            }
            self.env.sleep(PAUSE).await;
        }
    }
}

/// The keys under which something is stored.
fn used(report: &Report) -> BTreeSet<KeyName> {
    report.resources.iter().flat_map(|of| of.stored.iter().map(|stored| stored.key.clone())).collect()
}

fn name(of: &ResourceReport) -> String {
    if of.group.is_empty() { of.resource.clone() } else { format!("{}.{}", of.resource, of.group) }
}

/// A row for each key of a resource, and for each under which something is stored.
fn rows_of(of: &ResourceReport) -> Vec<[String; 4]> {
    let count = |key: &KeyName| of.stored.iter().find(|stored| stored.key == *key).map_or(0, |stored| stored.objects);
    let row = |key: &KeyName, does: &str| [name(of), key.to_string(), does.to_owned(), count(key).to_string()];
    let own = of.keys.iter().enumerate().map(|(number, key)| row(key, if number == 0 { "writes" } else { "reads" }));
    let others = of.stored.iter().filter(|stored| !of.keys.contains(&stored.key));
    // Of a plugin one key is named, and all that it has are read.
    let others = others.map(|stored| match of.keys.iter().any(|key| key.provider == stored.key.provider) {
        true if stored.key.provider.starts_with("kms:") => row(&stored.key, "reads"),
        _ => row(&stored.key, "missing"),
    });
    own.chain(others).collect()
}
