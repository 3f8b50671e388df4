//! `skiff controller-manager`: the controllers alone.

use std::time::Duration;

use anyhow::{Context, Result};
use base::Env;
use client::{Accounts, RemoteAccounts};
use pki::jwt::SigningKey;
use pki::{Authorities, FollowedFile};

use crate::assembly::control_plane::{self, ControllerOptions};
use crate::options::components::ControllerManager;
use crate::supervise::Parts;
use crate::{assembly, layout};

/// Runs it.
pub async fn run(options: ControllerManager) -> Result<()> {
    let (env, mut parts) = (Env::system(), Parts::new());
    let (client, informers) =
        assembly::connect_alone(&mut parts, "kube-controller-manager", &options.connection, &env).await?;
    let pki_dir = layout::pki_dir(&options.common.instance());
    let root_ca = options.root_ca_file.unwrap_or_else(|| pki_dir.join("ca.crt"));
    let root_ca = FollowedFile::read(&root_ca).context("--root-ca-file names another")?;
    let published = root_ca.subscribe();
    parts.spawn_endless("root CA file", root_ca.run(env.clone(), parts.drain()));
    // Beside an API server on one machine the authorities are there; elsewhere another replica signs.
    let authorities = if Authorities::are_in(&pki_dir) {
        let authorities = Authorities::load_or_create(&pki_dir, &env)?;
        for authority in authorities.all() {
            parts.spawn_endless("certificate authority", authority.clone().run(parts.drain()));
        }
        Some(authorities)
    } else {
        None
    };
    let beside = Some(pki_dir.join("sa.key")).filter(|path| path.exists());
    let signing_key = options.service_account_private_key_file.or(beside);
    let controllers = ControllerOptions {
        identity: assembly::identity(options.election.leader_elect_identity.as_deref(), &env)?,
        cluster_cidr: options.pods.networks()?,
        root_ca: published,
        node_monitor_grace_period: Duration::from_secs(options.node_monitor_grace_period),
        authorities,
        signing_key: signing_key.map(|path| SigningKey::load(&path)).transpose()?,
        legacy_token_clean_up_period: options.legacy_tokens.legacy_service_account_token_clean_up_period,
    };
    let reached = client::connect_anonymously(options.connection.kubeconfig, "kube-controller-manager", &env).await?;
    let accounts = RemoteAccounts::new(client.clone(), reached, control_plane::ACCOUNTS, env);
    let accounts = Accounts::Remote(Box::new(accounts));
    control_plane::start_controllers(&mut parts, controllers, client, accounts, informers)?;
    parts.run().await
}
