//! The application's backend is in charge: what a page asks is put to it first, and what happens is told to it
//! (protocol §5, §6).
//!
//! [`Desk`] stands around the calls' switchboard with the same face, so that whoever drives it drives both. It knows
//! applications, hooks, policies and limits per application; it touches no socket, clock or file: requests to a
//! backend leave it as [`Output::Request`], and what became of them comes back as [`Input::Answered`].
//!
//! Frames go through `asked`, messages to pages through `told` (calls for them first through `incoming`), and
//! whatever waits for an answer has a [`Request`] that is answered once, or by a watchdog in `desk`.

mod api;
mod app;
mod asked;
mod bodies;
mod connect;
mod desk;
mod events;
mod incoming;
mod limits;
mod moving;
mod overwrite;
mod rate;
mod refused;
mod requests;
mod session;
mod told;

pub use api::{HookOutcome, Input, Output, Request, RequestId, Settings};
pub use app::{App, AppKey, Apps, RawSip};
pub use desk::Desk;
