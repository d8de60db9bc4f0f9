//! Look-ups for the trunk: A, AAAA, SRV and NAPTR, bounded in time. The resolver keeps answers for as long as they
//! say that they hold.

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use signaling_trunk::net::unmapped;
use signaling_trunk::targets::{Answer, Pointer, Question, Service};
use std::net::SocketAddr;
use std::time::Duration;

/// One question, all its retries together.
const PATIENCE: Duration = Duration::from_secs(5);
/// Records of one answer that are looked at.
const MAX_RECORDS: usize = 32;

#[derive(Clone)]
pub struct Dns(TokioResolver);

impl Dns {
    /// `servers` empty: those of `/etc/resolv.conf`.
    pub fn new(servers: &[SocketAddr]) -> Result<Dns, String> {
        let mut builder = if servers.is_empty() {
            TokioResolver::builder_tokio().map_err(|e| format!("/etc/resolv.conf: {e}"))?
        } else {
            let configs = servers.iter().map(|server| {
                let mut config = NameServerConfig::udp_and_tcp(server.ip());
                for connection in &mut config.connections {
                    connection.port = server.port();
                }
                config
            });
            let config = ResolverConfig::from_name_servers(configs.collect());
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        options.timeout = Duration::from_secs(2);
        options.attempts = 2;
        builder.build().map(Dns).map_err(|e| e.to_string())
    }

    pub async fn ask(&self, question: &Question) -> Answer {
        let answer = async {
            match question {
                Question::Addresses { name } => self.addresses(name).await,
                Question::Services { name } => self.services(name).await,
                Question::Pointers { name } => self.pointers(name).await,
            }
        };
        let answer = tokio::time::timeout(PATIENCE, answer).await.ok().flatten();
        answer.unwrap_or(Answer::Nothing)
    }

    async fn addresses(&self, name: &str) -> Option<Answer> {
        let found = self.0.lookup_ip(absolute(name)).await.ok()?;
        Some(Answer::Addresses(
            found.iter().take(MAX_RECORDS).map(unmapped).collect(),
        ))
    }

    async fn services(&self, name: &str) -> Option<Answer> {
        let found = self.0.lookup(absolute(name), RecordType::SRV).await.ok()?;
        let services = found
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(srv) => Some(Service {
                    priority: srv.priority,
                    weight: srv.weight,
                    port: srv.port,
                    target: srv.target.to_ascii(),
                }),
                _ => None,
            });
        Some(Answer::Services(services.take(MAX_RECORDS).collect()))
    }

    async fn pointers(&self, name: &str) -> Option<Answer> {
        let found = self
            .0
            .lookup(absolute(name), RecordType::NAPTR)
            .await
            .ok()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let pointers = found
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::NAPTR(naptr) => Some(Pointer {
                    order: naptr.order,
                    preference: naptr.preference,
                    flags: text(&naptr.flags),
                    service: text(&naptr.services),
                    regexp: text(&naptr.regexp),
                    replacement: naptr.replacement.to_ascii(),
                }),
                _ => None,
            });
        Some(Answer::Pointers(pointers.take(MAX_RECORDS).collect()))
    }
}

/// With the final dot, so that no search domain is tried.
fn absolute(name: &str) -> String {
    if name.ends_with('.') {
        name.to_string()
    } else {
        format!("{name}.")
    }
}
