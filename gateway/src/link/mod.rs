pub mod frame;
pub mod lane;
pub mod session;
