//! `trunkgate reload`: asks the running gateway, by its admin port, to read its configuration again.

use crate::config::{Admin, Config};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Reading files takes no longer.
const PATIENCE: Duration = Duration::from_secs(15);
/// No answer of the gateway is longer.
const MOST: u64 = 1024 * 1024;

const BY_SIGNAL: &str = "a signal does the same: kill -HUP PID";

/// What to print.
///
/// # Errors
/// Sentences: nothing has changed.
pub fn reload(config: &Config) -> Result<String, Vec<String>> {
    let (status, body) = ask(&config.admin).map_err(|sentence| vec![sentence])?;
    let told: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    let sentences = |key: &str| -> Vec<String> {
        let list = told.get(key).and_then(serde_json::Value::as_array);
        let texts = list.into_iter().flatten().filter_map(|text| text.as_str());
        texts.map(str::to_owned).collect()
    };
    match status {
        200 => {
            let taken = crate::operated::TakenUp {
                changed: sentences("changed"),
                needs_restart: sentences("needs_restart"),
            };
            let mut told = taken.sentences();
            if taken.changed.is_empty() {
                // Whoever named another file here waits for its changes.
                told.push("Read was the file that the gateway was started with.".to_owned());
            }
            Ok(told.join("\n") + "\n")
        }
        401 => Err(vec![
            "The gateway does not take this admin.token: it was started with another one."
                .to_owned(),
        ]),
        403 => Err(vec![format!(
            "The gateway was started without an admin.token; {BY_SIGNAL}."
        )]),
        _ => {
            let mut complaints = sentences("complaints");
            if complaints.is_empty() {
                complaints.push(format!("The gateway answered {status}."));
            }
            complaints.push("Lines and rules stay as they were.".to_owned());
            Err(complaints)
        }
    }
}

fn ask(admin: &Admin) -> Result<(u16, String), String> {
    let Some(listen) = admin.listen else {
        return Err(format!(
            "admin.listen is off, so nobody can be asked; {BY_SIGNAL}."
        ));
    };
    let Some(token) = &admin.token else {
        return Err(format!(
            "admin.token is empty, so the gateway would take this from nobody; {BY_SIGNAL}."
        ));
    };
    if listen.port == 0 {
        return Err("admin.listen names no port: say the one of the line `listening admin`, as --set admin.listen=ADDR:PORT.".to_owned());
    }
    let ip = match listen.ip {
        None => Ipv4Addr::LOCALHOST.into(),
        Some(IpAddr::V4(ip)) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        Some(IpAddr::V6(ip)) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        Some(ip) => ip,
    };
    let address = SocketAddr::new(ip, listen.port);
    let failed = |error: std::io::Error| {
        format!("No gateway can be asked at {address} (admin.listen): {error}.")
    };
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let request = format!(
        "POST /reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        token.reveal()
    );
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer).map_err(failed)?;
    let answer = String::from_utf8_lossy(&answer);
    let parted = answer.split_once("\r\n\r\n").and_then(|(head, body)| {
        let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        Some((status, body.to_owned()))
    });
    parted.ok_or_else(|| format!("What answers at {address} is no gateway of ours."))
}
