//! DenyServiceExternalIPs: nobody adds external addresses to a service, by which traffic of others could be caught.

use api::status::Status;
use serde_json::Value;

use super::{Attributes, Handler, Operation, Plugin};

pub(super) const PLUGIN: Plugin = Plugin {
    validate: &[(Operation::Create, Handler::Now(check)), (Operation::Update, Handler::Now(check))],
    ..Plugin::off("DenyServiceExternalIPs")
};

fn check(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    if !attributes.is("", "services") {
        return Ok(());
    }
    let ips = |service: &Value| service.pointer("/spec/externalIPs").and_then(Value::as_array).cloned();
    let before = attributes.old.and_then(ips).unwrap_or_default();
    if ips(object).unwrap_or_default().iter().all(|ip| before.contains(ip)) {
        return Ok(());
    }
    Err(attributes.forbidden(object, "Use of external IPs is denied by admission control"))
}
