//! What is doubtful about certificates that can be used: their dates, and names that two hold.
//!
//! Nothing is refused for it: visitors judge for themselves, and their clocks may be better.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use headroom_units::Timestamp;
use headroom_wire::Time;
use rustls::pki_types::UnixTime;
use webpki::{EndEntityCert, Error, KeyUsage};

use super::Loaded;

/// From when and until when a certificate is valid, both included (RFC 5280 §4.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

impl Validity {
    /// The dates of a certificate, if they can be read. webpki tells them only as its reason to
    /// refuse one that is not valid now; it looks at them first.
    pub(super) fn of(certificate: &EndEntityCert<'_>) -> Option<Self> {
        let refused_at = |seconds| {
            let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            let usage = KeyUsage::server_auth();
            certificate.verify_for_usage(&[], &[], &[], time, usage, None, None).err()
        };
        let Some(Error::CertExpired { not_after, .. }) = refused_at(u64::MAX) else { return None };
        let from = match refused_at(0) {
            Some(Error::CertNotValidYet { not_before, .. }) => not_before.as_secs(),
            _ => 0,
        };
        let at = Timestamp::from_seconds;
        Some(Self { from: at(from), until: at(not_after.as_secs()) })
    }
}

/// The first moment at which one of the certificates expires, if there is any.
pub(super) fn earliest_expiry(loaded: &BTreeMap<String, Loaded>) -> Option<Timestamp> {
    let pairs = loaded.values().filter_map(|loaded| loaded.pair.as_ref());
    pairs.filter_map(|pair| pair.validity).map(|validity| validity.until).min()
}

/// All that is doubtful at `now`, each with the folder it is about.
pub(super) fn doubts(loaded: &BTreeMap<String, Loaded>, now: Timestamp) -> BTreeSet<String> {
    let mut doubts = BTreeSet::new();
    let mut holders: HashMap<&str, &str> = HashMap::new();
    for (folder, pair) in loaded.iter().filter_map(|(folder, l)| Some((folder, l.pair.as_ref()?))) {
        match pair.validity {
            None => drop(doubts.insert(format!("{folder}: the dates cannot be read"))),
            Some(Validity { until, .. }) if until < now => {
                doubts.insert(format!("{folder}: the certificate has expired, at {}", Time(until)));
            }
            Some(Validity { from, .. }) if now < from => {
                doubts.insert(format!(
                    "{folder}: the certificate is not valid before {}",
                    Time(from)
                ));
            }
            Some(_) => {}
        }
        for name in &pair.names {
            let first = *holders.entry(name).or_insert(folder);
            if first != folder {
                doubts.insert(format!("{folder}: not used for {name}, which {first} holds too"));
            }
        }
    }
    doubts
}
