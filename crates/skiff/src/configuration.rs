//! Where options come from: the command line, then `SKIFF_*` variables, then a configuration file, then defaults.
//!
//! The file's values become the command's defaults, so that one parser judges all of them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Arg, ArgMatches, Command};

/// Read where it exists; a file that is named must exist.
const DEFAULT_FILE: &str = "/etc/skiff/config.yaml";

/// The option that names a `KubeletConfiguration`.
const KUBELET_CONFIG: &str = "kubelet-config";

/// Parses `arguments` for `command`, with the configuration file of the chosen sub-command underneath.
///
/// Errors of usage end the process as clap does: a message that says what to do, and exit code 2.
pub fn parse(command: Command, arguments: Vec<OsString>) -> Result<ArgMatches> {
    let named = file_argument(&arguments);
    let path = match &named {
        Some(path) => path.clone(),
        None if Path::new(DEFAULT_FILE).exists() => PathBuf::from(DEFAULT_FILE),
        None => return Ok(command.get_matches_from(arguments)),
    };
    let Some(name) = chosen_subcommand(&command, &arguments) else {
        return Ok(command.get_matches_from(arguments));
    };
    let known = option_names(&command, &name);
    if !known.iter().any(|option| option == "config") {
        return Ok(command.get_matches_from(arguments));
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let options = read(&path, &known)?;
    let command = command.mut_subcommand(name, |mut subcommand| {
        for (option, values) in options {
            subcommand = subcommand.mut_arg(argument_id(&option), |argument: Arg| {
                // A required option that the file gives is no longer required on the command line.
                argument.required(false).default_values(values)
            });
        }
        subcommand
    });
    Ok(command.get_matches_from(arguments))
}

/// The options of a file. A `KubeletConfiguration`, which upstream's kubelet takes by the same option, is one of them.
fn read(path: &Path, known: &[&str]) -> Result<BTreeMap<String, Vec<String>>> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    if known.contains(&KUBELET_CONFIG) && kubelet::is_configuration(&text) {
        return Ok(BTreeMap::from([(KUBELET_CONFIG.to_owned(), vec![path.display().to_string()])]));
    }
    Ok(base::config::read(path, known)?)
}

/// clap's identifier of a derived argument: its field's name.
fn argument_id(option: &str) -> String {
    option.replace('-', "_")
}

fn file_argument(arguments: &[OsString]) -> Option<PathBuf> {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(text) = argument.to_str() else { continue };
        if text == "--config" {
            return rest.next().map(PathBuf::from);
        }
        if let Some(path) = text.strip_prefix("--config=") {
            return Some(PathBuf::from(path));
        }
    }
    std::env::var_os("SKIFF_CONFIG").map(PathBuf::from)
}

fn chosen_subcommand(command: &Command, arguments: &[OsString]) -> Option<String> {
    let first = arguments.get(1)?.to_str()?;
    command.find_subcommand(first).map(|subcommand| subcommand.get_name().to_owned())
}

fn option_names(command: &Command, subcommand: &str) -> Vec<String> {
    let arguments = command.find_subcommand(subcommand).into_iter().flat_map(Command::get_arguments);
    arguments.filter_map(|argument| argument.get_long().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn parse_with_file(text: &str, arguments: &[&str]) -> Result<ArgMatches> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let mut line: Vec<OsString> = vec!["skiff".into(), "server".into(), "--config".into(), file.path().into()];
        line.extend(arguments.iter().map(OsString::from));
        parse(Cli::command(), line)
    }

    #[track_caller]
    fn check_node_name(text: &str, arguments: &[&str], expected: &str) {
        let matches = parse_with_file(text, arguments).unwrap();
        let server = matches.subcommand_matches("server").unwrap();
        assert_eq!(server.get_one::<String>("node_name").map(String::as_str), Some(expected));
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        check_node_name("node-name: from-file", &[], "from-file");
        check_node_name("node-name: from-file", &["--node-name=from-line"], "from-line");
    }

    #[test]
    fn a_kubelets_configuration_is_taken_where_there_is_a_kubelet() {
        let text = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: 5\n";
        let matches = parse_with_file(text, &[]).unwrap();
        let server = matches.subcommand_matches("server").unwrap();
        assert!(server.get_one::<PathBuf>("kubelet_config").is_some());
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        let err = parse_with_file("nod-name: x", &[]).unwrap_err();
        assert!(err.to_string().contains("did you mean \"node-name\"?"), "{err}");
    }

    #[test]
    fn a_named_file_must_exist() {
        let line = ["skiff", "server", "--config", "/nonexistent/skiff.yaml"].map(OsString::from);
        let err = parse(Cli::command(), line.to_vec()).unwrap_err();
        assert!(err.to_string().contains("cannot read configuration file /nonexistent/skiff.yaml"), "{err}");
    }
}
