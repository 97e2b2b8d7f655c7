//! Whom an edge believes to be an origin: TLS as a client. The one module here that knows rustls.

use std::{path::Path, sync::Arc};

use headroom_units::OriginHost;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
pub(super) use tokio_rustls::client::TlsStream;

use crate::EdgeError;

const H2: &[u8] = b"h2";
const HTTP_11: &[u8] = b"http/1.1";

/// TLS towards origins: the roots of trust, and sessions to resume. Cheap to clone.
#[derive(Clone)]
pub(crate) struct OriginTls {
    http1: TlsConnector,
    any: TlsConnector,
}

impl std::fmt::Debug for OriginTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OriginTls").finish_non_exhaustive()
    }
}

impl OriginTls {
    /// Believes the system's roots, and those in the PEM file `more`.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub(crate) fn load(more: Option<&Path>) -> Result<Self, EdgeError> {
        let mut roots = RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        let (added, _) = roots.add_parsable_certificates(native.certs);
        if added == 0 {
            tracing::warn!(errors = ?native.errors, "the system has no roots to verify origins by");
        }
        if let Some(path) = more {
            add_file(&mut roots, path).map_err(|reason| EdgeError::Config {
                key: "origin_ca_file",
                reason: format!("{}: {reason}", path.display()),
            })?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| EdgeError::Config { key: "TLS", reason: error.to_string() })?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![HTTP_11.to_vec()];
        let http1 = TlsConnector::from(Arc::new(config.clone()));
        config.alpn_protocols = vec![H2.to_vec(), HTTP_11.to_vec()];
        Ok(Self { http1, any: TlsConnector::from(Arc::new(config)) })
    }

    /// Shakes hands over `stream` with who can prove to be `host`. True if HTTP/2 was agreed on,
    /// which is offered if it is `wanted`.
    pub(super) async fn handshake(
        &self,
        host: &OriginHost,
        stream: TcpStream,
        wanted: bool,
    ) -> std::io::Result<(Box<TlsStream<TcpStream>>, bool)> {
        let name = match host {
            OriginHost::Name(name) => {
                ServerName::try_from(name.as_str().to_owned()).map_err(std::io::Error::other)?
            }
            OriginHost::Address(address) => ServerName::from(*address),
        };
        let connector = if wanted { &self.any } else { &self.http1 };
        let stream = connector.connect(name, stream).await?;
        let h2 = stream.get_ref().1.alpn_protocol() == Some(H2);
        Ok((Box::new(stream), h2))
    }
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    let mut count = 0;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
        count += 1;
    }
    if count == 0 {
        return Err("there is no certificate in it; accepted is PEM".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_holds_no_roots_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roots.pem");
        let refused = || OriginTls::load(Some(&path)).unwrap_err().to_string();
        assert!(refused().contains("roots.pem"), "it is not there");
        std::fs::write(&path, "nothing").unwrap();
        assert!(refused().contains("no certificate"), "{}", refused());
        let own = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        std::fs::write(&path, own.cert.pem()).unwrap();
        assert!(OriginTls::load(Some(&path)).is_ok());
    }
}
