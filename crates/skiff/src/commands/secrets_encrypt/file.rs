//! The file with the keys.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use encryption::EncryptionConfiguration;

use crate::layout;
use crate::options::user::Installation;

/// The server's EncryptionConfiguration.
pub(super) struct File(PathBuf);

impl File {
    /// The one that is named, or the installation's own.
    pub(super) fn new(installation: &Installation, named: Option<PathBuf>) -> Self {
        Self::at(named.unwrap_or_else(|| layout::encryption_file(&installation.instance())))
    }

    pub(super) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    fn text(&self) -> Result<String> {
        std::fs::read_to_string(&self.0).with_context(|| {
            format!("cannot read {}: keys are changed on the server's machine; name its --data-dir", self.0.display())
        })
    }

    /// What the file is known by where it is in use.
    pub(super) fn hash(&self) -> Result<String> {
        Ok(EncryptionConfiguration::hash(&self.text()?))
    }

    /// What it says, and its hash.
    pub(super) fn read(&self) -> Result<(EncryptionConfiguration, String)> {
        let text = self.text()?;
        let configuration = EncryptionConfiguration::parse(&text).with_context(|| self.0.display().to_string())?;
        Ok((configuration, EncryptionConfiguration::hash(&text)))
    }

    /// Replaces it at once or not at all; its hash.
    pub(super) fn write(&self, configuration: &EncryptionConfiguration) -> Result<String> {
        let text = configuration.to_json();
        pki::write_private(&self.0, &text)?;
        Ok(EncryptionConfiguration::hash(&text))
    }
}
