//! What the condition of an APIService says of a Service that cannot be reached.

use super::api_service::{ApiService, Availability};
use crate::connect::endpoints::Missing;

/// The condition of an APIService whose Service cannot be reached.
pub(super) fn unreachable(api: &ApiService, missing: &Missing) -> Availability {
    let at = format!("service/{} in {:?}", api.service, api.namespace);
    let (reason, message) = match missing {
        Missing::Service(_) => ("ServiceNotFound", format!("{at} is not present")),
        Missing::Port { port, .. } => ("ServicePortError", format!("{at} is not listening on port {port}")),
        Missing::Slices(_) => ("EndpointsNotFound", format!("cannot find endpointslices for {at}")),
        Missing::Endpoints { port, .. } => {
            ("MissingEndpoints", format!("endpointslices for {at} have no addresses with port name {port:?}"))
        }
    };
    Availability { is_available: false, reason, message }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(missing: Missing, reason: &str, message: &str) {
        let object = json!({
            "metadata": {"name": "v1.example.com"},
            "spec": {"group": "example.com", "version": "v1", "service": {"namespace": "apis", "name": "example"}},
        });
        let api = ApiService::parse(&object).expect("it has a service");
        let said = unreachable(&api, &missing);
        assert_eq!((said.reason, said.message.as_str()), (reason, message));
    }

    #[test]
    fn the_condition_says_what_is_missing() {
        let name = || "example".to_owned();
        check(Missing::Service(name()), "ServiceNotFound", "service/example in \"apis\" is not present");
        let missing = Missing::Port { service: name(), port: 443 };
        check(missing, "ServicePortError", "service/example in \"apis\" is not listening on port 443");
        let why = "cannot find endpointslices for service/example in \"apis\"";
        check(Missing::Slices(name()), "EndpointsNotFound", why);
        let why = "endpointslices for service/example in \"apis\" have no addresses with port name \"https\"";
        check(Missing::Endpoints { service: name(), port: "https".to_owned() }, "MissingEndpoints", why);
    }
}
