//! `skiff apiserver`: the API server alone, over the embedded datastore.

use anyhow::Result;
use base::Env;

use crate::assembly::control_plane::{self, ApiServerOptions};
use crate::options::components::Apiserver;
use crate::supervise::Parts;
use crate::{layout, options};

/// Runs it.
pub async fn run(options: Apiserver) -> Result<()> {
    let (env, instance) = (Env::system(), options.common.instance());
    let mut config = apiserver::Config::new(layout::pki_dir(&instance));
    config.bind_address = options.bind_address;
    config.secure_port = options.secure_port;
    config.advertise_address = options.advertise_address;
    config.tls_sans.clone_from(&options.tls_san);
    config.service_cluster_ip_range =
        options::networks("--service-cluster-ip-range", &options.service_cluster_ip_range)?;
    let ports = options.service_node_port_range;
    config.service_node_port_range = ports.first..=ports.last;
    options.access.apply(&mut config, &options.cluster_domain)?;
    options.api.apply(&mut config)?;

    let mut parts = Parts::new();
    let token = options::secret(options.token.as_deref(), options.token_file.as_deref())?;
    let start = ApiServerOptions {
        instance: &instance,
        token: token.as_deref(),
        encryption: &options.api.encryption,
        kubeconfig: &options.common.write_kubeconfig,
    };
    control_plane::prepare_apiserver(config, start, &env).await?.start(&mut parts);
    parts.run().await
}
