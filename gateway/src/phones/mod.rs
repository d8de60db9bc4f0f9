//! Who may register to us: kept in `data_dir/phones.toml`, changed by commands, taken up by a running gateway.
//!
//! A password is kept as its hashes for digest (HA1), which count for one realm alone; they are as good as the
//! password for whoever wants to register, so nothing shows them.

mod book;
mod store;

pub use book::{Book, Record, USUAL_REALM, check_realm};
pub use store::Store;

use signaling_trunk::lines::PhoneSpec;
use std::path::Path;

/// What the file says now: the realm, empty where there is nobody, and who may register.
///
/// # Errors
/// A sentence: the file cannot be used, or it was made for another realm than the configuration's (empty: any).
pub fn load(data_dir: &Path, realm: &str) -> Result<(String, Vec<PhoneSpec>), String> {
    let store = Store::new(data_dir);
    let book = store.load().map_err(|error| format!("{error}."))?;
    book.fits(realm, &store.path())?;
    Ok(book.specs())
}
