//! Options of the commands that people type against a running cluster.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand};

/// Which installation a command means.
#[derive(Args, Clone, Debug)]
pub struct Installation {
    /// Directory of durable data
    #[arg(long, env = "SKIFF_DATA_DIR", default_value = "/var/lib/skiff", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Directory of sockets and other state that ends with a reboot
    #[arg(long, env = "SKIFF_RUN_DIR", default_value = "/run/skiff", value_name = "DIR")]
    pub run_dir: PathBuf,
}

impl Installation {
    /// The installation that these options name.
    pub fn instance(&self) -> base::Instance {
        base::Instance::new(&self.data_dir, &self.run_dir)
    }
}

/// Write a kubeconfig for a user, signed by this machine's cluster authority.
#[derive(Args, Clone, Debug)]
pub struct Kubeconfig {
    #[command(flatten)]
    pub installation: Installation,
    /// Name of the user
    #[arg(long, value_name = "NAME")]
    pub user: String,
    /// A group of the user (may be repeated)
    #[arg(long, value_name = "NAME")]
    pub group: Vec<String>,
    /// Address of the API server
    #[arg(long, default_value = "https://127.0.0.1:6443", value_name = "URL")]
    pub server: String,
    /// Where to write it
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// List and renew the certificates of this machine.
#[derive(Args, Clone, Debug)]
pub struct Cert {
    #[command(subcommand)]
    pub action: CertAction,
}

/// What to do with certificates.
#[derive(Clone, Debug, Subcommand)]
pub enum CertAction {
    /// List them: what they are, whose, and when they end
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        installation: Installation,
        /// A kubeconfig to list too (may be repeated)
        #[arg(long, default_value = "/etc/skiff/kubeconfig", value_name = "FILE")]
        kubeconfig: Vec<PathBuf>,
    },
    /// Issue them anew before it is due; a server that runs takes them up at once
    Rotate {
        #[command(flatten)]
        installation: Installation,
        /// Give the authorities successors, which issue from then on; both are trusted until the earlier one ends
        #[arg(long, action = ArgAction::SetTrue)]
        ca: bool,
        /// A kubeconfig whose certificate is issued anew too (may be repeated)
        #[arg(long, default_value = "/etc/skiff/kubeconfig", value_name = "FILE")]
        kubeconfig: Vec<PathBuf>,
    },
}

/// Print the server's own join token, or manage tokens that end.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Token {
    #[command(flatten)]
    pub installation: Installation,
    #[command(subcommand)]
    pub action: Option<TokenAction>,
}

/// What to do with bootstrap tokens.
#[derive(Clone, Debug, Subcommand)]
pub enum TokenAction {
    /// Make a token, and print the line with which a machine joins by it
    Create(TokenCreate),
    /// List the tokens
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        reach: Reach,
    },
    /// Delete tokens: nobody joins by them any more
    #[command(visible_alias = "rm")]
    Delete {
        #[command(flatten)]
        reach: Reach,
        /// Tokens, or their ids: what stands before the dot
        #[arg(required = true)]
        tokens: Vec<String>,
    },
}

/// The token to make.
#[derive(Args, Clone, Debug)]
pub struct TokenCreate {
    #[command(flatten)]
    pub reach: Reach,
    /// The token, as 6 and 16 small letters and digits with a dot between them [default: a random one]
    pub token: Option<String>,
    /// How long it is good, such as 24h or 30m; 0 for ever
    #[arg(long, default_value = "24h", value_parser = super::duration, value_name = "DURATION")]
    pub ttl: std::time::Duration,
    /// For what it was made, for people
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub description: String,
    /// For what it is good: signing, authentication (may be repeated)
    #[arg(long, value_delimiter = ',', default_value = "signing,authentication", value_parser = ["signing", "authentication"], value_name = "USAGE")]
    pub usages: Vec<String>,
    /// Groups of machines that use it, beside system:bootstrappers (may be repeated)
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "system:bootstrappers:skiff:default-node-token",
        value_name = "GROUP"
    )]
    pub groups: Vec<String>,
    /// Address of the server in the line that is printed [default: what the cluster tells of itself]
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
}

/// Say under which keys secrets are stored, and change the keys.
#[derive(Args, Clone, Debug)]
pub struct SecretsEncrypt {
    #[command(subcommand)]
    pub action: SecretsEncryptAction,
}

/// What to do with the keys.
#[derive(Clone, Debug, Subcommand)]
pub enum SecretsEncryptAction {
    /// Say which keys there are, and how many objects are stored under which
    Status(EncryptionKeys),
    /// Make new keys, let them write once the server knows them, and store everything anew with them; the keys before
    /// stay for reading until the next rotation
    Rotate(EncryptionKeys),
    /// Store everything anew that is stored under an earlier key, or under none
    Reencrypt {
        #[command(flatten)]
        keys: EncryptionKeys,
        /// Drop the keys that nothing is stored under any more; snapshots from before cannot be read then
        #[arg(long, action = ArgAction::SetTrue)]
        prune: bool,
    },
}

/// Where the keys are, and how to reach the server that uses them.
#[derive(Args, Clone, Debug)]
pub struct EncryptionKeys {
    #[command(flatten)]
    pub installation: Installation,
    #[command(flatten)]
    pub reach: Reach,
    /// EncryptionConfiguration that the server uses in place of the one in the data directory; written anew as JSON
    #[arg(long, env = "SKIFF_ENCRYPTION_PROVIDER_CONFIG", value_name = "FILE")]
    pub encryption_provider_config: Option<PathBuf>,
}

/// How a command reaches a running cluster.
#[derive(Args, Clone, Debug)]
pub struct Reach {
    /// The kubeconfig to use
    #[arg(long, env = "KUBECONFIG", default_value = "/etc/skiff/kubeconfig", value_name = "FILE")]
    pub kubeconfig: PathBuf,
}

/// Say how the cluster is.
#[derive(Args, Clone, Debug)]
pub struct Status {
    #[command(flatten)]
    pub reach: Reach,
}

/// Stop this machine's cluster and remove its containers, interfaces and rules.
#[derive(Args, Clone, Debug)]
pub struct Down {
    #[command(flatten)]
    pub installation: Installation,
    /// Remove durable data and the kubeconfig as well
    #[arg(long, action = ArgAction::SetTrue)]
    pub purge: bool,
    /// The kubeconfig that --purge removes
    #[arg(long, default_value = "/etc/skiff/kubeconfig", value_name = "FILE")]
    pub write_kubeconfig: PathBuf,
}
