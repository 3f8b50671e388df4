//! What the API server keeps of requests.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use apiserver::{AuditConfig, AuditFormat, AuditLog, AuditWebhook, Truncation};
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
    #[command(flatten)]
    pub webhook: Webhook,
}

/// The server that events are sent to.
#[derive(Args, Clone, Debug)]
pub struct Webhook {
    /// Kubeconfig that names the server that audit events are sent to
    #[arg(long, env = "SKIFF_AUDIT_WEBHOOK_CONFIG_FILE", value_name = "FILE")]
    pub audit_webhook_config_file: Option<PathBuf>,
    /// How audit events are sent: batch, many at a time and without holding up requests
    #[arg(long, env = "SKIFF_AUDIT_WEBHOOK_MODE", default_value = "batch", value_parser = ["batch"], value_name = "MODE")]
    pub audit_webhook_mode: String,
    /// The first pause before audit events that could not be sent are sent again
    #[arg(long, env = "SKIFF_AUDIT_WEBHOOK_INITIAL_BACKOFF", default_value = "10s", value_parser = super::duration, value_name = "DURATION")]
    pub audit_webhook_initial_backoff: Duration,
    /// How many audit events wait to be sent; what does not fit is lost
    #[arg(long, env = "SKIFF_AUDIT_WEBHOOK_BATCH_BUFFER_SIZE", default_value_t = 10_000, value_name = "NUMBER")]
    pub audit_webhook_batch_buffer_size: usize,
    /// How many audit events are sent at once
    #[arg(long, env = "SKIFF_AUDIT_WEBHOOK_BATCH_MAX_SIZE", default_value_t = 400, value_name = "NUMBER")]
    pub audit_webhook_batch_max_size: usize,
    /// How long an audit event waits for others
    #[arg(long, env = "SKIFF_AUDIT_WEBHOOK_BATCH_MAX_WAIT", default_value = "30s", value_parser = super::duration, value_name = "DURATION")]
    pub audit_webhook_batch_max_wait: Duration,
    /// Bound how often audit events are sent
    #[arg(long, env = "SKIFF_AUDIT_WEBHOOK_BATCH_THROTTLE_ENABLE", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", default_value = "true", value_name = "BOOL")]
    pub audit_webhook_batch_throttle_enable: bool,
    /// How many batches of audit events are sent a second
    #[arg(long, env = "SKIFF_AUDIT_WEBHOOK_BATCH_THROTTLE_QPS", default_value_t = 10.0, value_name = "NUMBER")]
    pub audit_webhook_batch_throttle_qps: f64,
    /// How many batches of audit events are sent one after the other if none was for a while
    #[arg(long, env = "SKIFF_AUDIT_WEBHOOK_BATCH_THROTTLE_BURST", default_value_t = 15, value_name = "NUMBER")]
    pub audit_webhook_batch_throttle_burst: u32,
    /// Bound the size of what is sent: of large audit events the bodies are left out
    #[arg(long, env = "SKIFF_AUDIT_WEBHOOK_TRUNCATE_ENABLED", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", default_value = "false", value_name = "BOOL")]
    pub audit_webhook_truncate_enabled: bool,
    /// Bytes of the largest audit event that is sent
    #[arg(long, env = "SKIFF_AUDIT_WEBHOOK_TRUNCATE_MAX_EVENT_SIZE", default_value_t = 102_400, value_name = "BYTES")]
    pub audit_webhook_truncate_max_event_size: usize,
    /// Bytes of audit events that are sent at once
    #[arg(
        long,
        env = "SKIFF_AUDIT_WEBHOOK_TRUNCATE_MAX_BATCH_SIZE",
        default_value_t = 10_485_760,
        value_name = "BYTES"
    )]
    pub audit_webhook_truncate_max_batch_size: usize,
}

impl Webhook {
    fn read(&self) -> Result<Option<AuditWebhook>> {
        let Some(config_file) = self.audit_webhook_config_file.clone() else { return Ok(None) };
        ensure!(self.audit_webhook_batch_buffer_size > 0, "--audit-webhook-batch-buffer-size must be greater than 0");
        ensure!(self.audit_webhook_batch_max_size > 0, "--audit-webhook-batch-max-size must be greater than 0");
        let (per_second, burst) = (self.audit_webhook_batch_throttle_qps, self.audit_webhook_batch_throttle_burst);
        let is_throttled = self.audit_webhook_batch_throttle_enable;
        ensure!(!is_throttled || per_second > 0.0, "--audit-webhook-batch-throttle-qps must be greater than 0");
        ensure!(!is_throttled || burst > 0, "--audit-webhook-batch-throttle-burst must be greater than 0");
        let bounds = Truncation {
            max_event_size: self.audit_webhook_truncate_max_event_size,
            max_batch_size: self.audit_webhook_truncate_max_batch_size,
        };
        ensure!(
            bounds.max_batch_size >= bounds.max_event_size,
            "--audit-webhook-truncate-max-event-size must not be greater than --audit-webhook-truncate-max-batch-size"
        );
        Ok(Some(AuditWebhook {
            config_file,
            initial_backoff: self.audit_webhook_initial_backoff,
            buffer_size: self.audit_webhook_batch_buffer_size,
            batch_max_size: self.audit_webhook_batch_max_size,
            batch_max_wait: self.audit_webhook_batch_max_wait,
            throttle: is_throttled.then_some((per_second, burst)),
            truncate: self.audit_webhook_truncate_enabled.then_some(bounds),
        }))
    }
}

impl Audit {
    /// Writes the options into the configuration of an API server.
    pub fn apply(&self, config: &mut apiserver::Config) -> Result<()> {
        let webhook = self.webhook.read()?;
        let has_outlet = self.audit_log_path.is_some() || webhook.is_some();
        let policy = match &self.audit_policy_file {
            None if !has_outlet => return Ok(()),
            Some(policy) if has_outlet => policy,
            None => bail!("audit events need --audit-policy-file: without a policy nothing is kept"),
            Some(_) => bail!("--audit-policy-file needs --audit-log-path or --audit-webhook-config-file"),
        };
        let text = std::fs::read_to_string(policy);
        let text = text.with_context(|| format!("cannot read --audit-policy-file {}", policy.display()))?;
        let log = self.audit_log_path.clone().map(|path| AuditLog {
            path,
            // Upstream's default where it is 0.
            max_size: u64::from(if self.audit_log_maxsize == 0 { 100 } else { self.audit_log_maxsize }) * 1024 * 1024,
            max_backups: self.audit_log_maxbackup,
            max_age: Duration::from_secs(u64::from(self.audit_log_maxage) * 24 * 3600),
            compress: self.audit_log_compress,
            format: self.audit_log_format,
        });
        config.audit = Some(AuditConfig { policy: text.parse().context("--audit-policy-file")?, log, webhook });
        Ok(())
    }
}
