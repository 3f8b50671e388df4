//! What the node asks of its container runtime and tells it.

use cri as v1;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerImage, NodeFeatures, NodeRuntimeHandler, NodeRuntimeHandlerFeatures};

use crate::context::Context;
use crate::resources::CgroupDriver;

/// How many names of one image the status has.
const MAX_NAMES: usize = 5;

/// How long a runtime may be silent before pods cannot run: as long as upstream's kubelet waits. One that is started anew
/// keeps no pod from being served.
const SILENCE: SignedDuration = SignedDuration::from_secs(30);

/// What a runtime says of itself.
pub struct Readiness {
    /// Why pods cannot run; `None` if they can.
    pub problem: Option<String>,
    /// What the runtime offers.
    pub handlers: Vec<NodeRuntimeHandler>,
    /// What it can do with all of them; `None` of a runtime that is too old to say.
    pub features: Option<NodeFeatures>,
}

/// Why pods cannot run, over answers and silence.
#[derive(Debug)]
pub struct Problem {
    answered_at: Timestamp,
    told: Option<String>,
}

impl Problem {
    /// Nothing is wrong with a runtime that has answered at this time: the kubelet begins with one that does.
    pub fn new(answered_at: Timestamp) -> Self {
        Self { answered_at, told: None }
    }

    /// Takes note of an answer, or of why there is none; what keeps pods from running by now.
    pub fn note(&mut self, answer: Result<Option<String>, &str>, now: Timestamp) -> Option<&str> {
        match answer {
            Ok(problem) => (self.answered_at, self.told) = (now, problem),
            Err(err) => {
                if now.duration_since(self.answered_at) >= SILENCE {
                    self.told = Some(format!("container runtime is down: {err}"));
                }
            }
        }
        self.told.as_deref()
    }
}

/// Asks the runtime whether pods can run.
pub async fn readiness(context: &Context) -> Result<Readiness, v1::Status> {
    let answer = context.runtime.clone().status(v1::StatusRequest { verbose: false }).await?.into_inner();
    let conditions = answer.status.unwrap_or_default().conditions;
    let problem = |type_: &str, what: &str| {
        let condition = conditions.iter().find(|condition| condition.r#type == type_);
        match condition {
            Some(condition) if condition.status => None,
            Some(condition) => Some(format!(
                "{what} not ready: {type_}=false reason:{} message:{}",
                condition.reason, condition.message
            )),
            None => Some(format!("{what} not ready: {type_} is not reported")),
        }
    };
    let problems: Vec<String> =
        [problem("RuntimeReady", "container runtime"), problem("NetworkReady", "container runtime network")]
            .into_iter()
            .flatten()
            .collect();
    let handlers = answer.runtime_handlers.into_iter().map(|handler| {
        let features = handler.features.map(|features| NodeRuntimeHandlerFeatures {
            recursive_read_only_mounts: Some(features.recursive_read_only_mounts),
            user_namespaces: Some(features.user_namespaces),
        });
        NodeRuntimeHandler { name: Some(handler.name), features }
    });
    let features = answer
        .features
        .map(|features| NodeFeatures { supplemental_groups_policy: Some(features.supplemental_groups_policy) });
    let problem = Some(problems.join("; ")).filter(|text| !text.is_empty());
    Ok(Readiness { problem, handlers: handlers.collect(), features })
}

/// Who makes cgroups: whom the runtime names, or the configuration where the runtime is too old to say.
pub async fn cgroup_driver(runtime: &v1::RuntimeClient, configured: CgroupDriver) -> CgroupDriver {
    let answer = runtime.clone().runtime_config(v1::RuntimeConfigRequest {}).await;
    let driver = match answer.map(|answer| answer.into_inner().linux.map(|linux| linux.cgroup_driver())) {
        Ok(Some(v1::CgroupDriver::Systemd)) => CgroupDriver::Systemd,
        Ok(Some(v1::CgroupDriver::Cgroupfs)) => CgroupDriver::Cgroupfs,
        Ok(None) => configured,
        Err(err) if err.code() == v1::Code::Unimplemented => configured,
        Err(err) => {
            tracing::warn!(err = %err.message(), ?configured, "the runtime does not say who makes cgroups");
            configured
        }
    };
    if driver != configured {
        tracing::info!(?driver, ?configured, "cgroups are made as the runtime has them");
    }
    driver
}

/// Tells the runtime from which addresses pods get theirs.
pub async fn set_pod_cidr(context: &Context, cidr: &str) -> Result<(), v1::Status> {
    let network_config = Some(v1::NetworkConfig { pod_cidr: cidr.to_owned() });
    let request = v1::UpdateRuntimeConfigRequest { runtime_config: Some(v1::RuntimeConfig { network_config }) };
    context.runtime.clone().update_runtime_config(request).await?;
    Ok(())
}

/// The images that are here, the largest first.
pub async fn images(context: &Context) -> Result<Vec<ContainerImage>, v1::Status> {
    let answer = context.images.clone().list_images(v1::ListImagesRequest { filter: None }).await?;
    let mut images = answer.into_inner().images;
    images.sort_by_key(|image| std::cmp::Reverse(image.size));
    images.truncate(context.config.status_max_images.unwrap_or(usize::MAX));
    let one = |image: v1::Image| {
        let mut names: Vec<String> = image.repo_digests.into_iter().chain(image.repo_tags).collect();
        names.truncate(MAX_NAMES);
        ContainerImage { names: Some(names), size_bytes: i64::try_from(image.size).ok() }
    };
    Ok(images.into_iter().map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second, what the runtime answers then, and what is told of it.
    type Step<'a> = (i64, Result<Option<&'a str>, &'a str>, Option<&'a str>);

    #[track_caller]
    fn check(steps: &[Step<'_>]) {
        let mut problem = Problem::new(testkit::at(0));
        for (second, answer, expected) in steps {
            let answer = answer.map(|problem| problem.map(str::to_owned));
            assert_eq!(problem.note(answer, testkit::at(*second)), *expected, "at {second} s");
        }
    }

    #[test]
    fn a_runtime_that_is_started_anew_is_waited_for() {
        let down = Some("container runtime is down: away");
        check(&[(0, Err("away"), None), (29, Err("away"), None), (30, Err("away"), down), (31, Ok(None), None)]);
        check(&[(0, Ok(None), None), (20, Ok(None), None), (49, Err("away"), None), (50, Err("away"), down)]);
    }

    #[test]
    fn one_that_says_what_is_wrong_is_not() {
        let network = Some("no network");
        check(&[(0, Ok(None), None), (1, Ok(network), network), (2, Err("away"), network), (3, Ok(None), None)]);
    }
}
