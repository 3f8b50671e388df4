//! Why a machine cannot join, and what whoever runs it can do about that.

use jiff::SignedDuration;

/// Why a machine cannot join.
#[derive(Debug, thiserror::Error)]
pub enum JoinFailure {
    /// Nobody answers.
    #[error(
        "cannot reach {server}: {reason}; check --server, that `skiff server` runs there, and that no firewall closes \
         its port"
    )]
    Unreachable { server: String, reason: String },
    /// Somebody else answers.
    #[error("{server} is no Skiff server, it answers {answer}; check --server")]
    NoServer { server: String, answer: String },
    /// The clocks are so far apart that one side would not believe the other's certificates.
    #[error("this machine's clock is {} the server's: set it, or the server's, such as with chrony", apart(*.ahead))]
    Clock { ahead: SignedDuration },
    /// The server, or whoever answers in its place, has another CA.
    #[error(
        "{server} is not the server that the token was made for, or somebody on the way answers in its place: \
         {why}; print the token anew on the server: skiff token create"
    )]
    OtherCluster { server: String, why: pki::JoinTokenError },
    /// The information about the cluster is not signed by the token.
    #[error(
        "{server} cannot prove that it knows the token {id}: the token is wrong, has expired or was deleted, or \
         somebody on the way answers in the server's place; make a token on the server: skiff token create"
    )]
    Unproven { server: String, id: String },
    /// The token has ended.
    #[error(
        "{server} knows no token {id}: it has expired or was deleted; make another on the server: skiff token create"
    )]
    UnknownToken { server: String, id: String },
    /// The token is there, but with another secret.
    #[error("{server} has another secret for the token {id}: copy the whole token, as `skiff token list` shows it")]
    WrongSecret { server: String, id: String },
    /// The token is there, and right, but no good for joining.
    #[error(
        "{server} does not let the token {id} in: it has just expired, or was made without the usage authentication; \
         make another on the server: skiff token create"
    )]
    RefusedToken { server: String, id: String },
    /// The server's own secret is another.
    #[error("{server} does not accept the token; print the right one on the server: skiff token")]
    WrongToken { server: String },
    /// Somebody has decided against this machine.
    #[error("the certificate request {request} was denied: {reason}")]
    Denied { request: String, reason: String },
    /// Nobody has signed in time.
    #[error(
        "the certificate request {request} is still not signed; see `kubectl get csr`, and whether the controller \
         manager runs"
    )]
    NotSigned { request: String },
}

impl JoinFailure {
    /// Whether it stays so until somebody does something on this machine. What is not final may be a server that is
    /// not up yet.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Unreachable { .. } | Self::NoServer { .. } | Self::Clock { .. } | Self::NotSigned { .. })
    }
}

fn apart(ahead: SignedDuration) -> String {
    let length = api::table::human_duration(ahead.abs().as_secs());
    if ahead.is_negative() { format!("{length} behind") } else { format!("{length} ahead of") }
}
