//! TLS towards visitors: which certificate for which name, and the handshake. The only module that
//! knows rustls.
//!
//! ```text
//!  certificates/
//!    shop/fullchain.pem      the chain, the server's own certificate first
//!    shop/privkey.pem        its key
//!    ...                     one folder each; their names say nothing
//! ```
//!
//! A certificate serves the DNS names it holds, wildcards of one label among them. The folder is
//! looked at every few seconds and on SIGHUP; connections that are open go on as they are. A pair
//! that cannot be used is logged, and the one before it stays; what is doubtful about the others
//! is logged too. Who asks for no name, or for one without certificate, gets the alert
//! `unrecognized_name` (RFC 6066 §3) and nothing else.

mod doubts;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use doubts::Validity;
use headroom_units::Timestamp;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{Acceptor, ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    signal::unix::{SignalKind, signal},
};
use tokio_rustls::LazyConfigAcceptor;
use tokio_util::sync::CancellationToken;
use webpki::EndEntityCert;

use crate::{EdgeError, limits};

/// A connection over TLS.
pub(crate) type TlsStream = tokio_rustls::server::TlsStream<TcpStream>;

const CHAIN_FILE: &str = "fullchain.pem";
const KEY_FILE: &str = "privkey.pem";
const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";
/// A fatal alert of a handshake that has not agreed on a version: `unrecognized_name`.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 1, 0, 2, 2, 112];

/// Why a handshake did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("the visitor asked for {0:?}, which has no certificate")]
    UnknownName(String),
    #[error("{0}")]
    Handshake(#[from] io::Error),
}

/// Why a certificate cannot be used. Says nothing of what is in a key.
#[derive(Debug, thiserror::Error)]
enum CertificateError {
    #[error("{0} cannot be read: {1}")]
    File(&'static str, io::Error),
    #[error("{0} is larger than 256 KiB")]
    TooLarge(&'static str),
    #[error("{CHAIN_FILE} holds no certificates in PEM")]
    Chain,
    #[error("{KEY_FILE} holds no private key in PEM")]
    Key,
    #[error("the certificate and the key do not work together: {0}")]
    Pair(rustls::Error),
    #[error("the certificate cannot be read: {0:?}")]
    Certificate(webpki::Error),
    #[error("the certificate holds no DNS name")]
    NoName,
}

/// What a visitor agreed on.
pub(crate) struct Secured {
    pub(crate) stream: TlsStream,
    /// The name it asked for, in lower case.
    pub(crate) name: Box<str>,
    pub(crate) speaks_http2: bool,
}

/// Terminates TLS.
#[derive(Debug)]
pub(crate) struct Tls {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
}

impl Tls {
    /// Terminates TLS with the certificates in `folder`, as many as can be used.
    pub(crate) fn new(folder: PathBuf) -> Result<Self, EdgeError> {
        let refuse = |reason: String| EdgeError::Config { key: "certificates", reason };
        let certificates = Arc::new(Certificates::new(folder));
        certificates.look().map_err(|error| refuse(format!("it cannot be read: {error}")))?;
        if certificates.lock().is_empty() {
            tracing::warn!("there is no certificate yet: nobody is served over TLS");
        }
        let unusable = |error: rustls::Error| refuse(error.to_string());
        let provider = Arc::clone(&certificates.provider);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(unusable)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificates) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
        // One ticketer for all threads; its keys change every few hours. Nothing else is kept of a
        // session.
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(unusable)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { config: Arc::new(config), certificates })
    }

    /// The handshake. The caller limits its time.
    pub(crate) async fn accept(&self, stream: TcpStream) -> Result<Secured, TlsError> {
        let mut start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let name = start.client_hello().server_name().map(str::to_ascii_lowercase);
        let name = name.unwrap_or_default();
        if self.certificates.of(&name).is_none() {
            start.io.write_all(&UNRECOGNIZED_NAME).await?;
            start.io.shutdown().await?;
            return Err(TlsError::UnknownName(name));
        }
        let stream = start.into_stream(Arc::clone(&self.config)).await?;
        let speaks_http2 = stream.get_ref().1.alpn_protocol() == Some(H2);
        Ok(Secured { stream, name: name.into(), speaks_http2 })
    }

    /// Looks at the folder every few seconds, and on SIGHUP, until `stop`. Calls `looked` after
    /// with how many certificates there are, and when the first of them expires.
    pub(crate) async fn keep(
        &self,
        stop: &CancellationToken,
        looked: impl Fn(usize, Option<Timestamp>),
    ) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => Some(hangup),
            Err(error) => {
                tracing::warn!(%error, "SIGHUP is not heard");
                None
            }
        };
        loop {
            let (count, expiry) = {
                let loaded = self.certificates.lock();
                (loaded.len(), doubts::earliest_expiry(&loaded))
            };
            looked(count, expiry);
            let told = async {
                match &mut hangup {
                    Some(hangup) => drop(hangup.recv().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = told => tracing::info!("the certificates are looked at: SIGHUP"),
                () = tokio::time::sleep(limits::CERTIFICATES_REST) => {}
            }
            let certificates = Arc::clone(&self.certificates);
            let looking = tokio::task::spawn_blocking(move || certificates.look());
            match looking.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "the certificates stay as they are"),
                Err(error) => tracing::error!(%error, "looking at the certificates broke off"),
            }
        }
    }
}

/// What an edge would find wrong or doubtful now about the certificates in `folder`, a sentence
/// each.
///
/// # Errors
/// If the folder cannot be read. One that is not there is no error: it may be made later.
pub fn check_certificates(folder: &Path) -> io::Result<Vec<String>> {
    let certificates = Certificates::new(folder.to_owned());
    certificates.look()?;
    let loaded = certificates.lock();
    if loaded.is_empty() {
        return Ok(vec!["there is no certificate yet: nobody is served over TLS".to_owned()]);
    }
    let unusable = loaded.iter().filter_map(|(folder, loaded)| {
        loaded.error.as_ref().map(|error| format!("{folder}: cannot be used: {error}"))
    });
    Ok(unusable.chain(doubts::doubts(&loaded, headroom_clock::now())).collect())
}

/// The certificates by name, as the newest look at the folder gave them.
#[derive(Debug)]
struct Certificates {
    folder: PathBuf,
    provider: Arc<CryptoProvider>,
    by_name: ArcSwap<HashMap<Box<str>, Arc<CertifiedKey>>>,
    loaded: Mutex<BTreeMap<String, Loaded>>,
    /// The doubts that hold, which are logged once.
    doubts: Mutex<BTreeSet<String>>,
}

/// What one folder had at the last look.
#[derive(Debug, Clone)]
struct Loaded {
    stamp: Stamp,
    /// The newest pair that could be used.
    pair: Option<Pair>,
    /// Why what is there now cannot be used.
    error: Option<String>,
}

#[derive(Debug, Clone)]
struct Pair {
    names: Vec<Box<str>>,
    validity: Option<Validity>,
    key: Arc<CertifiedKey>,
}

/// Tells whether files changed.
type Stamp = [(u64, u64, i64, i64); 2];

impl Certificates {
    fn new(folder: PathBuf) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let (by_name, loaded, doubts) = Default::default();
        Self { folder, provider, by_name, loaded, doubts }
    }

    /// Takes in what changed in the folder.
    fn look(&self) -> io::Result<()> {
        let before = self.lock().clone();
        let mut now = BTreeMap::new();
        let mut changed = false;
        let entries = match fs::read_dir(&self.folder) {
            // It may be made later; one that vanishes is another matter.
            Err(error) if error.kind() == io::ErrorKind::NotFound && before.is_empty() => {
                return Ok(());
            }
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if !path.is_dir() || now.len() >= limits::CERTIFICATES_MAX {
                continue;
            }
            let stamp = [stamp(&path.join(CHAIN_FILE)), stamp(&path.join(KEY_FILE))];
            let known = before.get(name);
            let loaded = match known {
                Some(known) if known.stamp == stamp => known.clone(),
                _ => {
                    changed = true;
                    self.load(&path, stamp, known)
                }
            };
            now.insert(name.to_owned(), loaded);
        }
        changed |= now.len() != before.len();
        self.tell(doubts::doubts(&now, headroom_clock::now()), changed);
        if changed {
            self.by_name.store(Arc::new(by_name(&now)));
            *self.lock() = now;
        }
        Ok(())
    }

    /// Logs the doubts: after a change all of them, else those that are new.
    fn tell(&self, doubts: BTreeSet<String>, all: bool) {
        let mut told = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        for doubt in doubts.iter().filter(|doubt| all || !told.contains(*doubt)) {
            tracing::warn!(path = %self.folder.display(), doubt, "a certificate is doubtful");
        }
        *told = doubts;
    }

    /// Loads one pair; if it cannot be used, the one before it stays.
    fn load(&self, path: &Path, stamp: Stamp, known: Option<&Loaded>) -> Loaded {
        match self.read(path) {
            Ok(pair) => {
                tracing::info!(path = %path.display(), names = ?pair.names, "a certificate is loaded");
                Loaded { stamp, pair: Some(pair), error: None }
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "a certificate cannot be used");
                let pair = known.and_then(|known| known.pair.clone());
                Loaded { stamp, pair, error: Some(error.to_string()) }
            }
        }
    }

    fn read(&self, path: &Path) -> Result<Pair, CertificateError> {
        let chain = read(path, CHAIN_FILE)?;
        let chain = CertificateDer::pem_slice_iter(&chain).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|_| CertificateError::Chain)?;
        let own = chain.first().ok_or(CertificateError::Chain)?;
        let own = EndEntityCert::try_from(own).map_err(CertificateError::Certificate)?;
        let names: Vec<Box<str>> =
            own.valid_dns_names().map(|name| name.to_ascii_lowercase().into()).collect();
        let validity = Validity::of(&own);
        if names.is_empty() {
            return Err(CertificateError::NoName);
        }
        let key = read(path, KEY_FILE)?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| CertificateError::Key)?;
        let key = CertifiedKey::from_der(chain, key, &self.provider);
        let key = Arc::new(key.map_err(CertificateError::Pair)?);
        let mode = fs::metadata(path.join(KEY_FILE)).map_or(0, |metadata| metadata.mode());
        if mode & 0o004 != 0 {
            tracing::warn!(path = %path.display(), "everybody on this machine can read the key");
        }
        Ok(Pair { names, validity, key })
    }

    /// The certificate for `name`: its own, or that of its parent's wildcard (RFC 9525 §6.3).
    fn of(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let by_name = self.by_name.load();
        let wildcard = || {
            let (_, parent) = name.split_once('.')?;
            by_name.get(format!("*.{parent}").as_str())
        };
        by_name.get(name).or_else(wildcard).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Loaded>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.of(&hello.server_name()?.to_ascii_lowercase())
    }
}

/// Which certificate each name gets: of several, the one whose folder's name is first.
fn by_name(loaded: &BTreeMap<String, Loaded>) -> HashMap<Box<str>, Arc<CertifiedKey>> {
    let mut by_name = HashMap::new();
    for pair in loaded.values().filter_map(|loaded| loaded.pair.as_ref()) {
        for name in &pair.names {
            by_name.entry(name.clone()).or_insert_with(|| Arc::clone(&pair.key));
        }
    }
    by_name
}

fn stamp(path: &Path) -> (u64, u64, i64, i64) {
    let of = |file: fs::Metadata| (file.ino(), file.size(), file.mtime(), file.mtime_nsec());
    fs::metadata(path).map_or_else(|_| Default::default(), of)
}

fn read(path: &Path, file: &'static str) -> Result<Vec<u8>, CertificateError> {
    let path = path.join(file);
    let failed = |error| CertificateError::File(file, error);
    if fs::metadata(&path).map_err(failed)?.len() > limits::CERTIFICATE_BYTES_MAX {
        return Err(CertificateError::TooLarge(file));
    }
    fs::read(&path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts a certificate for `names` into the folder `name`.
    fn write(folder: &Path, name: &str, names: &[&str]) {
        write_valid(folder, name, names, 1975, 4096);
    }

    /// The same, valid from the begin of one year to that of another.
    fn write_valid(folder: &Path, name: &str, names: &[&str], from: i32, until: i32) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut made = rcgen::CertificateParams::new(names).unwrap();
        made.not_before = rcgen::date_time_ymd(from, 1, 1);
        made.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let path = folder.join(name);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join(CHAIN_FILE), made.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(path.join(KEY_FILE), key.serialize_pem()).unwrap();
    }

    fn certificates(folder: &Path) -> Certificates {
        let certificates = Certificates::new(folder.to_owned());
        certificates.look().unwrap();
        certificates
    }

    #[test]
    fn a_name_gets_its_own_certificate_or_its_parents_wildcard() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a", &["www.shop.example", "*.shop.example"]);
        write(folder.path(), "b", &["WWW.own.example"]);
        fs::write(folder.path().join("README"), "not a folder").unwrap();
        let certificates = certificates(folder.path());
        let of = |name| certificates.of(name);
        assert!(of("www.shop.example").is_some() && of("b.shop.example").is_some());
        assert!(of("www.own.example").is_some());
        for unknown in ["", "shop.example", "a.b.shop.example", "own.example", "*.own.example"] {
            assert!(of(unknown).is_none(), "{unknown}");
        }
    }

    #[test]
    fn a_change_is_taken_in_and_a_broken_pair_is_not() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a", &["a.example"]);
        let certificates = certificates(folder.path());
        let first = certificates.of("a.example").unwrap();
        certificates.look().unwrap();
        assert!(Arc::ptr_eq(&first, &certificates.of("a.example").unwrap()), "nothing changed");
        let path = folder.path().join("a");
        fs::write(path.join(KEY_FILE), "nonsense").unwrap();
        certificates.look().unwrap();
        assert!(Arc::ptr_eq(&first, &certificates.of("a.example").unwrap()), "it is broken");
        write(folder.path(), "a", &["a.example", "b.example"]);
        certificates.look().unwrap();
        assert!(!Arc::ptr_eq(&first, &certificates.of("a.example").unwrap()));
        assert!(certificates.of("b.example").is_some());
        fs::remove_dir_all(path).unwrap();
        certificates.look().unwrap();
        assert!(certificates.of("a.example").is_none());
    }

    #[test]
    fn what_is_doubtful_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let check = || check_certificates(folder.path()).unwrap();
        assert_eq!(check(), ["there is no certificate yet: nobody is served over TLS"]);
        write(folder.path(), "a", &["a.example", "b.example"]);
        assert_eq!(check(), [""; 0]);
        write_valid(folder.path(), "b", &["B.example"], 2020, 2021);
        write_valid(folder.path(), "c", &["c.example"], 2500, 2501);
        fs::create_dir(folder.path().join("d")).unwrap();
        let told = [
            "d: cannot be used: fullchain.pem cannot be read: No such file or directory (os error 2)",
            "b: not used for b.example, which a holds too",
            "b: the certificate has expired, at 2021-01-01T00:00:00Z",
            "c: the certificate is not valid before 2500-01-01T00:00:00Z",
        ];
        assert_eq!(check(), told);
        let certificates = certificates(folder.path());
        assert!(certificates.of("c.example").is_some(), "a doubt is no refusal");
        let expiry = doubts::earliest_expiry(&certificates.lock());
        assert_eq!(expiry, Some(Timestamp::from_seconds(1_609_459_200)));
        let doubts =
            |seconds| doubts::doubts(&certificates.lock(), Timestamp::from_seconds(seconds)).len();
        assert_eq!([doubts(1_609_459_200), doubts(1_609_459_201)], [2, 3], "RFC 5280 §4.1.2.5");
    }

    #[test]
    fn a_folder_may_come_later_but_not_vanish() {
        let folder = tempfile::tempdir().unwrap();
        let later = folder.path().join("later");
        let certificates = certificates(&later);
        write(&later, "a", &["a.example"]);
        certificates.look().unwrap();
        assert!(certificates.of("a.example").is_some());
        fs::remove_dir_all(&later).unwrap();
        assert!(certificates.look().is_err());
        assert!(certificates.of("a.example").is_some());
    }

    #[test]
    fn what_cannot_be_used_is_told_without_the_key() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a", &["a.example"]);
        write(folder.path(), "b", &["b.example"]);
        let certificates = certificates(folder.path());
        let path = folder.path().join("a");
        let key = fs::read_to_string(path.join(KEY_FILE)).unwrap();
        fs::copy(folder.path().join("b").join(CHAIN_FILE), path.join(CHAIN_FILE)).unwrap();
        let error = certificates.read(&path).unwrap_err().to_string();
        assert!(error.contains("do not work together"), "{error}");
        fs::write(path.join(KEY_FILE), key.replace("BEGIN", "BEGAN")).unwrap();
        let error = certificates.read(&path).unwrap_err().to_string();
        assert_eq!(error, "privkey.pem holds no private key in PEM");
        fs::write(path.join(CHAIN_FILE), "").unwrap();
        assert!(matches!(certificates.read(&path), Err(CertificateError::Chain)));
        fs::remove_file(path.join(CHAIN_FILE)).unwrap();
        assert!(matches!(certificates.read(&path), Err(CertificateError::File(..))));
    }
}
