//! How many requests the API server serves at once, and for how long.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{ArgAction, Args};

/// Bounds of requests.
#[derive(Args, Clone, Debug)]
pub struct RequestLimits {
    /// Share the limits on requests out by priority levels and flow schemas
    #[arg(long, env = "SKIFF_ENABLE_PRIORITY_AND_FAIRNESS", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", default_value = "true", value_name = "BOOL")]
    pub enable_priority_and_fairness: bool,
    /// How many requests that only read are served at once; with priority and fairness, the sum of this and the next
    /// is how many seats there are
    #[arg(long, env = "SKIFF_MAX_REQUESTS_INFLIGHT", default_value_t = 400, value_name = "NUMBER")]
    pub max_requests_inflight: u32,
    /// How many other requests are served at once
    #[arg(long, env = "SKIFF_MAX_MUTATING_REQUESTS_INFLIGHT", default_value_t = 200, value_name = "NUMBER")]
    pub max_mutating_requests_inflight: u32,
    /// How long a request that is no watch or connection may take
    #[arg(long, env = "SKIFF_REQUEST_TIMEOUT", default_value = "1m", value_parser = super::duration, value_name = "DURATION")]
    pub request_timeout: Duration,
    /// How many requests one HTTP/2 connection may have open at once
    #[arg(long = "http2-max-streams-per-connection", env = "SKIFF_HTTP2_MAX_STREAMS_PER_CONNECTION", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..), value_name = "NUMBER")]
    pub http2_max_streams_per_connection: u32,
}

impl RequestLimits {
    /// Writes the options into the configuration of an API server.
    pub fn apply(&self, config: &mut apiserver::Config) -> Result<()> {
        config.priority_and_fairness = self.enable_priority_and_fairness;
        config.max_requests_in_flight = self.max_requests_inflight;
        config.max_mutating_requests_in_flight = self.max_mutating_requests_inflight;
        config.request_timeout = self.request_timeout;
        config.connections.streams = self.http2_max_streams_per_connection;
        let seats = self.max_requests_inflight.checked_add(self.max_mutating_requests_inflight);
        ensure!(
            !self.enable_priority_and_fairness || seats.is_some_and(|seats| seats > 0),
            "--max-requests-inflight and --max-mutating-requests-inflight leave no seat to be shared out"
        );
        Ok(())
    }
}
