//! Each rule on a small tree that keeps it and on one that breaks it.

use super::source::{Dependency, Package, SourceFile, Tree};
use super::{Complaint, RULES};

/// Runs one rule by its name; what it complains of, as `file:line`.
#[track_caller]
fn complaints(rule: &str, tree: &Tree) -> Vec<String> {
    let (_, rule) = RULES.iter().find(|(name, _)| *name == rule).expect("a rule of that name");
    rule(tree).iter().map(|Complaint { file, line, .. }| format!("{file}:{line}")).collect()
}

/// Expects a rule to complain of these lines of one file, and of nothing else.
#[track_caller]
fn check(rule: &str, path: &str, text: &str, lines: &[usize]) {
    let file = SourceFile::parse(path, text.to_owned()).expect("the text is Rust");
    let tree = Tree { files: vec![file], ..Tree::default() };
    let expected: Vec<_> = lines.iter().map(|line| format!("{path}:{line}")).collect();
    assert_eq!(complaints(rule, &tree), expected);
}

/// Expects a rule to complain so often of a workspace.
#[track_caller]
fn check_workspace(rule: &str, tree: &Tree, count: usize) {
    assert_eq!(complaints(rule, tree).len(), count, "{:?}", complaints(rule, tree));
}

/// A crate; `dependencies` end with `!` where they are for tests, with `?` where they are optional.
fn package(path: &str, dependencies: &[&str]) -> Package {
    let dependencies = dependencies.iter().map(|text| {
        let name = text.trim_end_matches(['!', '?']).to_owned();
        let folder = ["api", "store", "client", "kubelet"].contains(&name.as_str()).then(|| name.clone());
        Dependency { name, dev: text.ends_with('!'), optional: text.ends_with('?'), folder }
    });
    Package { path: path.to_owned(), dependencies: dependencies.collect() }
}

fn with_packages(packages: Vec<Package>) -> Tree {
    Tree { packages, ..Tree::default() }
}

fn with_manifest(lines: &str, doc: &str, taken: &[&str]) -> Tree {
    let manifest = format!("[workspace]\nresolver = \"3\"\n\n[workspace.dependencies]\n{lines}\n[profile.x]\ny = 1\n");
    Tree { manifest, dependencies_doc: doc.to_owned(), packages: vec![package("xtask", taken)], ..Tree::default() }
}

#[track_caller]
fn check_used(dependency: &str, path: &str, text: &str, is_used: bool) {
    let file = SourceFile::parse(path, text.to_owned()).expect("the text is Rust");
    let tree = Tree { files: vec![file], packages: vec![package("crates/api", &[dependency])], ..Tree::default() };
    check_workspace("every dependency of a crate is used", &tree, usize::from(!is_used));
}

#[test]
fn arrows_point_down() {
    let rule = "dependency arrows point down";
    check_workspace(rule, &with_packages(vec![package("crates/kubelet", &["client", "api"])]), 0);
    check_workspace(rule, &with_packages(vec![package("crates/api", &["client"])]), 1);
    check_workspace(rule, &with_packages(vec![package("crates/api", &["client!"])]), 0);
    check_workspace(rule, &with_packages(vec![package("crates/new", &[])]), 1);
    check_workspace(rule, &with_packages(vec![package("tests/e2e", &["kubelet"])]), 0);
}

#[test]
fn only_the_api_server_uses_the_store() {
    let rule = "only the API server uses the store";
    check_workspace(rule, &with_packages(vec![package("crates/apiserver", &["store"])]), 0);
    check_workspace(rule, &with_packages(vec![package("crates/kubelet", &["store"])]), 1);
    check_workspace(rule, &with_packages(vec![package("tests/e2e", &["store"])]), 1);
}

#[test]
fn dependencies_are_explained() {
    let rule = "every dependency is explained";
    check_workspace(rule, &with_manifest("# A note = 1\nbytes = \"1\"", "- `bytes`: shared bytes", &[]), 0);
    check_workspace(rule, &with_manifest("bytes = \"1\"", "bytes are many", &[]), 1);
    check_workspace(rule, &with_manifest("api = { path = \"crates/api\" }", "", &[]), 0);
}

#[test]
fn dependencies_of_the_workspace_have_a_user() {
    let rule = "every dependency of the workspace has a user";
    check_workspace(rule, &with_manifest("bytes = \"1\"\nurl = \"2\"", "", &["bytes", "url!"]), 0);
    check_workspace(rule, &with_manifest("bytes = \"1\"\nurl = \"2\"", "", &["bytes"]), 1);
}

#[test]
fn dependencies_of_a_crate_are_used() {
    let lib = "crates/api/src/lib.rs";
    check_used("serde-json", lib, "fn f() { serde_json::to_string(&1); }", true);
    check_used("bytes", lib, "use bytes::Bytes;", true);
    check_used("cri", lib, "pub use cri as v1;", true);
    check_used("tonic-build", "crates/api/build.rs", "fn main() { tonic_build::configure(); }", true);
    check_used("tokio", lib, "#[tokio::main] async fn main() {}", true);
    check_used("bytes", lib, "// bytes::Bytes\nfn f() { my_bytes::f(); }", false);
    check_used("jiff", lib, "use crate::jiff::x;", false);
    check_used("jiff", "crates/client/src/lib.rs", "use jiff::x;", false);
    check_used("jiff", "crates/api/tests/a.rs", "use jiff::x;", false);
    check_used("jiff!", "crates/api/tests/a.rs", "use jiff::x;", true);
    check_used("jiff?", lib, "", true);
}

#[test]
fn files_and_functions_are_short() {
    let long = "//! x\n".repeat(801);
    check("files are short", "a.rs", &long, &[0]);
    check("files are short", "a.rs", &format!("// tidy: long because it is a table\n{long}"), &[]);
    check("files are short", "a.rs", &format!("// @generated\n{long}"), &[]);
    let function = |head: &str| format!("{head}fn f() {{\n{}}}\n", "g();\n".repeat(150));
    check("functions are short", "a.rs", &function(""), &[1]);
    check("functions are short", "a.rs", &function("// tidy: long because it is a table\n"), &[]);
    check("functions are short", "a/tests/b.rs", &function(""), &[]);
}

#[test]
fn modules_say_what_they_are_for() {
    let rule = "modules say what they are for";
    check(rule, "a.rs", "//! Pods.\nfn f() {}", &[]);
    check(rule, "a.rs", "fn f() {}", &[0]);
    check(rule, "a/tests/b.rs", "fn f() {}", &[]);
    check(rule, "tests/e2e/benches/b.rs", "fn f() {}", &[0]);
}

#[test]
fn nothing_is_left_half_done() {
    let rule = "nothing is left half done";
    check(rule, "a.rs", "fn f() {\n    todo!()\n}\nfn g() { dbg!(1); }\nfn h() { unimplemented!() }", &[2, 4, 5]);
    check(rule, "a.rs", "fn f() { unreachable!() }", &[]);
}

#[test]
fn lints_are_not_switched_off() {
    let rule = "lints are not switched off";
    check(rule, "a.rs", "#[allow(dead_code)]\nfn f() {}\n#[expect(dead_code)]\nfn g() {}", &[1, 3]);
    check(rule, "a.rs", "#[expect(dead_code, reason = \"the wire format has it\")]\nfn f() {}", &[]);
}

#[test]
fn tests_run_and_do_not_sleep() {
    check("no test is ignored", "a.rs", "#[test]\n#[ignore]\nfn f() {}", &[2]);
    let rule = "tests do not sleep";
    check(rule, "a.rs", "fn f() { std::thread::sleep(x); }", &[]);
    check(rule, "a.rs", "#[cfg(test)]\nmod tests {\n    fn f() { std::thread::sleep(x); }\n}", &[3]);
    check(rule, "a/tests/b.rs", "async fn f() { tokio::time::sleep(x).await; }", &[1]);
    check(rule, "tests/e2e/benches/b.rs", "fn f() { std::thread::sleep(x); }", &[]);
}

#[test]
fn unsafe_code_stays_in_system_call_modules() {
    let rule = "unsafe code stays in system call modules";
    let text = "fn f() { unsafe { g() } }";
    check(rule, "crates/a/src/b.rs", text, &[1]);
    check(rule, "crates/a/src/sys.rs", text, &[]);
    check(rule, "crates/a/src/syscall/b.rs", text, &[]);
}
