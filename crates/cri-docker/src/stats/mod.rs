//! What containers and sandboxes use.

mod container;
mod sandbox;

use cri::UInt64Value;

pub(crate) use container::{list as list_containers, one as container};
pub(crate) use sandbox::{list as list_sandboxes, one as sandbox};

/// So many containers are asked about at the same time.
const AT_ONCE: usize = 16;

fn value(value: Option<u64>) -> Option<UInt64Value> {
    value.map(|value| UInt64Value { value })
}
