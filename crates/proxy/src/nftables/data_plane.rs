//! The table in the kernel, kept in step with the [`Table`] that we believe in.

use client::ObjectKey;
use network::nft::{self, BatchSocket, NftError};

use super::{Change, ServiceRules, StaleFlow, Table, TableConfig};

/// The table of one network namespace: that of the threads which use it. All calls are blocking.
#[derive(Debug)]
pub struct DataPlane {
    table: Table,
    socket: Option<BatchSocket>,
}

impl DataPlane {
    /// A data plane that has not touched the kernel yet: [`DataPlane::replace`] comes first.
    pub fn new(config: TableConfig) -> Self {
        Self { table: Table::new(config), socket: None }
    }

    /// Changes services and applies what differs. The flows to forget are returned.
    ///
    /// After an error the kernel has what it had before, and only [`DataPlane::replace`] brings it into step again.
    pub fn update(&mut self, changes: Vec<(ObjectKey, Option<ServiceRules>)>) -> Result<Vec<StaleFlow>, NftError> {
        let update = self.table.update(changes);
        match update.change {
            Change::Batch(batch) if batch.is_empty() => {}
            Change::Batch(batch) => {
                let socket = match self.socket.take() {
                    Some(socket) => socket,
                    None => BatchSocket::open()?,
                };
                socket.apply(batch)?;
                self.socket = Some(socket);
            }
            Change::Script(script) => nft::apply(&script)?,
        }
        Ok(update.stale)
    }

    /// Changes services and replaces the whole table, whatever the kernel has. The flows to forget are returned.
    pub fn replace(&mut self, changes: Vec<(ObjectKey, Option<ServiceRules>)>) -> Result<Vec<StaleFlow>, NftError> {
        let stale = self.table.set(changes);
        nft::apply(&self.table.replace())?;
        Ok(stale)
    }
}
