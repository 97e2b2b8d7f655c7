//! Messages signed with a shared secret (RFC 8945): whole MACs of HMAC-SHA-256 and up.
//!
//! ```text
//!   sign_request ──► Verifier: every answer of a transfer, in their order     we ask
//!   check_request ──► Signed ──► sign_answer, one after the other             we are asked
//! ```
//!
//! Pure: the time is an argument. Truncated MACs (§5.2.2.1) and older hashes are refused, and
//! requests are not remembered to find copies of them: what is signed here changes nothing.

use std::fmt;

use aws_lc_rs::hmac;
use bytes::Bytes;
use domain::{
    base::{
        Message, ParsedName, ParsedRecord, Rtype, ToName as _,
        iana::{Class, TsigRcode},
    },
    rdata::Tsig,
    utils::base64,
};
use headroom_units::Timestamp;

use crate::{limits, message::Name};

/// A secret shared with another name server, and what it is called there.
#[derive(Clone)]
pub struct TsigKey {
    name: Name,
    algorithm: Name,
    key: hmac::Key,
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TsigKeyError {
    /// Its name is not a domain name.
    #[error("{0} is not a domain name")]
    Name(String),
    /// Its algorithm is unknown, or too weak.
    #[error("{0} is not one of hmac-sha256, hmac-sha384 and hmac-sha512")]
    Algorithm(String),
    /// Its secret is not in base64.
    #[error("the secret is not in base64")]
    Encoding,
    /// Its secret is too short.
    #[error("the secret has {length} octets; accepted are {min} or more")]
    Short {
        /// How long it is.
        length: usize,
        /// How long it has to be.
        min: usize,
    },
}

impl TsigKeyError {
    /// Whether it is the secret that cannot be used.
    #[must_use]
    pub const fn is_about_secret(&self) -> bool {
        matches!(self, Self::Encoding | Self::Short { .. })
    }
}

impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TsigKey({} {}, secret withheld)", self.name, self.algorithm)
    }
}

impl TsigKey {
    /// A key called `name`, with its secret in base64 as other name servers keep it.
    ///
    /// # Errors
    /// If a part of it is malformed, or the secret is short enough to be guessed.
    pub fn new(name: &str, algorithm: &str, secret: &str) -> Result<Self, TsigKeyError> {
        let kind = match algorithm.to_ascii_lowercase().as_str() {
            "hmac-sha256" => hmac::HMAC_SHA256,
            "hmac-sha384" => hmac::HMAC_SHA384,
            "hmac-sha512" => hmac::HMAC_SHA512,
            _ => return Err(TsigKeyError::Algorithm(algorithm.to_owned())),
        };
        let lower = |text: &str| Name::bytes_from_str(&text.to_ascii_lowercase());
        let named = lower(name).map_err(|_| TsigKeyError::Name(name.to_owned()))?;
        let algorithm = lower(algorithm).expect("a short name");
        let secret = secret.split_ascii_whitespace().collect::<String>();
        let secret: Vec<u8> = base64::decode(&secret).map_err(|_| TsigKeyError::Encoding)?;
        if secret.len() < limits::TSIG_SECRET_MIN {
            let (length, min) = (secret.len(), limits::TSIG_SECRET_MIN);
            return Err(TsigKeyError::Short { length, min });
        }
        Ok(Self { name: named, algorithm, key: hmac::Key::new(kind, &secret) })
    }

    /// What it is called on both sides.
    #[must_use]
    pub fn name(&self) -> String {
        self.name.to_string()
    }
}

/// Why a message is not taken for what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TsigFault {
    #[error("its TSIG record is malformed or not the last")]
    Malformed,
    #[error("it is not signed")]
    Unsigned,
    #[error("it is signed with another key")]
    Key,
    #[error("its signature is wrong")]
    Signature,
    #[error("its signature is expired, or not valid yet")]
    Time,
    #[error("more than 99 messages in a row are not signed")]
    TooManyUnsigned,
    #[error("the other side refuses our signature: {0}")]
    Refused(TsigRcode),
}

/// A TSIG record that was taken off its message.
struct Taken {
    /// The message as it was before it was signed.
    message: Vec<u8>,
    name: Name,
    algorithm: Name,
    time: u64,
    fudge: u16,
    mac: Vec<u8>,
    error: TsigRcode,
    other: Vec<u8>,
}

impl Taken {
    /// Takes the TSIG record off `message`; none if it has none.
    fn of(message: &[u8]) -> Result<Option<Self>, TsigFault> {
        let parsed = Message::from_slice(message).map_err(|_| TsigFault::Malformed)?;
        let mut section = parsed.additional().map_err(|_| TsigFault::Malformed)?;
        let mut found = None;
        loop {
            let start = section.pos();
            let Some(record) = section.next() else { break };
            let record = record.map_err(|_| TsigFault::Malformed)?;
            if found.is_some() {
                // §5.1: it is the last record, and there is one.
                return Err(TsigFault::Malformed);
            }
            if record.rtype() == Rtype::TSIG {
                found = Some((start, record));
            }
        }
        found.map(|(start, record)| Self::read(message, start, &record)).transpose()
    }

    fn read(
        message: &[u8],
        start: usize,
        record: &ParsedRecord<'_, [u8]>,
    ) -> Result<Self, TsigFault> {
        let is_any = record.class() == Class::ANY && record.ttl().as_secs() == 0;
        let name = record.owner().to_name::<Bytes>();
        let record = record.to_record::<Tsig<&[u8], ParsedName<&[u8]>>>();
        let record = record.ok().flatten().filter(|_| is_any).ok_or(TsigFault::Malformed)?;
        let data = record.data();
        let mut octets = message[..start].to_vec();
        octets[..2].copy_from_slice(&data.original_id().to_be_bytes());
        count_additional(&mut octets, -1).ok_or(TsigFault::Malformed)?;
        Ok(Self {
            message: octets,
            name,
            algorithm: data.algorithm().to_name(),
            time: seconds(data.time_signed().into_octets()),
            fudge: data.fudge(),
            mac: data.mac().to_vec(),
            error: data.error(),
            other: data.other().to_vec(),
        })
    }

    fn is_of(&self, key: &TsigKey) -> bool {
        self.name == key.name && self.algorithm == key.algorithm
    }

    fn variables(&self) -> Variables<'_> {
        let (time, fudge, error) = (self.time, self.fudge, self.error);
        Variables { time, fudge, error, other: &self.other }
    }

    fn is_in_time(&self, now: Timestamp) -> bool {
        self.time.abs_diff(now.seconds()) <= u64::from(self.fudge)
    }
}

fn seconds(time: [u8; 6]) -> u64 {
    time.iter().fold(0, |sum, octet| sum << 8 | u64::from(*octet))
}

/// Adds to ARCOUNT.
fn count_additional(message: &mut [u8], change: i16) -> Option<()> {
    let field = message.get_mut(10..12)?;
    let count = u16::from_be_bytes([field[0], field[1]]).checked_add_signed(change)?;
    field.copy_from_slice(&count.to_be_bytes());
    Some(())
}

/// What is signed beside the message (§4.3.3).
struct Variables<'v> {
    time: u64,
    fudge: u16,
    error: TsigRcode,
    other: &'v [u8],
}

impl Variables<'_> {
    fn at(now: Timestamp) -> Self {
        let (time, fudge) = (now.seconds(), limits::TSIG_FUDGE);
        Self { time, fudge, error: TsigRcode::NOERROR, other: &[] }
    }

    fn timers(&self) -> [u8; 8] {
        let mut octets = [0; 8];
        octets[..6].copy_from_slice(&self.time.to_be_bytes()[2..]);
        octets[6..].copy_from_slice(&self.fudge.to_be_bytes());
        octets
    }

    fn all(&self, key: &TsigKey) -> Vec<u8> {
        let mut octets = key.name.as_slice().to_ascii_lowercase();
        octets.extend_from_slice(&Class::ANY.to_int().to_be_bytes());
        octets.extend_from_slice(&[0; 4]);
        octets.extend_from_slice(key.algorithm.as_slice());
        octets.extend_from_slice(&self.timers());
        octets.extend_from_slice(&self.error.to_int().to_be_bytes());
        octets.extend_from_slice(&short(self.other.len()));
        octets.extend_from_slice(self.other);
        octets
    }

    /// Adds the TSIG record to `message`. Its id is the original one.
    fn append(&self, key: &TsigKey, mac: &[u8], message: &mut Vec<u8>) {
        let id = [message[0], message[1]];
        count_additional(message, 1).expect("a message that is made here has few records");
        let mut data = key.algorithm.as_slice().to_vec();
        data.extend_from_slice(&self.timers());
        data.extend_from_slice(&short(mac.len()));
        data.extend_from_slice(mac);
        data.extend_from_slice(&id);
        data.extend_from_slice(&self.error.to_int().to_be_bytes());
        data.extend_from_slice(&short(self.other.len()));
        data.extend_from_slice(self.other);
        message.extend_from_slice(key.name.as_slice());
        message.extend_from_slice(&Rtype::TSIG.to_int().to_be_bytes());
        message.extend_from_slice(&Class::ANY.to_int().to_be_bytes());
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(&short(data.len()));
        message.extend_from_slice(&data);
    }
}

/// A length as it stands on the wire.
fn short(length: usize) -> [u8; 2] {
    u16::try_from(length).expect("a MAC, or the data of a TSIG record, is short").to_be_bytes()
}

/// The beginning of what is signed in an answer: the MAC before it (§4.3.1).
fn context(key: &TsigKey, prior: &[u8]) -> hmac::Context {
    let mut context = hmac::Context::with_key(&key.key);
    if !prior.is_empty() {
        context.update(&short(prior.len()));
        context.update(prior);
    }
    context
}

/// Signs a request; returns its MAC, which the answers continue.
pub(crate) fn sign_request(key: &TsigKey, message: &mut Vec<u8>, now: Timestamp) -> Vec<u8> {
    let variables = Variables::at(now);
    let mut context = context(key, &[]);
    context.update(message);
    context.update(&variables.all(key));
    let mac = context.sign().as_ref().to_vec();
    variables.append(key, &mac, message);
    mac
}

/// Checks the answers to one signed request, in their order.
#[derive(Debug)]
pub(crate) struct Verifier<'k> {
    key: &'k TsigKey,
    prior: Vec<u8>,
    /// The messages since the last signed one, as they came.
    unsigned: Vec<Vec<u8>>,
    is_first: bool,
}

impl<'k> Verifier<'k> {
    /// The checker of the answers to a request with this MAC.
    pub(crate) fn new(key: &'k TsigKey, mac: Vec<u8>) -> Self {
        Self { key, prior: mac, unsigned: Vec::new(), is_first: true }
    }

    /// Whether all messages until now are covered by a signature.
    pub(crate) fn is_complete(&self) -> bool {
        !self.is_first && self.unsigned.is_empty()
    }

    /// Checks the next message, and takes its TSIG record off. The first is signed; of the others,
    /// at most 99 in a row are not (§5.3.1).
    pub(crate) fn check(&mut self, message: &mut Vec<u8>, now: Timestamp) -> Result<(), TsigFault> {
        let Some(taken) = Taken::of(message)? else {
            if self.is_first {
                return Err(TsigFault::Unsigned);
            }
            if self.unsigned.len() >= limits::TSIG_UNSIGNED_MAX {
                return Err(TsigFault::TooManyUnsigned);
            }
            self.unsigned.push(message.clone());
            return Ok(());
        };
        if matches!(taken.error, TsigRcode::BADKEY | TsigRcode::BADSIG) {
            return Err(TsigFault::Refused(taken.error));
        }
        if !taken.is_of(self.key) {
            return Err(TsigFault::Key);
        }
        let mut data = Vec::new();
        if !self.prior.is_empty() {
            data.extend_from_slice(&short(self.prior.len()));
            data.extend_from_slice(&self.prior);
        }
        data.extend(self.unsigned.drain(..).flatten());
        data.extend_from_slice(&taken.message);
        if self.is_first {
            data.extend_from_slice(&taken.variables().all(self.key));
        } else {
            data.extend_from_slice(&taken.variables().timers());
        }
        let verified = hmac::verify(&self.key.key, &data, &taken.mac);
        verified.map_err(|_| TsigFault::Signature)?;
        if taken.error != TsigRcode::NOERROR {
            return Err(TsigFault::Refused(taken.error));
        }
        if !taken.is_in_time(now) {
            return Err(TsigFault::Time);
        }
        (self.prior, self.is_first) = (taken.mac, false);
        *message = taken.message;
        Ok(())
    }
}

/// A request that was signed with a key of ours, and what its answers are signed with.
#[derive(Debug)]
pub(crate) struct Signed<'k> {
    key: &'k TsigKey,
    prior: Vec<u8>,
    is_first: bool,
}

/// Why a request is not taken, and how that is answered (§5.2).
#[derive(Debug)]
pub(crate) struct Turned<'k> {
    pub(crate) fault: TsigFault,
    /// What the answer's TSIG record says; without it the request is malformed.
    error: Option<TsigRcode>,
    /// The other side's name for key and algorithm, as they came.
    named: Option<(Name, Name, u64)>,
    /// Where the answer is signed all the same: only the clocks differ.
    signed: Option<Signed<'k>>,
}

/// Checks a request, and takes its TSIG record off; none if it is not signed.
pub(crate) fn check_request<'k>(
    keys: impl IntoIterator<Item = &'k TsigKey>,
    message: &mut Vec<u8>,
    now: Timestamp,
) -> Result<Option<Signed<'k>>, Turned<'k>> {
    let turned = |fault, error| Turned { fault, error, named: None, signed: None };
    let Some(taken) = Taken::of(message).map_err(|fault| turned(fault, None))? else {
        return Ok(None);
    };
    let named = Some((taken.name.clone(), taken.algorithm.clone(), taken.time));
    let turned = |fault, error| Turned { named: named.clone(), ..turned(fault, Some(error)) };
    let Some(key) = keys.into_iter().find(|key| taken.is_of(key)) else {
        return Err(turned(TsigFault::Key, TsigRcode::BADKEY));
    };
    let data = [taken.message.as_slice(), &taken.variables().all(key)].concat();
    if hmac::verify(&key.key, &data, &taken.mac).is_err() {
        return Err(turned(TsigFault::Signature, TsigRcode::BADSIG));
    }
    let is_in_time = taken.is_in_time(now);
    let signed = Signed { key, prior: taken.mac.clone(), is_first: true };
    if !is_in_time {
        let turned = turned(TsigFault::Time, TsigRcode::BADTIME);
        return Err(Turned { signed: Some(signed), ..turned });
    }
    *message = taken.message;
    Ok(Some(signed))
}

impl Signed<'_> {
    /// The key that the request was signed with.
    pub(crate) fn key(&self) -> &TsigKey {
        self.key
    }

    /// Signs the next answer to the request.
    pub(crate) fn sign_answer(&mut self, message: &mut Vec<u8>, now: Timestamp) {
        self.sign(message, &Variables::at(now));
    }

    fn sign(&mut self, message: &mut Vec<u8>, variables: &Variables<'_>) {
        let mut context = context(self.key, &self.prior);
        context.update(message);
        if self.is_first {
            context.update(&variables.all(self.key));
        } else {
            context.update(&variables.timers());
        }
        self.prior = context.sign().as_ref().to_vec();
        self.is_first = false;
        variables.append(self.key, &self.prior, message);
    }
}

impl Turned<'_> {
    /// True if the record itself is malformed: the answer is FORMERR. Else it is NOTAUTH.
    pub(crate) fn is_malformed(&self) -> bool {
        self.error.is_none()
    }

    /// Adds to the answer what its TSIG record has to say.
    pub(crate) fn finish(self, message: &mut Vec<u8>, now: Timestamp) {
        let (Some(error), Some((name, algorithm, time))) = (self.error, self.named) else {
            return;
        };
        let fudge = limits::TSIG_FUDGE;
        if let Some(mut signed) = self.signed {
            // §5.2.3: the time of the request, and ours beside it.
            let other = &now.seconds().to_be_bytes()[2..];
            signed.sign(message, &Variables { time, fudge, error, other });
            return;
        }
        // §5.3.2: not signed, as the other side could not check it.
        let unkeyed = TsigKey { name, algorithm, key: hmac::Key::new(hmac::HMAC_SHA256, &[0]) };
        Variables { time, fudge, error, other: &[] }.append(&unkeyed, &[], message);
    }
}

#[cfg(test)]
mod tests;
