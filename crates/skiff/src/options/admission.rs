//! Which admission plugins are on.

use std::path::PathBuf;

use anyhow::{Context, Result};
use apiserver::AdmissionPlugins;
use clap::Args;

/// Which admission plugins are on.
#[derive(Args, Clone, Debug)]
pub struct Admission {
    /// Admission plugins to turn on beside those that are on by default, such as AlwaysPullImages (may be repeated)
    #[arg(long, env = "SKIFF_ENABLE_ADMISSION_PLUGINS", value_delimiter = ',', value_name = "NAME")]
    pub enable_admission_plugins: Vec<String>,
    /// Admission plugins to turn off that are on by default (may be repeated)
    #[arg(long, env = "SKIFF_DISABLE_ADMISSION_PLUGINS", value_delimiter = ',', value_name = "NAME")]
    pub disable_admission_plugins: Vec<String>,
    /// AdmissionConfiguration of plugins: PodSecurity, EventRateLimit, PodTolerationRestriction and PodNodeSelector take one
    #[arg(long, env = "SKIFF_ADMISSION_CONTROL_CONFIG_FILE", value_name = "FILE")]
    pub admission_control_config_file: Option<PathBuf>,
}

impl Admission {
    /// Writes the options into the configuration of an API server.
    pub fn apply(&self, config: &mut apiserver::Config) -> Result<()> {
        let plugins = AdmissionPlugins::new(&self.enable_admission_plugins, &self.disable_admission_plugins);
        config.admission_plugins = plugins.context("--enable-admission-plugins and --disable-admission-plugins")?;
        if let Some(file) = &self.admission_control_config_file {
            let found = apiserver::load_admission_configuration(file).context("--admission-control-config-file")?;
            config.admission = found;
        }
        config.admission.check(&config.admission_plugins)?;
        Ok(())
    }
}
