//! Signs the zones of each new table, and knows when there has to be one.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use headroom_units::Timestamp;

use super::{
    DnssecConfig, KeyError, KeyFolder, SignerMetrics, ZoneKey,
    folder::Seen,
    roll,
    sign_zone::{self, Kept, Order},
    variants::{Answers, Steered, Variants},
};
use crate::{
    NameTable, Zone, limits,
    message::{ExtendedErrorCode, Name},
    names::{ByName, name_of},
};

/// The keys, and the zones as they were signed last.
#[derive(Debug)]
pub(crate) struct Signer {
    config: Option<DnssecConfig>,
    /// The zones that are listed.
    listed: Option<HashSet<Name>>,
    keys: ByName<Vec<Arc<ZoneKey>>>,
    /// The files that the keys came from.
    seen: Vec<Seen>,
    is_unreadable: bool,
    signed: ByName<Arc<SignedZone>>,
    /// When a table was signed last.
    signed_at: Timestamp,
    /// What was logged, so that each plan does not log it again.
    told: Told,
    metrics: SignerMetrics,
}

/// A zone as it was signed.
#[derive(Debug)]
struct SignedZone {
    from: SignedFrom,
    zone: Arc<Zone>,
    state: Vec<KeyState>,
    ttl_max: Duration,
    /// When the first signature has to be renewed.
    due: Timestamp,
}

/// What a zone was signed from, but for the time.
#[derive(Debug)]
struct SignedFrom {
    zone: Arc<Zone>,
    /// Whether it has a serial of ours, which need not rise while nothing has changed.
    is_ours: bool,
    keys: Vec<Arc<ZoneKey>>,
    answers: ByName<Answers>,
    steered_ttl: u32,
}

impl SignedFrom {
    /// Whether what was signed from this is what would be signed from the other.
    fn is_same(&self, other: &Self) -> bool {
        let has_same_serial = self.zone.soa().serial() == other.zone.soa().serial();
        self.is_ours == other.is_ours
            && (self.is_ours || has_same_serial)
            && self.is_signed_alike(other)
            && self.answers == other.answers
            && self.zone.is_same_but_for_serial(&other.zone)
    }

    /// The same at one name alone, where zones are signed alike.
    fn is_same_at(&self, other: &Self, name: &Name) -> bool {
        let nodes = self.zone.node(name).zip(other.zone.node(name));
        nodes.is_some_and(|(one, other)| one.is_same_but_for_serial(other))
            && self.answers.get(name) == other.answers.get(name)
    }

    /// How to sign it; `was` is the same zone as it was signed before.
    fn order<'o>(
        &'o self,
        was: Option<&'o SignedZone>,
        validity: Duration,
        now: Timestamp,
    ) -> Order<'o> {
        Order {
            keys: &self.keys,
            validity,
            now,
            was: was.map(|was| &*was.zone),
            kept: None,
            is_ours: self.is_ours,
            steered_ttl: self.steered_ttl,
            answers: &self.answers,
        }
    }

    /// Whether records that are the same have the same signatures.
    fn is_signed_alike(&self, other: &Self) -> bool {
        let keys =
            |from: &'_ Self| from.keys.iter().map(|key| key.dnskey().clone()).collect::<Vec<_>>();
        self.steered_ttl == other.steered_ttl && keys(self) == keys(other)
    }
}

/// A key in its zone: its tag, whether the parent is asked for it, or asked to have none.
type KeyState = (u16, bool, bool);

/// What is wrong, as far as it was logged.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    failed: BTreeSet<(Name, String)>,
    unsigned: BTreeSet<(Name, &'static str)>,
    left_out: BTreeSet<Name>,
}

impl Signer {
    /// A signer that has no keys yet; without `config` it never has.
    pub(crate) fn new(config: Option<DnssecConfig>, metrics: SignerMetrics) -> Self {
        let zones = config.as_ref().and_then(|config| config.zones.as_ref());
        let listed = zones.map(|zones| zones.iter().map(name_of).collect());
        Self {
            config,
            listed,
            keys: ByName::default(),
            seen: Vec::new(),
            is_unreadable: false,
            signed: ByName::default(),
            signed_at: Timestamp::EPOCH,
            told: Told::default(),
            metrics,
        }
    }

    /// The same with these keys, whatever its folder holds.
    #[cfg(test)]
    pub(crate) fn with_keys(mut self, keys: impl IntoIterator<Item = ZoneKey>) -> Self {
        self.keys.clear();
        for key in keys {
            self.keys.entry(key.zone().clone()).or_default().push(Arc::new(key));
        }
        self
    }

    /// How many keys are missing or cannot be read.
    #[cfg(test)]
    pub(crate) fn count_faults(&self) -> i64 {
        self.metrics.faults.get()
    }

    /// How many signatures were made.
    #[cfg(test)]
    pub(crate) fn metrics_made(&self) -> u64 {
        self.metrics.made.get()
    }

    /// How many names have answers that could not be signed.
    #[cfg(test)]
    pub(crate) fn count_unsigned(&self) -> usize {
        self.told.unsigned.len()
    }

    /// Each zone as it is signed, and as it comes out if all of it is signed once more with the
    /// signatures that it has; and how many it had to make then.
    #[cfg(test)]
    pub(crate) fn once_more(
        &self,
        table: &NameTable,
        steered: Steered<'_>,
        now: Timestamp,
    ) -> Vec<(Arc<Zone>, Zone, usize)> {
        let variants = Variants::new(steered, table);
        let validity = self.config.as_ref().unwrap().validity;
        let once_more = |(apex, held): (&Name, &Arc<SignedZone>)| {
            let zone = table.zones().get(apex).cloned().or_else(|| table.host_zone(apex)).unwrap();
            let keys = roll::in_use(&self.keys[apex], now, held.ttl_max);
            let (is_ours, steered_ttl) = (held.from.is_ours, variants.ttl());
            let answers = variants.of_all(&zone);
            let mut new = Zone::clone(&zone);
            let from = SignedFrom { zone, is_ours, keys, answers, steered_ttl };
            let done = sign_zone::sign(&mut new, &from.order(Some(held), validity, now)).unwrap();
            (Arc::clone(&held.zone), new, done.made)
        };
        self.signed.iter().map(once_more).collect()
    }

    /// The zones that could not be signed.
    #[cfg(test)]
    pub(crate) fn failed(&self) -> Vec<String> {
        self.told.failed.iter().map(|(zone, _)| zone.to_string()).collect()
    }

    /// Whether there is anything to sign with.
    pub(crate) fn is_on(&self) -> bool {
        self.config.is_some()
    }

    /// Whether there are zones that it has signed.
    pub(crate) fn has_signed(&self) -> bool {
        !self.signed.is_empty()
    }

    /// Reads the keys if their files have changed; true if so. A key that is gone or broken is used
    /// on as it was: without it, the zone would be refused by all who validate.
    pub(crate) fn read_keys(&mut self, now: Timestamp) -> bool {
        let Some(config) = &self.config else { return false };
        let folder = KeyFolder::new(config.folder.clone());
        let seen = match folder.seen() {
            Ok(seen) if seen == self.seen && !self.is_unreadable => return false,
            Ok(seen) => seen,
            Err(error) => return self.cannot_read(&folder, &error),
        };
        let held = match folder.load() {
            Ok(held) => held,
            Err(error) => return self.cannot_read(&folder, &error),
        };
        (self.seen, self.is_unreadable) = (seen, false);
        let mut faults = held.faults.len();
        for (path, error) in &held.faults {
            tracing::error!(path = %path.display(), %error, "a key cannot be used");
        }
        let mut keys: ByName<Vec<Arc<ZoneKey>>> = ByName::default();
        for key in held.keys.into_values().flatten() {
            keys.entry(key.zone().clone()).or_default().push(Arc::new(key));
        }
        for (zone, before) in &self.keys {
            let there = keys.entry(zone.clone()).or_default();
            for key in before {
                if is_missed(key, there, now) {
                    tracing::error!(%zone, tag = key.tag(), "a key is gone; it is used on");
                    faults += 1;
                    there.push(Arc::clone(key));
                }
            }
        }
        keys.retain(|_, keys| !keys.is_empty());
        self.keys = keys;
        tracing::info!(zones = self.keys.len(), faults, "keys are read");
        self.metrics.faults.set(gauge(faults));
        true
    }

    fn cannot_read(&mut self, folder: &KeyFolder, error: &KeyError) -> bool {
        if !self.is_unreadable {
            tracing::error!(path = %folder.path().display(), %error, "the keys cannot be read");
        }
        self.is_unreadable = true;
        self.metrics.faults.set(self.metrics.faults.get().max(1));
        false
    }

    /// Whether the zones have to be signed anew: a key comes or goes, or signatures are due.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        if self.signed_at == Timestamp::EPOCH {
            // Not yet signed at all: there may be zones that must not be served so.
            return true;
        }
        let rests = now < self.signed_at.after(limits::SIGNATURES_EVERY);
        let mut moments = self.keys.values().flatten().flat_map(|key| key.times.moments());
        let has_come = moments.any(|moment| self.signed_at < moment && moment <= now);
        has_come
            || self.signed.iter().any(|(apex, held)| {
                let keys = self.keys.get(apex).map(Vec::as_slice).unwrap_or_default();
                let has_changed = states(&roll::in_use(keys, now, held.ttl_max), now) != held.state;
                has_changed || (held.due <= now && !rests)
            })
    }

    /// Signs the zones of a table that have keys, with all that may be answered from `steered`.
    pub(crate) fn sign(
        &mut self,
        table: &mut NameTable,
        steered: Option<Steered<'_>>,
        now: Timestamp,
    ) {
        let unsigned = table.clone();
        let network = steered.map(|steered| name_of(&steered.plan.zone));
        let variants = steered.map(|steered| Variants::new(steered, &unsigned));
        let mut told = Told { left_out: unsigned.left_out().clone(), ..Told::default() };
        let mut signed = ByName::with_capacity_and_hasher(self.signed.len(), Default::default());
        for zone in self.wanted(&unsigned) {
            match self.sign_zone(&zone, network.as_ref(), variants.as_ref(), &mut told, now) {
                Ok(Some(done)) => {
                    table.put(Arc::clone(&done.zone));
                    signed.insert(zone.apex().clone(), done);
                }
                Ok(None) => {}
                Err(error) => {
                    told.failed.insert((zone.apex().clone(), error.to_string()));
                    match self.signed.remove(zone.apex()) {
                        Some(held) => {
                            table.put(Arc::clone(&held.zone));
                            signed.insert(zone.apex().clone(), held);
                        }
                        None => table.put(Arc::new(Zone::absent(
                            zone.apex().clone(),
                            ExtendedErrorCode::DNSKEY_MISSING,
                        ))),
                    }
                }
            }
        }
        (self.signed, self.signed_at) = (signed, now);
        self.tell(told);
    }

    /// The zones that have to be signed: those that are listed, or without a list those that have a
    /// key.
    fn wanted(&self, table: &NameTable) -> Vec<Arc<Zone>> {
        let named = |name: &Name| {
            let held = table.zones().get(name).cloned();
            held.or_else(|| table.host_zone(name)).filter(|zone| zone.why_absent().is_none())
        };
        match &self.listed {
            Some(listed) => listed.iter().filter_map(named).collect(),
            None => self.keys.keys().filter_map(named).collect(),
        }
    }

    /// The zone with its signatures; none if its owner has signed it. If it was signed from the same
    /// before, that is it.
    fn sign_zone(
        &self,
        zone: &Arc<Zone>,
        network: Option<&Name>,
        variants: Option<&Variants<'_>>,
        told: &mut Told,
        now: Timestamp,
    ) -> Result<Option<Arc<SignedZone>>, KeyError> {
        let (Some(config), apex) = (&self.config, zone.apex()) else { return Ok(None) };
        if zone.is_signed_elsewhere() {
            let why = "its owner has signed it; it is served as it came".to_owned();
            told.failed.insert((apex.clone(), why));
            return Ok(None);
        }
        let answers = variants.map(|variants| variants.of_all(zone)).unwrap_or_default();
        if answers.get(apex).is_some_and(|answers| answers.is_alias) {
            let why = "it is a host that is answered by CNAME, as no zone held here has the name its \
                remainder goes to: caches would not find its keys beside it";
            told.failed.insert((apex.clone(), why.to_owned()));
            return Ok(None);
        }
        let steered_ttl = variants.map_or(0, Variants::ttl);
        let ttl_max = sign_zone::ttl_max(zone, steered_ttl);
        let held = self.keys.get(apex).map(Vec::as_slice).unwrap_or_default();
        let keys = roll::in_use(held, now, ttl_max);
        if keys.is_empty() {
            return Err(roll::RollError::NoKey { zone: apex.to_string() }.into());
        }
        let unknown = answers.iter().filter_map(|(name, of)| Some((name.clone(), of.unknown?)));
        told.unsigned.extend(unknown);
        let is_ours = zone.is_assumed() || network == Some(apex);
        let from = SignedFrom { zone: Arc::clone(zone), is_ours, keys, answers, steered_ttl };
        let (state, was) = (states(&from.keys, now), self.signed.get(apex));
        let was = was.map(|was| &**was);
        let held = was.filter(|was| was.due > now && was.from.is_signed_alike(&from));
        if held.is_some_and(|held| held.state == state && held.from.is_same(&from)) {
            return Ok(self.signed.get(apex).cloned());
        }
        let is_same = |name: &Name| held.is_some_and(|held| held.from.is_same_at(&from, name));
        let kept = held.map(|held| Kept { is_same: &is_same, due: held.due });
        let order = Order { kept, ..from.order(was, config.validity, now) };
        let mut new = Zone::clone(zone);
        let done = sign_zone::sign(&mut new, &order)?;
        self.metrics.made.inc_by(u64::try_from(done.made).unwrap_or(u64::MAX));
        let signed = SignedZone { from, zone: Arc::new(new), state, ttl_max, due: done.due };
        Ok(Some(Arc::new(signed)))
    }

    /// Logs what is new of what is wrong, and counts.
    fn tell(&mut self, told: Told) {
        for (zone, why) in told.failed.difference(&self.told.failed) {
            tracing::error!(%zone, %why, "a zone cannot be signed");
        }
        for (name, why) in told.unsigned.difference(&self.told.unsigned) {
            tracing::warn!(%name, %why, "some answers for a steered name cannot be signed");
        }
        for name in told.left_out.difference(&self.told.left_out) {
            tracing::error!(%name, "a host is not steered: its zone is signed by its owner, who may \
                delegate the name instead");
        }
        self.metrics.zones.set(gauge(self.signed.len()));
        self.metrics.failed.set(gauge(told.failed.len()));
        self.metrics.unsigned.set(gauge(told.unsigned.len()));
        self.metrics.left_out.set(gauge(told.left_out.len()));
        let validity = self.config.as_ref().map(|config| config.validity).unwrap_or_default();
        let due = self.signed.values().map(|held| held.due).min();
        let expiry = due.map(|due| due.after(validity / limits::SIGNATURE_RENEWED_PARTS).seconds());
        self.metrics.expiry.set(expiry.map_or(0, |at| i64::try_from(at).unwrap_or(i64::MAX)));
        self.told = told;
    }
}

/// Whether a key that was there has to go on without its file: it is not known to be over, and its
/// zone was not withdrawn.
fn is_missed(key: &ZoneKey, there: &[Arc<ZoneKey>], now: Timestamp) -> bool {
    let is_done = key.times.is_over(now) || key.times.is_withdrawn(now);
    !is_done && !there.iter().any(|other| other.tag() == key.tag())
}

fn states(keys: &[Arc<ZoneKey>], now: Timestamp) -> Vec<KeyState> {
    let state =
        |key: &Arc<ZoneKey>| (key.tag(), key.times.is_synced(now), key.times.is_withdrawn(now));
    let mut states: Vec<KeyState> = keys.iter().map(state).collect();
    states.sort_unstable();
    states
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
