//! What a request carries so that the backend may believe it (protocol §5.1).

use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use md5::Md5;
use sha2::Sha256;
use signaling_backend::App;
use std::fmt::Write;

pub(super) const TIMESTAMP: HeaderName = HeaderName::from_static("x-trunkgate-timestamp");
pub(super) const SIGNATURE: HeaderName = HeaderName::from_static("x-trunkgate-signature");

/// Adds `Authorization` (Basic goes before WCS's own signature) and, where there is a secret, our signature:
/// HMAC-SHA-256 over the time stamp, a full stop and the body.
pub(super) fn sign(headers: &mut HeaderMap, app: &App, body: &[u8], unix_seconds: u64) {
    let secret = app.hook_secret.as_ref().map(|secret| secret.expose());
    let authorization = if !app.rest_user.is_empty() {
        let password = app.rest_password.as_ref().map_or("", |p| p.expose());
        Some(format!(
            "Basic {}",
            base64(format!("{}:{password}", app.rest_user).as_bytes())
        ))
    } else {
        secret.map(|secret| format!("WCS {}", hex(&hmac::<Hmac<Md5>>(secret, &[body]))))
    };
    let mut insert = |name, text: &str, sensitive| {
        // All of it is hex, base64 or digits.
        if let Ok(mut value) = HeaderValue::from_str(text) {
            value.set_sensitive(sensitive);
            headers.insert(name, value);
        }
    };
    if let Some(authorization) = authorization {
        insert(header::AUTHORIZATION, &authorization, true);
    }
    if let Some(secret) = secret {
        let stamp = unix_seconds.to_string();
        let code = hmac::<Hmac<Sha256>>(secret, &[stamp.as_bytes(), b".", body]);
        insert(TIMESTAMP, &stamp, false);
        insert(SIGNATURE, &format!("sha256={}", hex(&code)), false);
    }
}

fn hmac<M: Mac + KeyInit>(key: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut mac =
        <M as KeyInit>::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            let sextet = (bits >> (18 - 6 * i)) as usize & 63;
            text.push(if i <= chunk.len() {
                char::from(ALPHABET[sextet])
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::tests::app;
    use signaling_protocol::Secret;
    use std::sync::Arc;

    fn headers(user: &str, password: Option<&str>, secret: Option<&str>) -> HeaderMap {
        let mut app = Arc::unwrap_or_clone(app("http://localhost"));
        app.rest_user = user.into();
        app.rest_password = password.map(Secret::new);
        app.hook_secret = secret.map(Secret::new);
        let mut headers = HeaderMap::new();
        sign(
            &mut headers,
            &app,
            b"what do ya want for nothing?",
            1_700_000_000,
        );
        headers
    }

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn an_application_without_secrets_signs_nothing() {
        assert!(headers("", None, None).is_empty());
    }

    #[test]
    fn wcs_own_signature_is_the_hmac_md5_of_the_body() {
        // RFC 2202 §2, test case 2.
        let headers = headers("", None, Some("Jefe"));
        assert_eq!(
            headers["authorization"],
            "WCS 750c783e6ab0b503eaa86e310a5db738"
        );
    }

    #[test]
    fn our_signature_covers_the_time_stamp() {
        // printf '1700000000.what do ya want for nothing?' | openssl dgst -sha256 -hmac Jefe
        let headers = headers("", None, Some("Jefe"));
        assert_eq!(headers["x-trunkgate-timestamp"], "1700000000");
        assert_eq!(
            headers["x-trunkgate-signature"],
            "sha256=1cdd0650c8be1cb0974b1788d458b1e781206cfef59b85faafc582d2e182c57e"
        );
    }

    #[test]
    fn basic_goes_before_wcs_own_signature_and_ours_stays() {
        let headers = headers("Aladdin", Some("open sesame"), Some("Jefe"));
        // RFC 7617 §2.
        assert_eq!(
            headers["authorization"],
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
        assert!(headers.contains_key(SIGNATURE));
        assert!(headers["authorization"].is_sensitive());
    }
}
