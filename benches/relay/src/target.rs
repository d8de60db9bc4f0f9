//! What is measured: something that puts a browser and a phone together.

use std::net::SocketAddr;

/// The browser's side of a call, as its description tells it.
pub struct BrowserSide {
    pub address: SocketAddr,
    pub ufrag: String,
    pub pwd: String,
    pub fingerprint: Vec<u8>,
}

/// Where the call's two ends are to send.
pub struct Placed {
    /// Towards the browser.
    pub browser: SocketAddr,
    /// ICE's ufrag and password there; `None`: the browser's side speaks plain RTP too.
    pub ice: Option<(String, String)>,
    /// Towards the phone.
    pub phone: SocketAddr,
}

pub trait Target {
    fn name(&self) -> String;
    fn pid(&self) -> u32;
    /// Makes call `n` between these two ends.
    fn place(&mut self, n: usize, browser: &BrowserSide, phone: SocketAddr) -> Placed;
}
