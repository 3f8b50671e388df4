//! `skiff scheduler`: the scheduler alone.

use anyhow::Result;
use base::Env;

use crate::assembly;
use crate::assembly::control_plane;
use crate::options::components::Scheduler;
use crate::supervise::Parts;

/// Runs it.
pub async fn run(options: Scheduler) -> Result<()> {
    let (env, mut parts) = (Env::system(), Parts::new());
    let (_, informers) = assembly::connect_alone(&mut parts, "kube-scheduler", &options.connection, &env).await?;
    let identity = assembly::identity(options.election.leader_elect_identity.as_deref(), &env)?;
    control_plane::start_scheduler(&mut parts, identity, informers);
    parts.run().await
}
