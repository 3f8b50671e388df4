//! What plugins answer, as far as a runtime needs to know.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

/// How a sandbox is connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The sandbox's addresses, those of the wanted interface; the first counts where only one can.
    pub ips: Vec<IpAddr>,
}

impl Outcome {
    /// Reads the answer of a plugin, in any version.
    pub(super) fn read(answer: &Value) -> Result<Self, String> {
        let list = |name: &str| match answer.get(name) {
            None | Some(Value::Null) => Ok(&[][..]),
            Some(Value::Array(items)) => Ok(items.as_slice()),
            Some(other) => Err(format!("{name} is no list: {other}")),
        };
        let interfaces = list("interfaces")?;
        let mut ips = Vec::new();
        for ip in list("ips")? {
            let text = ip["address"].as_str().ok_or_else(|| format!("{ip} has no address"))?;
            let address: IpNet = text.parse().map_err(|_| format!("{text:?} is no address with a prefix"))?;
            if is_of_sandbox(interfaces, &ip["interface"]) {
                ips.push(address.addr());
            }
        }
        Ok(Self { ips })
    }

    /// The answer where no plugin has anything to say.
    pub(super) fn nothing(version: &str) -> Value {
        json!({"cniVersion": version, "interfaces": [], "ips": [], "routes": [], "dns": {}})
    }
}

/// Whether the interface that an address belongs to is in the sandbox, and not on the machine; where nothing is said it
/// is the sandbox's.
fn is_of_sandbox(interfaces: &[Value], index: &Value) -> bool {
    let interface = index.as_u64().and_then(|index| interfaces.get(usize::try_from(index).ok()?));
    interface.is_none_or(|interface| interface["sandbox"].as_str().is_some_and(|sandbox| !sandbox.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(answer: Value, expected: Result<&[&str], &str>) {
        let expected = expected.map(|ips| ips.iter().map(|ip| ip.parse().expect("an address")).collect());
        assert_eq!(Outcome::read(&answer).map(|outcome| outcome.ips), expected.map_err(str::to_owned));
    }

    #[test]
    fn the_sandboxs_addresses_are_found() {
        let interfaces = json!([{"name": "cni0"}, {"name": "eth0", "sandbox": "/run/netns/x"}]);
        let of = |index: u32, address: &str| json!({"version": "4", "address": address, "interface": index});
        check(
            json!({"interfaces": interfaces, "ips": [of(1, "10.1.0.5/24"), of(0, "10.1.0.1/24"), of(1, "fd00::5/64")]}),
            Ok(&["10.1.0.5", "fd00::5"]),
        );
        check(json!({"ips": [{"address": "10.1.0.5/24"}]}), Ok(&["10.1.0.5"]));
        check(json!({"cniVersion": "1.0.0"}), Ok(&[]));
    }

    #[test]
    fn nonsense_is_told() {
        check(json!({"ips": "10.1.0.5"}), Err(r#"ips is no list: "10.1.0.5""#));
        check(json!({"ips": [{"address": "10.1.0.5"}]}), Err(r#""10.1.0.5" is no address with a prefix"#));
        check(json!({"ips": [{}]}), Err("{} has no address"));
    }
}
