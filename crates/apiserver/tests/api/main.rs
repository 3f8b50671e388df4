//! The API server from outside: through the service for clients in this process, and across TLS.

mod access;
mod aggregation;
mod attacks;
mod audit;
mod behaviour;
mod content_types;
mod conversion;
mod credentials;
mod custom;
mod documents;
mod encryption;
mod fairness;
mod hooks;
mod metrics;
mod mutating_policies;
mod plugins;
mod pod_security;
mod policies;
mod proxy;
mod quotas;
mod reads;
mod rules;
mod subresources;
mod support;
mod webhooks;
mod wire;
