//! Removal of the proxy's table.

use base::Instance;
use network::nft::{self, NftError};

/// Removes the instance's table; one that is not there is no error. Blocking.
pub fn cleanup(instance: &Instance) -> Result<(), NftError> {
    nft::delete_table("inet", &network::table_name(instance, "proxy"))
}
