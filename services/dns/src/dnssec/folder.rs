//! Keys on disk, in the form of BIND's key files: `K<zone>.+013+<tag>.key` is the record of a key,
//! and `.private`, for its owner alone, its private part and its times.
//!
//! Files of other algorithms are left alone. A file is replaced as a whole.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use domain::{
    base::{iana::Class, name::FlattenInto as _},
    utils::base64,
    zonefile::inplace::{Entry, Zonefile},
};
use headroom_units::{HostName, Timestamp};

use super::{KeyError, KeyTimes, ZoneKey, roll};
use crate::{
    limits,
    message::{Data, Name, Record},
    names::name_of,
    replace::replace,
};

const FORMAT: &str = "v1.3";
const ALGORITHM: &str = "13 (ECDSAP256SHA256)";
/// How a moment is written.
const MOMENT: &str = "%Y%m%d%H%M%S";
/// Who may read and write the private part.
const PRIVATE_MODE: u32 = 0o600;

/// What tells whether a file has changed: its name, length and time.
pub(crate) type Seen = (PathBuf, u64, Option<SystemTime>);

/// A folder with keys.
#[derive(Debug, Clone)]
pub struct KeyFolder {
    path: PathBuf,
}

/// What a folder holds.
#[derive(Debug, Default)]
pub struct Held {
    /// The keys of each zone, by the name of the zone.
    pub keys: BTreeMap<String, Vec<ZoneKey>>,
    /// The files that are no keys, and why.
    pub faults: Vec<(PathBuf, KeyError)>,
}

impl KeyFolder {
    /// The folder at `path`, which need not be there yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All keys of algorithm 13 in it.
    ///
    /// # Errors
    /// If the folder cannot be read, or holds too many files. Files that are no keys are told in
    /// what it holds.
    pub fn load(&self) -> Result<Held, KeyError> {
        let mut held = Held::default();
        for (path, ..) in self.seen()? {
            match read_key(&path) {
                Ok(Some(key)) => {
                    let zone = key.zone().to_string().to_ascii_lowercase();
                    held.keys.entry(zone).or_default().push(key);
                }
                Ok(None) => {}
                Err(error) => held.faults.push((path, error)),
            }
        }
        for keys in held.keys.values_mut() {
            keys.sort_by_key(|key| (key.times.order(), key.tag()));
        }
        Ok(held)
    }

    /// The private parts in it, in the order of their names, as they stand on the disk.
    pub(crate) fn seen(&self) -> Result<Vec<Seen>, KeyError> {
        let mut seen = Vec::new();
        for entry in fs::read_dir(&self.path)?.take(limits::KEY_FILES_MAX + 1) {
            let entry = entry?;
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "private") {
                let about = entry.metadata()?;
                seen.push((path, about.len(), about.modified().ok()));
            }
        }
        if seen.len() > limits::KEY_FILES_MAX / 2 {
            return Err(KeyError::TooMany { max: limits::KEY_FILES_MAX / 2 });
        }
        seen.sort();
        Ok(seen)
    }

    /// Makes the first key of a zone.
    ///
    /// # Errors
    /// If the zone has a key, or the folder cannot be written.
    pub fn generate(&self, zone: &HostName, now: Timestamp) -> Result<ZoneKey, KeyError> {
        fs::create_dir_all(&self.path)?;
        let keys = self.keys_of(zone)?;
        let times = roll::first(zone.as_str(), &keys, now)?;
        self.make(zone, times, &keys)
    }

    /// Begins to exchange the key of a zone for a new one, which is returned.
    ///
    /// # Errors
    /// If the zone has no key or exchanges one already, or the folder cannot be written.
    pub fn begin(&self, zone: &HostName, now: Timestamp) -> Result<ZoneKey, KeyError> {
        let mut keys = self.keys_of(zone)?;
        let (old, times) = roll::begin(zone.as_str(), &mut keys, now)?;
        // Should the second not be written, the old key alone is there, and its CDS record ends late.
        let new = self.make(zone, times, &keys)?;
        self.save(&keys[old])?;
        Ok(new)
    }

    /// Ends the exchange, as the parent has the DS record of the new key; the old one is returned.
    ///
    /// # Errors
    /// If no key is exchanged or not all caches know the new one, or the folder cannot be written.
    pub fn finish(
        &self,
        zone: &HostName,
        ds_ttl: Duration,
        now: Timestamp,
    ) -> Result<ZoneKey, KeyError> {
        let mut keys = self.keys_of(zone)?;
        let old = roll::finish(zone.as_str(), &mut keys, ds_ttl, now)?;
        self.save(&keys[old])?;
        Ok(keys.swap_remove(old))
    }

    /// Asks the parent to be insecure, or not any more if it is not wanted; the key is returned.
    ///
    /// # Errors
    /// If the zone has no key or exchanges one, or the folder cannot be written.
    pub fn withdraw(
        &self,
        zone: &HostName,
        is_wanted: bool,
        now: Timestamp,
    ) -> Result<ZoneKey, KeyError> {
        let mut keys = self.keys_of(zone)?;
        let key = roll::withdraw(zone.as_str(), &mut keys, is_wanted, now)?;
        self.save(&keys[key])?;
        Ok(keys.swap_remove(key))
    }

    /// The keys of one zone. Nothing is changed while one of them cannot be read.
    fn keys_of(&self, zone: &HostName) -> Result<Vec<ZoneKey>, KeyError> {
        let begin = format!("K{}.+", zone.as_str());
        let mut held = self.load()?;
        let is_its_own = |path: &Path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&begin))
        };
        if let Some(at) = held.faults.iter().position(|(path, _)| is_its_own(path)) {
            return Err(held.faults.swap_remove(at).1);
        }
        Ok(held.keys.remove(zone.as_str()).unwrap_or_default())
    }

    /// A new key that has another tag than those of its zone.
    fn make(
        &self,
        zone: &HostName,
        times: KeyTimes,
        others: &[ZoneKey],
    ) -> Result<ZoneKey, KeyError> {
        loop {
            let key = ZoneKey::generate(name_of(zone), times)?;
            if !others.iter().any(|other| other.tag() == key.tag()) {
                self.save(&key)?;
                return Ok(key);
            }
        }
    }

    fn save(&self, key: &ZoneKey) -> Result<(), KeyError> {
        let zone = key.zone().to_string().to_ascii_lowercase();
        let base = format!("K{}.+013+{:05}", zone, key.tag());
        let (tag, record) = (key.tag(), key.dnskey_record());
        let record =
            format!("; The key {tag} of {zone}: its parent has a DS record of it.\n{record}\n");
        // The private part comes last: by it a key is found.
        replace(&self.path.join(format!("{base}.key")), 0o644, &[record.as_bytes()])?;
        let path = self.path.join(format!("{base}.private"));
        Ok(replace(&path, PRIVATE_MODE, &[private(key)?.as_bytes()])?)
    }
}

/// The text of a key's private part.
fn private(key: &ZoneKey) -> Result<String, KeyError> {
    let times = &key.times;
    let mut text = format!(
        "Private-key-format: {FORMAT}\nAlgorithm: {ALGORITHM}\nPrivateKey: {}\n",
        base64::encode_string(&key.private_octets()?),
    );
    let mut say = |word: &str, moment: Option<Timestamp>| -> Result<(), KeyError> {
        if let Some(moment) = moment {
            text += &format!("{word}: {}\n", written(moment)?);
        }
        Ok(())
    };
    say("Created", Some(times.created))?;
    say("Publish", Some(times.publish))?;
    say("Activate", Some(times.publish))?;
    say("SyncPublish", times.sync_publish)?;
    say("SyncDelete", times.sync_delete)?;
    say("Withdraw", times.withdraw)?;
    say("Inactive", times.delete)?;
    say("Delete", times.delete)?;
    Ok(text)
}

fn written(moment: Timestamp) -> Result<String, KeyError> {
    let seconds = i64::try_from(moment.seconds()).map_err(|_| KeyError::Time)?;
    let moment = jiff::Timestamp::from_second(seconds).map_err(|_| KeyError::Time)?;
    Ok(moment.strftime(MOMENT).to_string())
}

fn read_moment(text: &str) -> Result<Timestamp, KeyError> {
    let parsed = jiff::civil::DateTime::strptime(MOMENT, text).map_err(|_| KeyError::Time)?;
    let zoned = parsed.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| KeyError::Time)?;
    let seconds = u64::try_from(zoned.timestamp().as_second()).map_err(|_| KeyError::Time)?;
    Ok(Timestamp::from_seconds(seconds))
}

/// The key whose private part is at `path`; none if it is of another algorithm.
fn read_key(path: &Path) -> Result<Option<ZoneKey>, KeyError> {
    let text = read_file(path)?;
    let fields: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(word, value)| (word.trim(), value.trim()))
        .collect();
    let field = |word: &'static str| fields.get(word).copied().ok_or(KeyError::Missing { word });
    if field("Algorithm")?.split(' ').next() != Some("13") {
        return Ok(None);
    }
    let moment = |word: &str| fields.get(word).map(|text| read_moment(text)).transpose();
    let created = moment("Created")?.unwrap_or(Timestamp::EPOCH);
    let times = KeyTimes {
        created,
        publish: moment("Publish")?.unwrap_or(created),
        sync_publish: moment("SyncPublish")?,
        sync_delete: moment("SyncDelete")?,
        withdraw: moment("Withdraw")?,
        delete: moment("Delete")?,
    };
    let private: Vec<u8> = base64::decode(field("PrivateKey")?).map_err(|_| KeyError::Encoding)?;
    let record = read_record(&read_file(&path.with_extension("key"))?)?;
    let Data::Dnskey(dnskey) = record.data() else { return Err(KeyError::Record) };
    let zone: Name = record.owner().clone();
    let key = ZoneKey::of_octets(zone, &private, dnskey.public_key(), times)?;
    // What is not a zone's key and an entry point at once is not what parents point to.
    if key.dnskey() == dnskey { Ok(Some(key)) } else { Err(KeyError::Flags) }
}

fn read_file(path: &Path) -> Result<String, KeyError> {
    let mut text = String::new();
    fs::File::open(path)?.take(limits::KEY_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// The one record of a file.
fn read_record(text: &str) -> Result<Record, KeyError> {
    let mut file = Zonefile::with_capacity(text.len() + 16);
    file.set_default_class(Class::IN);
    // Key files of others name no TTL.
    file.extend_from_slice(b"$TTL 3600\n");
    file.extend_from_slice(text.as_bytes());
    file.extend_from_slice(b"\n");
    match file.next_entry() {
        Ok(Some(Entry::Record(record))) => Ok(record.flatten_into()),
        _ => Err(KeyError::Record),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn zone() -> HostName {
        "shop.example".parse().unwrap()
    }

    #[test]
    fn a_key_is_kept_for_its_owner_alone_and_comes_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let folder = KeyFolder::new(dir.path().join("keys"));
        let made = folder.generate(&zone(), at(1_700_000_000)).unwrap();
        let base = format!("Kshop.example.+013+{:05}", made.tag());
        let private = folder.path().join(format!("{base}.private"));
        let mode = fs::metadata(&private).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(fs::read_to_string(&private).unwrap().contains("Created: 20231114221320\n"));
        let held = folder.load().unwrap();
        assert!(held.faults.is_empty());
        let key = &held.keys["shop.example"][0];
        assert_eq!((key.tag(), key.times, key.dnskey()), (made.tag(), made.times, made.dnskey()));
        let again = folder.generate(&zone(), at(1_700_000_001)).unwrap_err().to_string();
        assert!(again.contains("already"), "{again}");
    }

    #[test]
    fn an_exchange_stands_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let folder = KeyFolder::new(dir.path().to_owned());
        let first = folder.generate(&zone(), at(1_000)).unwrap();
        let second = folder.begin(&zone(), at(2_000)).unwrap();
        let left = folder.finish(&zone(), Duration::from_secs(60), at(20_000)).unwrap();
        assert_eq!(left.tag(), first.tag());
        let keys = folder.load().unwrap().keys.remove("shop.example").unwrap();
        let times: Vec<_> = keys.iter().map(|key| (key.tag(), key.times.delete)).collect();
        assert_eq!(times, [(first.tag(), Some(at(20_060))), (second.tag(), None)]);
        assert_eq!(keys[0].times.sync_delete, keys[1].times.sync_publish);
        assert!(folder.withdraw(&zone(), true, at(30_000)).unwrap().times.withdraw.is_some());
    }

    #[test]
    fn files_that_are_no_keys_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let folder = KeyFolder::new(dir.path().to_owned());
        let key = folder.generate(&zone(), at(1_000)).unwrap();
        let base = format!("Kshop.example.+013+{:05}", key.tag());
        let (private, public) = (format!("{base}.private"), format!("{base}.key"));
        let whole =
            [&private, &public].map(|name| fs::read_to_string(dir.path().join(name)).unwrap());
        let fault = |name: &str, text: &str| {
            fs::write(dir.path().join(name), text).unwrap();
            let told = folder.load().unwrap().faults.pop().map(|(_, error)| error.to_string());
            let refused = folder.begin(&zone(), at(2_000)).is_err();
            fs::write(dir.path().join(&private), &whole[0]).unwrap();
            fs::write(dir.path().join(&public), &whole[1]).unwrap();
            assert_eq!(told.is_some(), refused, "{name}");
            told
        };
        for (name, text, told) in [
            (&private, "Algorithm: 13 (X)\n".to_owned(), "it has no line PrivateKey"),
            (&private, whole[0].replace("PrivateKey: ", "PrivateKey: !"), "not in base64"),
            (&private, whole[0].replace("Created: 1970", "Created: 197x"), "a moment"),
            (&private, whole[0].replace("PrivateKey: ", "PrivateKey: AAAA"), "32 octets"),
            (&public, "shop.example. 60 IN A 192.0.2.1".to_owned(), "DNSKEY"),
            (&public, whole[1].replace("257", "256"), "flags"),
        ] {
            let found = fault(name, &text).unwrap();
            assert!(found.contains(told), "{name}: {found}");
            assert!(!found.contains(whole[0].split_once("PrivateKey: ").unwrap().1.trim()));
        }
        let other = whole[0].replace("13 (ECDSAP256SHA256)", "8 (RSASHA256)");
        fs::write(dir.path().join(&private), other).unwrap();
        assert!(folder.load().unwrap().keys.is_empty());
        assert!(KeyFolder::new(dir.path().join("none")).load().is_err());
    }
}
