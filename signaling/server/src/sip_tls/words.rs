//! Why a connection could not be had, and what to do about it, in words for the operator.

use signaling_trunk::tls::TlsOpen;
use std::io;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

pub(super) fn of(error: &io::Error, open: &TlsOpen) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(error) => of_tls(error, open),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "it closed the connection instead of speaking TLS; is that its port for TLS?".into()
        }
        None => error.to_string(),
    }
}

fn of_tls(error: &Error, open: &TlsOpen) -> String {
    let name = &open.server_name;
    let place = if open.profile.is_empty() {
        "sip.ca"
    } else {
        "the trunk's tls_roots"
    };
    match error {
        // The signature of an authority that only has the name of one that we believe.
        Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => format!(
            "nobody whom we believe has signed its certificate; put its authority into {place}"
        ),
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) if open.profile.is_empty() => {
            format!("its certificate is not for {name}; reach it by the name in its certificate")
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!("its certificate is not for {name}; say in tls_server_name whom it is for"),
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "its certificate has expired".into(),
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => "its certificate is not valid yet; is the clock right on both computers?".into(),
        Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => {
            "its certificate is not the pinned one; if it was renewed, pin the new one (tls_pin)"
                .into()
        }
        Error::InvalidCertificate(CertificateError::Other(other))
            if other.0.to_string().contains("CaUsedAsEndEntity") =>
        {
            format!(
                "it shows an authority's certificate as its own; put that very one into {place}"
            )
        }
        Error::InvalidCertificate(why) => format!("its certificate cannot be used: {why}"),
        Error::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure,
        ) => "it refused the handshake; does it ask for a certificate of ours?".into(),
        Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown,
        ) => "it does not believe our certificate".into(),
        Error::AlertReceived(AlertDescription::ProtocolVersion) | Error::PeerIncompatible(_) => {
            format!("it speaks no TLS that we may speak with it: {error}")
        }
        Error::InvalidMessage(_) => "what it says is no TLS; is that its port for TLS?".into(),
        other => format!("TLS: {other}"),
    }
}
