//! Probes, lifecycle hooks and the actions of both.

use k8s_openapi::api::core::v1::{
    Container, ExecAction, GRPCAction, HTTPGetAction, LifecycleHandler, Probe, SleepAction, TCPSocketAction,
};

use super::containers::Context;
use crate::field::{ErrorList, FieldError, Path};
use crate::validation::{check, names};

/// The signals that can stop a container on Linux, sorted.
const SIGNALS: [&str; 65] = [
    "SIGABRT",
    "SIGALRM",
    "SIGBUS",
    "SIGCHLD",
    "SIGCLD",
    "SIGCONT",
    "SIGFPE",
    "SIGHUP",
    "SIGILL",
    "SIGINT",
    "SIGIO",
    "SIGIOT",
    "SIGKILL",
    "SIGPIPE",
    "SIGPOLL",
    "SIGPROF",
    "SIGPWR",
    "SIGQUIT",
    "SIGRTMAX",
    "SIGRTMAX-1",
    "SIGRTMAX-10",
    "SIGRTMAX-11",
    "SIGRTMAX-12",
    "SIGRTMAX-13",
    "SIGRTMAX-14",
    "SIGRTMAX-2",
    "SIGRTMAX-3",
    "SIGRTMAX-4",
    "SIGRTMAX-5",
    "SIGRTMAX-6",
    "SIGRTMAX-7",
    "SIGRTMAX-8",
    "SIGRTMAX-9",
    "SIGRTMIN",
    "SIGRTMIN+1",
    "SIGRTMIN+10",
    "SIGRTMIN+11",
    "SIGRTMIN+12",
    "SIGRTMIN+13",
    "SIGRTMIN+14",
    "SIGRTMIN+15",
    "SIGRTMIN+2",
    "SIGRTMIN+3",
    "SIGRTMIN+4",
    "SIGRTMIN+5",
    "SIGRTMIN+6",
    "SIGRTMIN+7",
    "SIGRTMIN+8",
    "SIGRTMIN+9",
    "SIGSEGV",
    "SIGSTKFLT",
    "SIGSTOP",
    "SIGSYS",
    "SIGTERM",
    "SIGTRAP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGUSR1",
    "SIGUSR2",
    "SIGVTALRM",
    "SIGWINCH",
    "SIGXCPU",
    "SIGXFSZ",
];

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
        if let Some(signal) = &lifecycle.stop_signal {
            stop_signal(signal, context.os, &path.child("stopSignal"), errors);
        }
    }
    for (name, found) in [
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
    ] {
        let Some(found) = found else { continue };
        let path = path.child(name);
        probe(found, context, &path, errors);
        if name != "readinessProbe" {
            if let Some(threshold) = found.success_threshold.filter(|threshold| *threshold != 1) {
                errors.push(FieldError::invalid(&path.child("successThreshold"), threshold, "must be 1"));
            }
        } else if let Some(seconds) = found.termination_grace_period_seconds {
            let path = path.child("terminationGracePeriodSeconds");
            errors.push(FieldError::invalid(&path, seconds, "must not be set for readinessProbes"));
        }
    }
}

/// What a signal means is the operating system's, so that one must be named.
fn stop_signal(signal: &str, os: Option<&str>, path: &Path, errors: &mut ErrorList) {
    match os {
        None => {
            errors.push(FieldError::forbidden(path, "may not be set for containers with empty `spec.os.name`"));
        }
        Some("windows") => check::one_of(errors, path, signal, &["SIGKILL", "SIGTERM"]),
        Some("linux") => check::one_of(errors, path, signal, &SIGNALS),
        Some(_) => {}
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
