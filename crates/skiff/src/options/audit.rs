//! What the API server keeps of requests.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use apiserver::{AuditFormat, AuditLog};
use clap::{ArgAction, Args};

/// The audit log.
#[derive(Args, Clone, Debug)]
pub struct Audit {
    /// The audit Policy: how much is kept of which request
    #[arg(long, env = "SKIFF_AUDIT_POLICY_FILE", value_name = "FILE")]
    pub audit_policy_file: Option<PathBuf>,
    /// Where audit events are written; `-` is standard output
    #[arg(long, env = "SKIFF_AUDIT_LOG_PATH", value_name = "FILE")]
    pub audit_log_path: Option<PathBuf>,
    /// Days for which old audit logs are kept; 0 keeps them for ever
    #[arg(long, env = "SKIFF_AUDIT_LOG_MAXAGE", default_value_t = 366, value_name = "DAYS")]
    pub audit_log_maxage: u32,
    /// How many old audit logs are kept; 0 keeps all
    #[arg(long, env = "SKIFF_AUDIT_LOG_MAXBACKUP", default_value_t = 100, value_name = "NUMBER")]
    pub audit_log_maxbackup: usize,
    /// Megabytes after which the audit log is rotated
    #[arg(long, env = "SKIFF_AUDIT_LOG_MAXSIZE", default_value_t = 100, value_name = "MEGABYTES")]
    pub audit_log_maxsize: u32,
    /// Compress old audit logs
    #[arg(long, env = "SKIFF_AUDIT_LOG_COMPRESS", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", default_value = "false", value_name = "BOOL")]
    pub audit_log_compress: bool,
    /// How audit events are written: json or legacy
    #[arg(long, env = "SKIFF_AUDIT_LOG_FORMAT", default_value = "json", value_name = "FORMAT")]
    pub audit_log_format: AuditFormat,
}

impl Audit {
    /// Writes the options into the configuration of an API server.
    pub fn apply(&self, config: &mut apiserver::Config) -> Result<()> {
        let (policy, path) = match (&self.audit_policy_file, &self.audit_log_path) {
            (None, None) => return Ok(()),
            (Some(policy), Some(path)) => (policy, path),
            (None, Some(_)) => bail!("--audit-log-path needs --audit-policy-file: without a policy nothing is kept"),
            (Some(_), None) => bail!("--audit-policy-file needs --audit-log-path"),
        };
        let text = std::fs::read_to_string(policy);
        let text = text.with_context(|| format!("cannot read --audit-policy-file {}", policy.display()))?;
        let log = AuditLog {
            path: path.clone(),
            // Upstream's default where it is 0.
            max_size: u64::from(if self.audit_log_maxsize == 0 { 100 } else { self.audit_log_maxsize }) * 1024 * 1024,
            max_backups: self.audit_log_maxbackup,
            max_age: Duration::from_secs(u64::from(self.audit_log_maxage) * 24 * 3600),
            compress: self.audit_log_compress,
            format: self.audit_log_format,
        };
        config.audit = Some((text.parse().context("--audit-policy-file")?, log));
        Ok(())
    }
}
