//! Whose certificates are believed: those of the system, and those that the operator adds.

use std::sync::Arc;
use tokio::sync::OnceCell;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

/// Read when the first hook goes over TLS: many a gateway never needs them.
pub(super) struct Roots {
    more: Vec<CertificateDer<'static>>,
    client: OnceCell<Arc<ClientConfig>>,
}

impl Roots {
    pub fn new(more: Vec<CertificateDer<'static>>) -> Roots {
        Roots {
            more,
            client: OnceCell::new(),
        }
    }

    pub async fn client(&self) -> Result<Arc<ClientConfig>, String> {
        let made = self.client.get_or_try_init(|| async {
            let more = self.more.clone();
            tokio::task::spawn_blocking(move || make(more))
                .await
                .map_err(|error| error.to_string())?
        });
        made.await.cloned()
    }
}

fn make(more: Vec<CertificateDer<'static>>) -> Result<Arc<ClientConfig>, String> {
    let system = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(system.certs);
    store.add_parsable_certificates(more);
    if store.is_empty() {
        let why = system
            .errors
            .first()
            .map_or_else(|| "there is none".to_owned(), |error| error.to_string());
        return Err(format!(
            "no certificate authority is known to this system ({why}); install ca-certificates or set backend.ca"
        ));
    }
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
