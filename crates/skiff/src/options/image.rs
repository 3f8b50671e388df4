//! Options of `skiff image`.

use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, Subcommand};

use super::user::Installation;

/// Manage the images of this node's built-in runtime.
#[derive(Args, Clone, Debug)]
pub struct Image {
    #[command(subcommand)]
    pub action: ImageAction,
}

/// What to do with images.
#[derive(Clone, Debug, Subcommand)]
pub enum ImageAction {
    /// Import the images for this machine from an OCI layout or a docker-archive
    Import {
        #[command(flatten)]
        installation: Installation,
        /// Name of the image, if the archive does not name it, or another one
        #[arg(long, value_name = "NAME")]
        tag: Option<String>,
        /// The tar file, plain or compressed; - for standard input
        file: PathBuf,
    },
    /// Write images as an archive, which is an OCI layout and a docker-archive at once
    #[command(visible_alias = "save")]
    Export {
        #[command(flatten)]
        installation: Installation,
        /// The tar file; - for standard output
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Names or identifiers
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Pull images from their registries
    Pull {
        #[command(flatten)]
        installation: Installation,
        #[command(flatten)]
        login: Login,
        /// Names
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Push an image to a registry
    Push {
        #[command(flatten)]
        installation: Installation,
        #[command(flatten)]
        login: Login,
        /// Name or identifier of the image, which is pushed under that name if no other is given
        image: String,
        /// Name in the registry, with a tag
        name: Option<String>,
    },
    /// Make an image of one layer from a directory
    Build {
        #[command(flatten)]
        installation: Installation,
        /// The directory that becomes the image's root
        #[arg(long, value_name = "DIR")]
        from_rootfs: PathBuf,
        /// Name of the image, such as skiff.local/hello:1
        #[arg(long, value_name = "NAME")]
        tag: String,
        /// The image's entrypoint (repeat it for each argument)
        #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
        entrypoint: Vec<String>,
        /// The image's command (repeat it for each argument)
        #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
        cmd: Vec<String>,
        /// An environment variable (may be repeated)
        #[arg(long, value_name = "NAME=VALUE")]
        env: Vec<String>,
        /// User, by name or number, with an optional group after a colon
        #[arg(long, default_value = "", value_name = "USER")]
        user: String,
        /// Working directory
        #[arg(long, default_value = "/", value_name = "DIR")]
        workdir: String,
        /// A directory that each container gets for itself, writable and beside its root; may be repeated
        #[arg(long = "volume", value_name = "PATH")]
        volumes: Vec<String>,
    },
    /// List the images
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        installation: Installation,
    },
    /// Show in JSON what is known of images
    Inspect {
        #[command(flatten)]
        installation: Installation,
        /// Names or identifiers
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Remove names of images, and each image with its last name
    Rm {
        #[command(flatten)]
        installation: Installation,
        /// Remove an image that is named by its identifier though it has names in several repositories
        #[arg(short, long, action = ArgAction::SetTrue)]
        force: bool,
        /// Names or identifiers
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Remove the images that no container has, but for those that came from archives
    Prune {
        #[command(flatten)]
        installation: Installation,
        /// Remove those that came from archives too, which may not be to be had again
        #[arg(long, action = ArgAction::SetTrue)]
        all: bool,
    },
}

/// Who asks a registry.
#[derive(Args, Clone, Debug)]
pub struct Login {
    /// User and password [default: what the file of credentials has]
    #[arg(long, env = "SKIFF_REGISTRY_CREDS", hide_env_values = true, value_name = "USER:PASSWORD")]
    pub creds: Option<String>,
    /// A configuration of docker's with credentials [default: ~/.docker/config.json, if it is there]
    #[arg(long, env = "REGISTRY_AUTH_FILE", value_name = "FILE")]
    pub authfile: Option<PathBuf>,
}

/// What the built-in runtime is told of images and of other runtimes.
#[derive(Args, Clone, Debug)]
pub struct BuiltinRuntime {
    /// Directory with mirrors, authorities and the like of registries: <registry>/hosts.toml, as containerd has them
    #[arg(long, env = "SKIFF_REGISTRY_CONFIG_DIR", default_value = "/etc/skiff/certs.d", value_name = "DIR")]
    pub registry_config_dir: PathBuf,
    /// Directory with archives of images that are imported at the start [default: <data-dir>/images]
    #[arg(long, env = "SKIFF_IMAGE_PRELOAD_DIR", value_name = "DIR")]
    pub image_preload_dir: Option<PathBuf>,
    /// OCI runtime with runc's command line that RuntimeClasses may name as their handler; may be given several times
    #[arg(long, env = "SKIFF_RUNTIME_HANDLER", value_parser = handler, value_delimiter = ',', value_name = "NAME=PROGRAM")]
    pub runtime_handler: Vec<(String, PathBuf)>,
}

/// A name and a program.
fn handler(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, program)) if !name.is_empty() && Path::new(program).is_absolute() => {
            Ok((name.to_owned(), PathBuf::from(program)))
        }
        _ => Err("must be a name and an absolute path, as in gvisor=/usr/bin/runsc".to_owned()),
    }
}

impl BuiltinRuntime {
    /// Puts them into the runtime's configuration.
    pub fn set(&self, config: &mut runtime::Config) {
        config.registry_config_dir.clone_from(&self.registry_config_dir);
        if let Some(dir) = &self.image_preload_dir {
            config.image_preload_dir.clone_from(dir);
        }
        config.runtime_handlers.extend(self.runtime_handler.iter().cloned());
    }
}
