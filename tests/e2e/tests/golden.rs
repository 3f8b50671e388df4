//! The recorded answers of a real API server, asked of `skiff apiserver` alone.
//!
//! A step that v1.35 answers otherwise has a row in `docs/api-differences.md`; any other that differs fails the test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use skiff_e2e::{Cluster, Layout};

/// The addresses of services that the recorded server had.
const SERVICES: &[(&str, &str)] = &[("--service-cluster-ip-range", "10.96.0.0/12")];

/// So many servers share the cases, each of which needs one where nothing else happens.
const SERVERS: [&str; 2] = ["gold1", "gold2"];

/// Steps by case.
type Steps = BTreeMap<String, BTreeSet<String>>;

#[test]
fn answers_are_those_of_a_real_server() {
    let Some(golden) = golden() else {
        eprintln!("SKIPPED: golden: there are no records: set SKIFF_SHARED to the directory that has golden/replay.py");
        return;
    };
    let differences = differences();
    let cases = std::fs::read_dir(golden.join("cases")).expect("there are cases").flatten().map(|entry| entry.path());
    let cases: BTreeSet<PathBuf> = cases.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    assert!(!cases.is_empty(), "{} has no cases", golden.display());
    let queue = Mutex::new(cases.iter());
    let next = || queue.lock().expect("nothing panics under it").next();
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for tag in SERVERS {
            let (golden, differences, wrong, next) = (&golden, &differences, &wrong, &next);
            scope.spawn(move || {
                let server = Server::start(tag);
                while let Some(case) = next() {
                    if let Some(report) = server.check(golden, case, differences) {
                        wrong.lock().expect("nothing panics under it").push(report);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("nothing panics under it");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The directory of the records, if there is one.
fn golden() -> Option<PathBuf> {
    skiff_e2e::shared("golden").filter(|golden| golden.join("replay.py").is_file())
}

/// The rows of the page on differences: a case, and its steps between backticks.
fn differences() -> Steps {
    let page = std::fs::read_to_string(skiff_e2e::workspace().join("docs/api-differences.md"));
    let mut steps = Steps::new();
    for row in page.expect("the page is there").lines().filter(|line| line.starts_with("| ")) {
        let mut cells = row.split('|').skip(1).map(str::trim);
        let (Some(case), Some(named)) = (cells.next(), cells.next()) else { continue };
        let named = named.split('`').skip(1).step_by(2).map(str::to_owned);
        steps.entry(case.to_owned()).or_default().extend(named);
    }
    steps
}

/// Some steps wait for what the recorded server did within seconds. A machine that does much else needs longer for it:
/// that is no difference, and costs nothing where it is not needed.
const PATIENCE: u32 = 60;

/// Gives steps that wait, but for those that are known to differ, enough time for any machine.
fn be_patient(steps: &mut Value, known: &BTreeSet<String>) {
    for step in steps.as_array_mut().into_iter().flatten() {
        if step["name"].as_str().is_some_and(|name| known.contains(name)) {
            continue;
        }
        if step.get("eventually").is_some() {
            step["eventually"] = PATIENCE.into();
        }
        if let Some(watch) = step.get_mut("watch") {
            watch["timeout"] = PATIENCE.into();
            be_patient(&mut watch["steps"], known);
        }
    }
}

/// An API server alone, and the files by which its administrator asks it.
struct Server {
    cluster: Cluster,
}

impl Server {
    fn start(tag: &str) -> Self {
        let mut cluster = Cluster::prepare(tag, Layout::ApiServer(SERVICES));
        cluster.start_processes();
        let kubectl = cluster.kubectl();
        let server = Self { cluster };
        let wait = format!("the first objects of {tag}");
        testkit::until(Duration::from_secs(60), &wait, || {
            let roles = kubectl.try_json(&["get", "clusterrolebinding", "system:kube-scheduler"]);
            roles.and_then(|_| kubectl.try_json(&["get", "service", "kubernetes"]))
        });
        // The records name who made them.
        let path = server.file("admin.kubeconfig");
        server.cluster.write_kubeconfig(&path, "admin", &["system:masters"]);
        let kubeconfig = std::fs::read_to_string(path).expect("it is written");
        for file in ["certificate-authority-data", "client-certificate-data", "client-key-data"] {
            let line = kubeconfig.lines().find_map(|line| line.trim().strip_prefix(file)?.strip_prefix(": "));
            let data = BASE64_STANDARD.decode(line.expect("the kubeconfig has it").trim_matches('"')).expect("base64");
            std::fs::write(server.file(file), data).expect("it can be written");
        }
        server
    }

    fn file(&self, name: &str) -> PathBuf {
        self.cluster.kubeconfig().with_file_name(name)
    }

    /// What is wrong with the answers to the steps of a case.
    fn check(&self, golden: &Path, case: &Path, differences: &Steps) -> Option<String> {
        let name = case.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let none = BTreeSet::new();
        let known = differences.get(&name).unwrap_or(&none);
        let mut copy: Value = serde_json::from_slice(&std::fs::read(case).expect("it is there")).expect("JSON");
        be_patient(&mut copy["steps"], known);
        let case = self.file(&format!("{name}.json"));
        std::fs::write(&case, copy.to_string()).expect("it can be written");
        let (failed, report) = self.replay(golden, &case);
        let unknown: Vec<&String> = failed.difference(known).collect();
        (!unknown.is_empty()).then(|| format!("{name}: {unknown:?}\n{report}"))
    }

    /// The steps of a case that failed, and what the replayer says of them.
    fn replay(&self, golden: &Path, case: &Path) -> (BTreeSet<String>, String) {
        let output = skiff_e2e::run_inside(self.cluster.machines().first(), || {
            let mut command = Command::new("python3");
            command.arg(golden.join("replay.py")).args(["--server", "https://127.0.0.1:6443", "--lines", "8"]);
            command.arg("--ca").arg(self.file("certificate-authority-data"));
            command.arg("--cert").arg(self.file("client-certificate-data"));
            command.arg("--key").arg(self.file("client-key-data"));
            command.arg(case).output().expect("python3 is installed")
        });
        let (report, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let ends_well = report.lines().last().is_some_and(|line| line.ends_with(" failed"));
        assert!(ends_well, "{}: {report}{errors}\n{}", case.display(), self.cluster.logs(20));
        let failed = report.lines().filter_map(|line| line.strip_prefix("  FAIL ")).map(str::to_owned).collect();
        (failed, report.into_owned())
    }
}
