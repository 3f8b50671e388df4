//! Plugins that note what they are asked.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use super::*;

/// A machine with plugins that write what they are asked into a file, and answer by their names.
struct Machine {
    dir: TempDir,
    invoker: Invoker,
}

impl Machine {
    fn new(list: &Value, plugins: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        for name in ["net.d", "bin"] {
            fs::create_dir(path(name)).expect("a directory");
        }
        fs::write(path("net.d/10-test.conflist"), list.to_string()).expect("written");
        let (conf_dir, cache_dir) = (path("net.d"), path("cache"));
        let invoker = Invoker { conf_dir, bin_dirs: vec![path("absent"), path("bin")], cache_dir };
        let machine = Self { dir, invoker };
        for (name, does) in plugins {
            // One program for all, for one that was just written may still be held open by another test's child.
            let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/invoker/plugin.sh");
            symlink(program, machine.bin(name)).expect("a link");
            machine.lets(name, does);
        }
        machine
    }

    fn bin(&self, name: &str) -> PathBuf {
        self.dir.path().join("bin").join(name)
    }

    /// Has a plugin do something.
    fn lets(&self, name: &str, does: &str) {
        fs::write(self.bin(&format!("{name}.does")), does).expect("written");
    }

    /// What plugins were asked since the last time: the command, the plugin, and what it was given.
    fn asked(&self) -> Vec<(String, Value)> {
        let log = self.bin("log");
        let text = fs::read_to_string(&log).unwrap_or_default();
        let _ = fs::remove_file(&log);
        let ask = |line: &str| {
            let (who, input) = line.split_once(" {").expect("a configuration");
            (who.trim().to_owned(), serde_json::from_str(&format!("{{{input}")).expect("JSON"))
        };
        text.lines().map(ask).collect()
    }
}

fn attachment() -> Attachment {
    let ports = json!([{"hostPort": 80, "containerPort": 8080, "protocol": "tcp"}]);
    Attachment {
        container_id: "abc".to_owned(),
        netns: Some("/run/netns/abc".into()),
        if_name: "eth0".to_owned(),
        arguments: vec![("K8S_POD_NAME".to_owned(), "web".to_owned())],
        capabilities: Map::from_iter([("portMappings".to_owned(), ports)]),
    }
}

const CONNECTS: &str = r#"[ $CNI_COMMAND = ADD ] && echo '{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.5/24"}]}'
exit 0"#;
const PASSES_ON: &str = r#"[ $CNI_COMMAND = ADD ] && echo '{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.6/24"}]}'
exit 0"#;
const FAILS: &str = r#"echo '{"code": 11, "msg": "no address", "details": "try later"}'; exit 1"#;

fn list(version: &str) -> Value {
    let second = json!({"type": "second", "capabilities": {"portMappings": true, "bandwidth": true}, "mine": 1});
    json!({"name": "pods", "cniVersion": version, "plugins": [{"type": "first"}, second]})
}

#[tokio::test]
async fn plugins_are_asked_in_order_and_backwards() {
    let machine = Machine::new(&list("1.0.0"), &[("first", CONNECTS), ("second", PASSES_ON)]);
    let (invoker, pod) = (&machine.invoker, attachment());
    let outcome = invoker.add(&pod).await.expect("connected");
    let expected = Outcome { ips: vec!["10.1.0.6".parse().expect("an address")] };
    assert_eq!(outcome, expected);
    assert_eq!(invoker.outcome("abc", "eth0").expect("readable"), Some(expected));
    let asked = machine.asked();
    assert_eq!(asked[0].0, "ADD first K8S_POD_NAME=web");
    assert_eq!(asked[0].1, json!({"type": "first", "name": "pods", "cniVersion": "1.0.0"}));
    let (second, ports) = (&asked[1].1, &pod.capabilities["portMappings"]);
    assert_eq!(second["runtimeConfig"], json!({"portMappings": ports}), "what it wants and there is");
    assert_eq!((&second["prevResult"]["ips"][0]["address"], &second["mine"]), (&json!("10.1.0.5/24"), &json!(1)));

    invoker.check(&pod).await.expect("as it was");
    // The network is another one by now: that does not matter to those that were connected before.
    fs::write(invoker.conf_dir.join("00-other.conf"), r#"{"name":"x","cniVersion":"1.0.0","type":"x"}"#)
        .expect("written");
    invoker.del(&pod).await.expect("disconnected");
    let asked = machine.asked();
    let order: Vec<&str> = asked.iter().map(|(who, _)| who.as_str()).collect();
    let args = "K8S_POD_NAME=web";
    assert_eq!(order, ["CHECK first", "CHECK second", "DEL second", "DEL first"].map(|who| format!("{who} {args}")));
    assert!(asked.iter().all(|(_, input)| input["prevResult"]["ips"][0]["address"] == "10.1.0.6/24"));
    assert_eq!(invoker.outcome("abc", "eth0").expect("readable"), None);
    invoker.del(&pod).await.expect("nothing is to be done");
    assert!(machine.asked().is_empty());
}

#[tokio::test]
async fn a_sandbox_that_was_half_connected_can_be_disconnected() {
    let machine = Machine::new(&list("1.0.0"), &[("first", CONNECTS), ("second", FAILS)]);
    let err = machine.invoker.add(&attachment()).await.expect_err("the second fails");
    assert_eq!(err.to_string(), "network plugin second failed to connect the sandbox: no address; try later");
    assert_eq!(machine.invoker.outcome("abc", "eth0").expect("readable"), None);
    machine.lets("second", "exit 0");
    machine.asked();
    machine.invoker.del(&attachment()).await.expect("disconnected");
    assert_eq!(machine.asked().len(), 2, "the first is asked, too");
}

#[tokio::test]
async fn old_plugins_are_told_no_more_than_they_know() {
    let machine = Machine::new(&list("0.3.1"), &[("first", CONNECTS), ("second", PASSES_ON)]);
    machine.invoker.add(&attachment()).await.expect("connected");
    machine.asked();
    machine.invoker.check(&attachment()).await.expect("nobody can say");
    assert!(machine.asked().is_empty());
    machine.invoker.del(&attachment()).await.expect("disconnected");
    assert!(machine.asked().iter().all(|(_, input)| input.get("prevResult").is_none()));
}

#[tokio::test]
async fn what_is_wrong_with_a_plugin_is_told() {
    let machine = Machine::new(&list("1.0.0"), &[("first", "echo oops >&2; exit 3")]);
    let error = async || machine.invoker.add(&attachment()).await.expect_err("it fails").to_string();
    assert_eq!(error().await, "network plugin first failed to connect the sandbox: exit status: 3: oops");
    machine.lets("first", "echo nonsense");
    assert!(error().await.starts_with("network plugin first answered what cannot be read: expected"));
    machine.lets("first", "true");
    assert_eq!(error().await, "network plugin first answered what cannot be read: it is empty");
    fs::remove_file(machine.bin("first")).expect("removed");
    assert!(error().await.starts_with("network plugin first is in none of "), "{}", error().await);
}
