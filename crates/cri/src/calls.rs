//! The calls of a client: each within a time limit, and told to who counts them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base::Env;
use tonic::body::Body;
use tonic::transport::{Channel, Error};
use tonic::{Code, Request, Status};
use tower::Service;

/// Hears of each call: what it was for, how long it took, and whether it failed.
pub type Observer = Arc<dyn Fn(&str, Duration, bool) + Send + Sync>;

/// What holds for the calls of a client.
#[derive(Clone)]
pub struct Calls {
    /// How time passes.
    pub env: Env,
    /// How long the runtime may take to answer.
    pub limit: Duration,
    /// Who hears of each.
    pub observer: Observer,
}

/// A connection with a runtime. Clones share it.
#[derive(Clone)]
pub struct Connection {
    channel: Channel,
    calls: Option<Arc<Calls>>,
}

/// How long a call takes by what it asks for, beyond the limit of all.
#[derive(Clone, Copy)]
struct Lasts(Duration);

/// A call that takes so long by what it asks for: a stop by its grace period, a command by its own limit.
pub fn lasting<T>(message: T, duration: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Lasts(duration));
    request
}

impl Connection {
    pub(crate) fn new(channel: Channel, calls: Option<Calls>) -> Self {
        Self { channel, calls: calls.map(Arc::new) }
    }
}

impl Service<http::Request<Body>> for Connection {
    type Response = http::Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let lasts = request.extensions().get().map_or(Duration::ZERO, |lasts: &Lasts| lasts.0);
        let answer = self.channel.call(request);
        let Some(calls) = self.calls.clone() else { return Box::pin(answer) };
        Box::pin(async move {
            let began = calls.env.instant();
            let answer = match limit(&method, calls.limit, lasts) {
                None => answer.await,
                Some(limit) => tokio::select! {
                    answer = answer => answer,
                    () = calls.env.sleep(limit) => {
                        Ok(Status::deadline_exceeded("context deadline exceeded").into_http())
                    }
                },
            };
            let failed = answer.as_ref().map_or(true, |answer| {
                // Where there is no message, the end of the answer is in its head.
                Status::from_header_map(answer.headers()).is_some_and(|status| status.code() != Code::Ok)
            });
            (calls.observer)(&operation(&method), began.elapsed(), failed);
            answer
        })
    }
}

/// How long a call may take. Pulls take as long as images are large, and events come when there are some.
fn limit(method: &str, usual: Duration, lasts: Duration) -> Option<Duration> {
    match method {
        "PullImage" | "GetContainerEvents" => None,
        // The network of a pod is made by programs that take their time.
        "RunPodSandbox" => Some(usual * 2),
        _ => Some(usual.saturating_add(lasts)),
    }
}

/// A method by upstream's name for it in metrics: `list_podsandbox` for `ListPodSandbox`.
fn operation(method: &str) -> String {
    if method == "UpdateContainerResources" {
        return "update_container".to_owned();
    }
    let mut name = String::with_capacity(method.len() + 4);
    for (index, letter) in method.replace("PodSandbox", "Podsandbox").char_indices() {
        if letter.is_ascii_uppercase() && index > 0 {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_upstreams_names() {
        for (method, name) in [
            ("Version", "version"),
            ("RunPodSandbox", "run_podsandbox"),
            ("ListPodSandboxStats", "list_podsandbox_stats"),
            ("PodSandboxStatus", "podsandbox_status"),
            ("UpdateContainerResources", "update_container"),
            ("ImageFsInfo", "image_fs_info"),
            ("ExecSync", "exec_sync"),
        ] {
            assert_eq!(operation(method), name);
        }
    }

    #[test]
    fn what_takes_longer_by_itself_may_take_longer() {
        let seconds = Duration::from_secs;
        let of = |method, lasts| limit(method, seconds(10), seconds(lasts));
        assert_eq!(of("Version", 0), Some(seconds(10)));
        assert_eq!(of("StopContainer", 30), Some(seconds(40)));
        assert_eq!(of("RunPodSandbox", 0), Some(seconds(20)));
        assert_eq!((of("PullImage", 0), of("GetContainerEvents", 0)), (None, None));
    }
}
