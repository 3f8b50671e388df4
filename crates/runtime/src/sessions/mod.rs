//! What clients of the streaming server talk to: processes in containers, and ports of sandboxes.

mod attach;
mod exec;

use std::sync::Arc;

use streaming::{Forward, Session, dial_in};

pub(crate) use attach::session as attach;
pub(crate) use exec::session as exec;

use crate::container::Terminal;
use crate::sandbox::{Sandbox, is_host_network};

/// Reaches ports inside of a sandbox.
pub(crate) fn port_forward(sandbox: &Arc<Sandbox>, ports: Vec<u16>) -> Session {
    let namespace = (!is_host_network(&sandbox.record().config)).then(|| sandbox.paths().namespace("net"));
    Session::PortForward(Forward { sandbox: sandbox.id().to_string(), ports, dial: dial_in(namespace) })
}

fn resize(terminal: Terminal) -> streaming::Resize {
    Box::new(move |columns, rows| {
        // A terminal that is gone has no size.
        let _ = terminal.resize(columns, rows);
    })
}
