//! The applications as the operator set them up (protocol §6): kept in `data_dir/apps.toml`, changed by commands, taken
//! up by a running gateway.

mod book;
mod record;
mod store;

pub use book::Book;
pub use record::{Record, all_methods};
pub use store::Store;
