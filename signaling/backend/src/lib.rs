//! The application's backend is in charge: what a page asks is put to it first, and what happens is told to it
//! (protocol §5, §6).
//!
//! [`Desk`] stands around the calls' switchboard with the same face, so that whoever drives it drives both. It knows
//! applications, hooks, policies and limits per application; it touches no socket, clock or file: requests to a
//! backend leave it as [`Output::Request`], and what became of them comes back as [`Input::Answered`].

mod api;
mod app;
mod desk;

pub use api::{HookOutcome, Input, Output, Request, RequestId, Settings};
pub use app::{App, AppKey, Apps, RawSip};
pub use desk::Desk;
