//! DNS over TLS (RFC 7858): the certificate and the handshake. The only module that knows rustls.
//!
//! ```text
//!  <certificate>/fullchain.pem      the chain, the server's own certificate first
//!  <certificate>/privkey.pem        its key
//! ```
//!
//! The folder is looked at every few seconds; a pair that cannot be used is logged and the one
//! before it stays. Until there is one, handshakes fail and all else is served.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwapOption;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use crate::{limits, stamp::Stamp};

const CHAIN_FILE: &str = "fullchain.pem";
const KEY_FILE: &str = "privkey.pem";
/// The protocol's name (RFC 7858 §8.1, ALPN identifier "dot").
const ALPN: &[u8] = b"dot";

/// Where DNS is served over TLS, and with which certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// The folder of the certificate: `fullchain.pem` and `privkey.pem`.
    pub certificate: PathBuf,
}

/// Why a certificate cannot be used. Says nothing of what is in a key.
#[derive(Debug, thiserror::Error)]
enum CertificateError {
    #[error("{0} cannot be read: {1}")]
    File(&'static str, io::Error),
    #[error("{0} is larger than {max} bytes", max = limits::CERTIFICATE_BYTES_MAX)]
    TooLarge(&'static str),
    #[error("{CHAIN_FILE} holds no certificates in PEM")]
    Chain,
    #[error("{KEY_FILE} holds no private key in PEM")]
    Key,
    #[error("the certificate and the key do not work together: {0}")]
    Pair(rustls::Error),
}

/// Terminates TLS.
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    certificate: Arc<Certificate>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tls").field(&self.certificate).finish()
    }
}

impl Tls {
    /// Terminates TLS with the certificate in `folder`, as soon as there is one.
    ///
    /// # Errors
    /// If the library refuses what it is set up with.
    pub(crate) fn new(folder: PathBuf) -> Result<Self, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certificate = Arc::new(Certificate::new(folder, Arc::clone(&provider)));
        certificate.look();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificate) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), certificate })
    }

    /// The handshake. The caller limits its time.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.acceptor.accept(stream).await
    }

    /// Looks at the certificate every few seconds until told to stop.
    pub(crate) async fn keep(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(limits::CERTIFICATE_REST) => {}
            }
            let certificate = Arc::clone(&self.certificate);
            if let Err(error) = tokio::task::spawn_blocking(move || certificate.look()).await {
                tracing::error!(%error, "looking at the certificate broke off");
            }
        }
    }
}

/// The newest certificate that could be used.
#[derive(Debug)]
struct Certificate {
    folder: PathBuf,
    provider: Arc<CryptoProvider>,
    key: ArcSwapOption<CertifiedKey>,
    /// How the files were when they were read last.
    stamp: std::sync::Mutex<Option<[Stamp; 2]>>,
}

impl Certificate {
    fn new(folder: PathBuf, provider: Arc<CryptoProvider>) -> Self {
        Self { folder, provider, key: ArcSwapOption::empty(), stamp: Default::default() }
    }

    /// Reads the files if they changed.
    fn look(&self) {
        let now = [CHAIN_FILE, KEY_FILE].map(|file| Stamp::of(&self.folder.join(file)));
        {
            let mut stamp = self.stamp.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if *stamp == Some(now) {
                return;
            }
            *stamp = Some(now);
        }
        let path = self.folder.display();
        if now == [Stamp::default(); 2] {
            tracing::warn!(%path, "there is no certificate: nobody is served DNS over TLS");
            return;
        }
        match self.read() {
            Ok(key) => {
                tracing::info!(%path, "the certificate for DNS over TLS is loaded");
                self.key.store(Some(Arc::new(key)));
            }
            Err(error) => tracing::error!(%path, %error, "a certificate cannot be used"),
        }
    }

    fn read(&self) -> Result<CertifiedKey, CertificateError> {
        let chain = read(&self.folder, CHAIN_FILE)?;
        let chain = CertificateDer::pem_slice_iter(&chain).collect::<Result<Vec<_>, _>>();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(CertificateError::Chain)?;
        let key = read(&self.folder, KEY_FILE)?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| CertificateError::Key)?;
        CertifiedKey::from_der(chain, key, &self.provider).map_err(CertificateError::Pair)
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // A resolver may know this server by its address alone and ask for no name.
        self.key.load_full()
    }
}

fn read(folder: &Path, file: &'static str) -> Result<Vec<u8>, CertificateError> {
    let path = folder.join(file);
    let failed = |error| CertificateError::File(file, error);
    if fs::metadata(&path).map_err(failed)?.len() > limits::CERTIFICATE_BYTES_MAX {
        return Err(CertificateError::TooLarge(file));
    }
    fs::read(&path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path) {
        let made = rcgen::generate_simple_self_signed(vec!["ns1.cdn.example".to_owned()]).unwrap();
        fs::write(folder.join(CHAIN_FILE), made.cert.pem()).unwrap();
        fs::write(folder.join(KEY_FILE), made.signing_key.serialize_pem()).unwrap();
    }

    #[test]
    fn a_change_is_taken_in_and_a_broken_pair_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certificate = Certificate::new(folder.path().to_owned(), provider);
        certificate.look();
        assert!(certificate.key.load().is_none(), "there is none yet");
        write(folder.path());
        certificate.look();
        let first = certificate.key.load_full().unwrap();
        certificate.look();
        assert!(Arc::ptr_eq(&first, &certificate.key.load_full().unwrap()), "nothing changed");
        fs::write(folder.path().join(KEY_FILE), "nonsense").unwrap();
        certificate.look();
        assert!(Arc::ptr_eq(&first, &certificate.key.load_full().unwrap()), "it is broken");
        write(folder.path());
        certificate.look();
        assert!(!Arc::ptr_eq(&first, &certificate.key.load_full().unwrap()));
    }

    #[test]
    fn what_cannot_be_used_is_told_without_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certificate = Certificate::new(folder.path().to_owned(), provider);
        let error = |certificate: &Certificate| certificate.read().unwrap_err().to_string();
        assert!(error(&certificate).starts_with("fullchain.pem cannot be read"));
        write(folder.path());
        let key = fs::read_to_string(folder.path().join(KEY_FILE)).unwrap();
        write(folder.path());
        fs::write(folder.path().join(KEY_FILE), &key).unwrap();
        assert!(error(&certificate).contains("do not work together"));
        fs::write(folder.path().join(KEY_FILE), key.replace("BEGIN", "BEGAN")).unwrap();
        assert_eq!(error(&certificate), "privkey.pem holds no private key in PEM");
        fs::write(folder.path().join(CHAIN_FILE), "").unwrap();
        assert_eq!(error(&certificate), "fullchain.pem holds no certificates in PEM");
        fs::write(folder.path().join(CHAIN_FILE), vec![b'x'; 300_000]).unwrap();
        assert_eq!(error(&certificate), "fullchain.pem is larger than 262144 bytes");
    }
}
