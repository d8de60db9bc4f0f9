//! The calls: what a browser's wish and a PBX's ring become, and every decision on the way.
//!
//! [`Switchboard`] is the front door. It speaks JSON's types to browsers, the trunk's words to SIP and the
//! media role's words to media, and touches no socket, clock or file: whoever drives it brings the time.

pub mod negotiate;
