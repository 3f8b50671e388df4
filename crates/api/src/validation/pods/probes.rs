//! Probes, lifecycle hooks and the actions of both.

use k8s_openapi::api::core::v1::{
    Container, ExecAction, GRPCAction, HTTPGetAction, LifecycleHandler, Probe, SleepAction, TCPSocketAction,
};

use super::containers::Context;
use crate::field::{ErrorList, FieldError, Path};
use crate::validation::{check, names};

/// Judges the probes and hooks of a container.
pub(super) fn container(container: &Container, context: &Context<'_>, path: &Path, errors: &mut ErrorList) {
    if let Some(lifecycle) = &container.lifecycle {
        let path = path.child("lifecycle");
        let hooks = [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)];
        for (name, hook) in hooks {
            if let Some(hook) = hook {
                Actions::of_hook(hook).judge(context.grace_period, &path.child(name), errors);
            }
        }
    }
    let once = |probe: &Probe, path: &Path, errors: &mut ErrorList| {
        if let Some(threshold) = probe.success_threshold.filter(|threshold| *threshold != 1) {
            errors.push(FieldError::invalid(&path.child("successThreshold"), threshold, "must be 1"));
        }
    };
    for (name, found) in [("livenessProbe", &container.liveness_probe), ("startupProbe", &container.startup_probe)] {
        if let Some(found) = found {
            let path = path.child(name);
            probe(found, context, &path, errors);
            once(found, &path, errors);
        }
    }
    if let Some(found) = &container.readiness_probe {
        let path = path.child("readinessProbe");
        probe(found, context, &path, errors);
        if let Some(seconds) = found.termination_grace_period_seconds {
            let path = path.child("terminationGracePeriodSeconds");
            errors.push(FieldError::invalid(&path, seconds, "must not be set for readinessProbes"));
        }
    }
}

fn probe(probe: &Probe, context: &Context<'_>, path: &Path, errors: &mut ErrorList) {
    Actions::of_probe(probe).judge(context.grace_period, path, errors);
    for (field, value) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        check::optional_non_negative(errors, &path.child(field), value);
    }
    if let Some(seconds) = probe.termination_grace_period_seconds.filter(|seconds| *seconds <= 0) {
        let path = path.child("terminationGracePeriodSeconds");
        errors.push(FieldError::invalid(&path, seconds, "must be greater than 0"));
    }
}

/// What a probe or hook does; exactly one must be set.
struct Actions<'a> {
    exec: Option<&'a ExecAction>,
    http_get: Option<&'a HTTPGetAction>,
    tcp_socket: Option<&'a TCPSocketAction>,
    grpc: Option<&'a GRPCAction>,
    sleep: Option<&'a SleepAction>,
}

impl<'a> Actions<'a> {
    fn of_probe(probe: &'a Probe) -> Self {
        Self {
            exec: probe.exec.as_ref(),
            http_get: probe.http_get.as_ref(),
            tcp_socket: probe.tcp_socket.as_ref(),
            grpc: probe.grpc.as_ref(),
            sleep: None,
        }
    }

    fn of_hook(hook: &'a LifecycleHandler) -> Self {
        Self {
            exec: hook.exec.as_ref(),
            http_get: hook.http_get.as_ref(),
            tcp_socket: hook.tcp_socket.as_ref(),
            grpc: None,
            sleep: hook.sleep.as_ref(),
        }
    }

    fn judge(&self, grace_period: i64, path: &Path, errors: &mut ErrorList) {
        let mut found = false;
        // The first one is judged, any other is one too many.
        let mut first = |field: &str, errors: &mut ErrorList| {
            if found {
                errors.push(FieldError::forbidden(&path.child(field), "may not specify more than 1 handler type"));
                return false;
            }
            found = true;
            true
        };
        if let Some(exec) = self.exec
            && first("exec", errors)
            && exec.command.as_ref().is_none_or(Vec::is_empty)
        {
            errors.push(FieldError::required(&path.child("exec").child("command"), ""));
        }
        if let Some(get) = self.http_get
            && first("httpGet", errors)
        {
            http_get(get, &path.child("httpGet"), errors);
        }
        if let Some(socket) = self.tcp_socket
            && first("tcpSocket", errors)
        {
            check::port(errors, &path.child("tcpSocket").child("port"), &socket.port);
        }
        if let Some(grpc) = self.grpc
            && first("grpc", errors)
        {
            let judged = names::port_number(i64::from(grpc.port));
            check::invalid(errors, &path.child("grpc").child("port"), grpc.port, judged);
        }
        if let Some(sleep) = self.sleep
            && first("sleep", errors)
            && !(0..=grace_period).contains(&sleep.seconds)
        {
            let why = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace_period})");
            errors.push(FieldError::invalid(&path.child("sleep"), sleep.seconds, why));
        }
        if !found {
            errors.push(FieldError::required(path, "must specify a handler type"));
        }
    }
}

fn http_get(get: &HTTPGetAction, path: &Path, errors: &mut ErrorList) {
    check::required(errors, &path.child("path"), check::text(&get.path));
    check::port(errors, &path.child("port"), &get.port);
    check::one_of(errors, &path.child("scheme"), check::text(&get.scheme), &["HTTP", "HTTPS"]);
    for header in get.http_headers.iter().flatten() {
        let judged = names::http_header_name(&header.name);
        check::invalid(errors, &path.child("httpHeaders"), header.name.as_str(), judged);
    }
}
