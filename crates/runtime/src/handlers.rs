//! Runtime handlers: what RuntimeClasses may name.
//!
//! The handler without a name is libcontainer in the shim. Others are programs with runc's command line.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;

use cri::{RuntimeHandler, RuntimeHandlerFeatures};
use serde::Deserialize;

/// The handlers of an installation.
#[derive(Clone, Debug, Default)]
pub(crate) struct RuntimeHandlers {
    programs: BTreeMap<String, PathBuf>,
    described: Vec<RuntimeHandler>,
}

/// What `<program> features` says, as far as it matters here.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Features {
    mount_options: Vec<String>,
}

impl RuntimeHandlers {
    /// Asks the programs what they can.
    pub(crate) async fn detect(programs: BTreeMap<String, PathBuf>) -> Self {
        let own = RuntimeHandlerFeatures { recursive_read_only_mounts: true, user_namespaces: maps_layers() };
        let mut described = vec![RuntimeHandler { name: String::new(), features: Some(own) }];
        for (name, program) in &programs {
            let output = tokio::process::Command::new(program).arg("features").stdin(Stdio::null()).output().await;
            let features = match output {
                // One that cannot say it has none.
                Ok(output) => serde_json::from_slice(&output.stdout).unwrap_or_default(),
                Err(err) => {
                    tracing::warn!(handler = name, program = %program.display(), %err, "a runtime handler cannot be run");
                    Features::default()
                }
            };
            described.push(RuntimeHandler { name: name.clone(), features: Some(of_program(&features)) });
        }
        Self { programs, described }
    }

    /// Whether there is a handler of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        name.is_empty() || self.programs.contains_key(name)
    }

    /// The program of a handler; none for libcontainer.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        self.programs.get(name).cloned()
    }

    /// All handlers with what they can.
    pub(crate) fn describe(&self) -> Vec<RuntimeHandler> {
        self.described.clone()
    }
}

/// Whether the kernel can show layers of images to users of a pod's own: since Linux 5.19.
fn maps_layers() -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(5), Some(19))
}

fn of_program(features: &Features) -> RuntimeHandlerFeatures {
    let recursive_read_only_mounts = features.mount_options.iter().any(|option| option == "rro");
    RuntimeHandlerFeatures { recursive_read_only_mounts, user_namespaces: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_is_not_there_can_nothing() {
        let programs = [("gone".to_owned(), PathBuf::from("/no/such/program"))].into();
        let handlers = RuntimeHandlers::detect(programs).await;
        assert!(handlers.has("") && handlers.has("gone") && !handlers.has("other"));
        assert_eq!(handlers.program(""), None);
        let described = handlers.describe();
        let can = |at: usize| described[at].features.as_ref().is_some_and(|can| can.recursive_read_only_mounts);
        assert!(can(0) && !can(1));
    }

    #[test]
    fn features_are_read() {
        let text = r#"{"ociVersionMin": "1.0.0", "mountOptions": ["ro", "rro"], "linux": {"namespaces": ["pid"]}}"#;
        let features: Features = serde_json::from_str(text).expect("well formed");
        assert!(of_program(&features).recursive_read_only_mounts);
    }
}
