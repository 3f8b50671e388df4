//! Processes in containers, at once or by streams, and ports of sandboxes.

mod attach;
mod exec;
mod exec_sync;
mod port_forward;
mod pump;

use cri::Status;

pub(crate) use attach::attach;
pub(crate) use exec::exec;
pub(crate) use exec_sync::exec_sync;
pub(crate) use port_forward::port_forward;

fn check_streams(tty: bool, wanted: streaming::Wanted) -> Result<(), Status> {
    if tty && wanted.stderr {
        return Err(Status::invalid_argument("tty and stderr cannot both be true"));
    }
    if wanted.stdin || wanted.stdout || wanted.stderr {
        return Ok(());
    }
    Err(Status::invalid_argument("one of stdin, stdout and stderr must be true"))
}
