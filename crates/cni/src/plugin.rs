//! The plugin: hands a request to the node and prints its answer.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::{Answer, Code, Command, Failure, Request, VERSIONS};

/// The largest request or answer that is read.
pub const MAX_BYTES: u64 = 1 << 20;

/// Runs the plugin as a runtime starts it.
pub fn run() -> ExitCode {
    let mut input = Vec::new();
    let read = io::stdin().lock().take(MAX_BYTES).read_to_end(&mut input);
    let environment = |name: &str| std::env::var(name).ok();
    let (document, code) = match read {
        Ok(_) => answer(environment, &input),
        Err(err) => failed(VERSIONS[0], &Failure::new(Code::Io, format!("cannot read standard input: {err}"))),
    };
    let text = document.map_or_else(String::new, |document| document.to_string());
    match io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// What a request is answered with, and how the process ends.
fn answer(environment: impl Fn(&str) -> Option<String>, input: &[u8]) -> (Option<Value>, ExitCode) {
    let request = match Request::read(environment, input) {
        Ok(request) => request,
        Err(err) => return failed(VERSIONS[0], &err.failure()),
    };
    let version = request.config.cni_version.clone();
    if request.command == Command::Version {
        let newest = VERSIONS[VERSIONS.len() - 1];
        return (Some(json!({"cniVersion": newest, "supportedVersions": VERSIONS})), ExitCode::SUCCESS);
    }
    match ask(&request.config.socket, &request) {
        Ok(Answer::Connected(success)) => (Some(success.document(&version)), ExitCode::SUCCESS),
        Ok(Answer::Done) => (None, ExitCode::SUCCESS),
        Ok(Answer::Failed(failure)) => failed(&version, &failure),
        Err(err) => {
            let socket = request.config.socket.display();
            let why = format!("the node does not answer at {socket}: {err}; is skiff running on this machine?");
            failed(&version, &Failure::new(Code::TryAgainLater, why))
        }
    }
}

fn failed(version: &str, failure: &Failure) -> (Option<Value>, ExitCode) {
    (Some(failure.document(version)), ExitCode::FAILURE)
}

/// One request a connection: the request, its end, the answer, its end.
fn ask(socket: &Path, request: &Request) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    serde_json::to_writer(&mut stream, request)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.take(MAX_BYTES).read_to_end(&mut answer)?;
    Ok(serde_json::from_slice(&answer)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::{Address, Interface, Success};

    const POD: &[(&str, &str)] =
        &[("CNI_CONTAINERID", "abc"), ("CNI_NETNS", "/run/netns/abc"), ("CNI_IFNAME", "eth0"), ("CNI_PATH", "/opt")];

    #[track_caller]
    fn check(command: &str, without: &str, config: &Value, expected: Option<Value>, succeeds: bool) {
        let environment = |name: &str| {
            let value = POD.iter().find(|(known, _)| *known == name && name != without).map(|(_, value)| *value);
            value.or((name == "CNI_COMMAND").then_some(command)).map(str::to_owned)
        };
        let (document, code) = answer(environment, config.to_string().as_bytes());
        assert_eq!(document, expected);
        assert_eq!(code == ExitCode::SUCCESS, succeeds);
    }

    /// A node that gives the next asker this answer.
    fn node(dir: &tempfile::TempDir, answer: Answer) -> (Value, std::thread::JoinHandle<Value>) {
        let socket = dir.path().join("cni.sock");
        let listener = UnixListener::bind(&socket).expect("the path is free");
        let node = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a plugin asks");
            let mut asked = Vec::new();
            stream.read_to_end(&mut asked).expect("the request ends");
            serde_json::to_writer(&mut stream, &answer).expect("the plugin reads");
            serde_json::from_slice(&asked).expect("the request is JSON")
        });
        (json!({"cniVersion": "1.0.0", "name": "pods", "type": "skiff-cni", "socket": socket}), node)
    }

    #[test]
    fn a_request_reaches_the_node_and_the_answer_the_runtime() {
        let dir = tempfile::tempdir().expect("a directory");
        let ip = Address {
            address: "10.42.0.5/32".parse().expect("a network"),
            gateway: "10.42.0.1".parse().expect("an address"),
            interface: 0,
        };
        let interface = Interface { name: "eth0".to_owned(), sandbox: "/run/netns/abc".to_owned() };
        let success = Success { interfaces: vec![interface], ips: vec![ip], routes: Vec::new() };
        let (mut config, node) = node(&dir, Answer::Connected(success));
        config["cniVersion"] = json!("0.4.0");
        let of_containerd = json!({"HostPort": 443, "ContainerPort": 8443, "Protocol": "tcp", "HostIP": ""});
        let of_crio = json!({"hostPort": 80, "containerPort": 8080, "protocol": "tcp"});
        config["runtimeConfig"] = json!({"portMappings": [of_crio, of_containerd]});
        let expected = json!({
            "cniVersion": "0.4.0",
            "interfaces": [{"name": "eth0", "sandbox": "/run/netns/abc"}],
            "ips": [{"address": "10.42.0.5/32", "gateway": "10.42.0.1", "interface": 0, "version": "4"}],
            "routes": [],
            "dns": {},
        });
        check("ADD", "", &config, Some(expected), true);
        let asked = node.join().expect("the node does not panic");
        assert_eq!((&asked["command"], &asked["containerId"]), (&json!("ADD"), &json!("abc")));
        let mapped = &asked["config"]["runtimeConfig"]["portMappings"];
        assert_eq!((&mapped[0]["containerPort"], &mapped[1]["containerPort"]), (&json!(8080), &json!(8443)));
    }

    #[test]
    fn a_sandbox_whose_namespace_is_gone_can_be_disconnected() {
        let dir = tempfile::tempdir().expect("a directory");
        let (config, node) = node(&dir, Answer::Done);
        check("DEL", "CNI_NETNS", &config, None, true);
        assert_eq!(node.join().expect("the node does not panic")["netns"], Value::Null);
    }

    #[test]
    fn failures_are_told_as_the_specification_wants_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let (config, node) = node(&dir, Answer::Failed(Failure::new(Code::Node, "no address is free")));
        let failure = |code: u32, version: &str, msg: &str| json!({"cniVersion": version, "code": code, "msg": msg});
        check("ADD", "", &config, Some(failure(100, "1.0.0", "no address is free")), false);
        node.join().expect("the node does not panic");

        let missing = "environment variable CNI_NETNS is not set";
        check("ADD", "CNI_NETNS", &config, Some(failure(4, "0.4.0", missing)), false);
        let old = json!({"cniVersion": "0.1.0"});
        let unspoken = r#"CNI version "0.1.0" is not spoken; these are: 0.4.0, 1.0.0"#;
        check("ADD", "", &old, Some(failure(1, "0.4.0", unspoken)), false);
        let nobody = json!({"cniVersion": "1.0.0", "socket": "/nowhere/cni.sock"});
        let silent = "the node does not answer at /nowhere/cni.sock: No such file or directory (os error 2); \
                      is skiff running on this machine?";
        check("DEL", "", &nobody, Some(failure(11, "1.0.0", silent)), false);
    }

    #[test]
    fn versions_need_no_node() {
        let spoken = json!({"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0"]});
        check("VERSION", "CNI_CONTAINERID", &json!({"cniVersion": "1.0.0"}), Some(spoken), true);
    }
}
