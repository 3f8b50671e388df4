//! How plugins register with a kubelet that looks for their sockets.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use plugin_api::registration::registration_server::Registration;
use plugin_api::registration::{InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse};
use tonic::{Request, Response, Status};

/// A plugin as kubelets see it at first. Clones are the same one.
#[derive(Clone)]
pub struct Registrant {
    info: PluginInfo,
    told: Arc<Mutex<Vec<RegistrationStatus>>>,
}

impl Registrant {
    /// A plugin of a type, such as `DRAPlugin`, that does its work on another socket.
    pub fn new(kind: &str, name: &str, endpoint: &Path, versions: &[&str]) -> Self {
        let info = PluginInfo {
            r#type: kind.to_owned(),
            name: name.to_owned(),
            endpoint: endpoint.display().to_string(),
            supported_versions: versions.iter().map(|version| (*version).to_owned()).collect(),
        };
        Self { info, told: Arc::default() }
    }

    /// What the kubelet said of the registration last.
    pub fn told(&self) -> Option<RegistrationStatus> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).last().cloned()
    }
}

#[tonic::async_trait]
impl Registration for Registrant {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(self.info.clone()))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(request.into_inner());
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}
