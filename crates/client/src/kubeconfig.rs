//! A client over a kubeconfig file that others replace: certificates and tokens in it end, and authorities have
//! successors.
//!
//! The file, and those that it names, are looked at before each request. When one of them has changed the next request
//! goes over a new connection; what is open, a watch for example, goes on where it is.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use base::{Env, FileWatch};
use futures::FutureExt;
use http::{Request, Response};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::sync::Mutex;
use tower::{BoxError, Service};

use crate::connect::{ConnectError, connect_to};

/// What is taken of a kubeconfig's current context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// All.
    All,
    /// Where the server is and whom to trust, and no credentials.
    Cluster,
    /// All, to act as another user whom its own may impersonate.
    As(String),
}

/// A client that goes with its kubeconfig file.
pub(crate) async fn follow(
    path: PathBuf,
    (component, taken): (&str, Taken),
    env: &Env,
) -> Result<kube::Client, ConnectError> {
    let source = KubeconfigFile { path, component: component.to_owned(), taken, env: env.clone() };
    let current = source.load().await?;
    let namespace = current.client.default_namespace().to_owned();
    let followed = Arc::new(Followed { source, current: Mutex::new(current) });
    Ok(kube::Client::new(FollowingService(followed), namespace))
}

struct KubeconfigFile {
    path: PathBuf,
    component: String,
    taken: Taken,
    env: Env,
}

/// A client as the files say, and what tells that they say something else.
struct Current {
    client: kube::Client,
    watches: Vec<FileWatch>,
}

impl KubeconfigFile {
    async fn load(&self) -> Result<Current, ConnectError> {
        let path = &self.path;
        // The watch begins before the file is read, so that no change is missed.
        let mut watches: Vec<FileWatch> = FileWatch::new(path).into_iter().collect();
        let read = Kubeconfig::read_from(path);
        let kubeconfig = read.map_err(|source| ConnectError::Read { path: path.clone(), source: Box::new(source) })?;
        watches.extend(named_files(&kubeconfig).iter().filter_map(|path| FileWatch::new(Path::new(path)).ok()));
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        let mut config = config.map_err(|source| ConnectError::Use(Box::new(source)))?;
        match &self.taken {
            Taken::All => {}
            Taken::Cluster => config.auth_info = kube::config::AuthInfo::default(),
            Taken::As(user) => config.auth_info.impersonate = Some(user.clone()),
        }
        Ok(Current { client: connect_to(config, &self.component, &self.env)?, watches })
    }
}

/// The files that hold what a kubeconfig does not say itself.
fn named_files(kubeconfig: &Kubeconfig) -> Vec<&String> {
    let clusters = kubeconfig.clusters.iter().filter_map(|named| named.cluster.as_ref());
    let users = kubeconfig.auth_infos.iter().filter_map(|named| named.auth_info.as_ref());
    let of_users = users.flat_map(|user| [&user.client_certificate, &user.client_key]);
    clusters.map(|cluster| &cluster.certificate_authority).chain(of_users).flatten().collect()
}

struct Followed {
    source: KubeconfigFile,
    current: Mutex<Current>,
}

impl Followed {
    async fn client(&self) -> kube::Client {
        let mut current = self.current.lock().await;
        let mut has_changed = false;
        for watch in &mut current.watches {
            has_changed |= watch.changed().now_or_never().is_some();
        }
        if has_changed {
            match self.source.load().await {
                Ok(changed) => *current = changed,
                Err(err) => {
                    tracing::warn!(path = %self.source.path.display(), %err, "kubeconfig has changed and cannot be used");
                }
            }
        }
        current.client.clone()
    }
}

#[derive(Clone)]
struct FollowingService(Arc<Followed>);

impl Service<Request<Body>> for FollowingService {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let followed = self.0.clone();
        Box::pin(async move { followed.client().await.send(request).await.map_err(Into::into) })
    }
}
