//! Server-side apply: patches of the media type `application/apply-patch+yaml`.

use api::status::Status;
use serde_json::{Value, json};

use super::resources::{Call, Patcher};
use crate::http::options::WriteOptions;
use crate::registry::{Expected, Subject, Writer, check_applied, complete, decode_config, scale};

impl Call<'_> {
    /// The change that the configuration in the body makes; an object that is not there is made.
    pub(super) fn applier(&self, options: &WriteOptions) -> Result<Box<Patcher>, Status> {
        let resource = self.resource.clone();
        let config = decode_config(Expected::of(&resource), &self.body, options.field_validation)?;
        let (name, namespace) = (self.name()?.to_owned(), self.request.namespace.clone());
        let (manager, force) = (options.field_manager.clone(), options.force);
        let subresource = self.request.subresource.clone().unwrap_or_default();
        let now = self.core.registry.env.now();
        let kinds = self.core.registry.kinds();
        Ok(Box::new(move |current: &Value| {
            let new;
            let live = if current.is_null() {
                if let Some(uid) = api::meta::uid(&config.value) {
                    let why = format!(
                        "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                    );
                    return Err(Status::conflict(&resource.group, &resource.plural, &name, why));
                }
                new = json!({"apiVersion": resource.api_version(), "kind": resource.kind});
                &new
            } else {
                current
            };
            let writer = Writer { manager: &manager, subresource: &subresource };
            let mut value =
                Subject { kinds: &kinds, resource: &resource, writer, now }.apply(live, &config.value, force)?;
            if let Some(refusal) = &config.refusal {
                return Err(refusal.clone());
            }
            check_applied(&resource, &mut value)?;
            match api::meta::name(&value) {
                "" => api::meta::set_name(&mut value, &name),
                given if given != name => return Err(super::resources::name_mismatch(given, &name)),
                _ => {}
            }
            super::resources::check_patched_namespace(&value, namespace.as_deref())?;
            complete(&resource, &mut value);
            Ok((value, config.warnings.clone()))
        }))
    }

    /// The same for the scale of a workload, whose configuration is one of the workload.
    pub(super) fn scale_applier(
        &self,
        expected: Expected<'static>,
        options: &WriteOptions,
    ) -> Result<impl Fn(&Value) -> Result<Value, Status> + Send + Sync + use<>, Status> {
        let resource = self.resource.clone();
        let scale = decode_config(expected, &self.body, options.field_validation)?;
        let (manager, force) = (options.field_manager.clone(), options.force);
        let now = self.core.registry.env.now();
        let kinds = self.core.registry.kinds();
        Ok(move |current: &Value| {
            // It refuses what no scale may be.
            scale::apply(&resource, current, &scale.value)?;
            let replicas = scale.value.pointer("/spec/replicas").and_then(Value::as_i64);
            let mut config = match replicas {
                Some(replicas) => scale::configuration(&resource, replicas),
                None => json!({"apiVersion": resource.api_version(), "kind": resource.kind, "metadata": {}}),
            };
            for field in ["name", "namespace", "uid", "resourceVersion"] {
                if let Some(value) = api::meta::metadata(&scale.value).and_then(|metadata| metadata.get(field)) {
                    config["metadata"][field] = value.clone();
                }
            }
            let writer = Writer { manager: &manager, subresource: "scale" };
            let applied = Subject { kinds: &kinds, resource: &resource, writer, now }.apply(current, &config, force)?;
            scale.refusal.clone().map_or(Ok(applied), Err)
        })
    }
}
