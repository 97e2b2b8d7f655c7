//! The messages of one transfer, read one after the other until its last SOA record.
//!
//! ```text
//!   AXFR   SOA(new)  records…                                            SOA(new)
//!   IXFR   SOA(new)  SOA(held) taken away…  SOA(next) added…  SOA(next)… SOA(new)
//!   either SOA(held): there is nothing new
//! ```
//!
//! Pure; it knows nothing of connections and signatures.

use bytes::Bytes;
use domain::{
    base::{
        Message, ParsedName, ParsedRecord, Rtype, Serial,
        iana::{Class, Opcode, Rcode},
        name::FlattenInto,
    },
    rdata::ZoneRecordData,
};

use super::{TransferError, TransferLimits};
use crate::message::{Data, Name, Record};

/// One step from a serial to the next.
#[derive(Debug)]
pub(crate) struct Delta {
    /// What is no longer there.
    pub(crate) removed: Vec<Record>,
    /// What is new.
    pub(crate) added: Vec<Record>,
    /// The SOA record from then on.
    pub(crate) soa: Record,
}

/// What a transfer has brought.
#[derive(Debug)]
pub(crate) enum Brought {
    /// The zone is as we have it.
    Current,
    /// The zone as a whole; its SOA record first.
    Whole(Vec<Record>),
    /// What has changed since the serial that we have.
    Deltas(Vec<Delta>),
}

/// Reads the answers to one question.
#[derive(Debug)]
pub(crate) struct Reader {
    apex: Name,
    rtype: Rtype,
    id: u16,
    /// The serial that we have; only changes are asked for then.
    held: Option<u32>,
    limits: TransferLimits,
    octets: usize,
    records: usize,
    is_first_message: bool,
    soa: Option<Record>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Before the first SOA record.
    Begin,
    /// Behind it.
    Second,
    /// Within a whole zone.
    Whole(Vec<Record>),
    /// Within changes; `is_adding` in the second half of the last of them.
    Deltas {
        deltas: Vec<Delta>,
        is_adding: bool,
    },
    Done(Brought),
}

impl Reader {
    /// The reader of the answers to a question of type AXFR, or IXFR if `held` is given.
    pub(crate) fn new(apex: Name, id: u16, held: Option<u32>, limits: TransferLimits) -> Self {
        let rtype = if held.is_some() { Rtype::IXFR } else { Rtype::AXFR };
        let (octets, records, is_first_message) = (0, 0, true);
        let (soa, state) = (None, State::Begin);
        Self { apex, rtype, id, held, limits, octets, records, is_first_message, soa, state }
    }

    /// Reads the next message. True if it was the last.
    pub(crate) fn read(&mut self, message: Vec<u8>) -> Result<bool, TransferError> {
        self.octets += message.len();
        if self.octets > self.limits.octets {
            return Err(TransferError::Octets(self.limits.octets));
        }
        let message = Message::from_octets(Bytes::from(message));
        let message = message.map_err(|_| TransferError::Malformed)?;
        self.check_head(&message)?;
        for record in message.answer().map_err(|_| TransferError::Malformed)? {
            let record = record.map_err(|_| TransferError::Malformed)?;
            if matches!(self.state, State::Done(_)) {
                return Err(TransferError::Trailing);
            }
            let record = self.check_record(&record)?;
            self.take(record)?;
        }
        self.is_first_message = false;
        if self.is_current() {
            self.state = State::Done(Brought::Current);
        }
        Ok(matches!(self.state, State::Done(_)))
    }

    /// Whether changes came, not the zone as a whole.
    pub(crate) fn is_by_changes(&self) -> bool {
        matches!(self.state, State::Done(Brought::Deltas(_)))
    }

    /// What the transfer has brought; it is cut short if no message was the last.
    pub(crate) fn finish(self) -> Result<Brought, TransferError> {
        match self.state {
            State::Done(brought) => Ok(brought),
            _ => Err(TransferError::CutShort),
        }
    }

    fn check_head(&self, message: &Message<Bytes>) -> Result<(), TransferError> {
        let header = message.header();
        let is_answer = header.qr() && header.opcode() == Opcode::QUERY && !header.tc();
        if !is_answer || header.id() != self.id {
            return Err(TransferError::OtherMessage);
        }
        if header.rcode() != Rcode::NOERROR {
            return Err(TransferError::Rcode(header.rcode()));
        }
        let count = message.header_counts().qdcount();
        // RFC 5936 §2.2.1: the first answer repeats the question, the others may.
        if count == 0 && !self.is_first_message {
            return Ok(());
        }
        let question = message.sole_question().map_err(|_| TransferError::OtherMessage)?;
        let is_asked = question.qname() == &self.apex
            && question.qtype() == self.rtype
            && question.qclass() == Class::IN;
        if is_asked { Ok(()) } else { Err(TransferError::OtherMessage) }
    }

    fn check_record(&mut self, record: &ParsedRecord<'_, Bytes>) -> Result<Record, TransferError> {
        self.records += 1;
        if self.records > self.limits.records {
            return Err(TransferError::Records(self.limits.records));
        }
        let owner = || record.owner().to_string();
        if record.class() != Class::IN {
            return Err(TransferError::Class { owner: owner(), class: record.class() });
        }
        if !is_data(record.rtype()) {
            let rtype = record.rtype().to_string();
            return Err(TransferError::Type { owner: owner(), rtype });
        }
        let (length, max) = (usize::from(record.rdlen()), self.limits.record_data);
        if length > max {
            return Err(TransferError::RecordData { owner: owner(), length, max });
        }
        let read = record.to_record::<ZoneRecordData<_, ParsedName<_>>>();
        let read = read.ok().flatten().ok_or(TransferError::Malformed)?;
        let record: Record = read.flatten_into();
        if !record.owner().ends_with(&self.apex) {
            return Err(TransferError::OutOfZone(owner()));
        }
        Ok(record)
    }

    fn take(&mut self, record: Record) -> Result<(), TransferError> {
        let serial = serial(&record);
        if serial.is_some() && *record.owner() != self.apex {
            return Err(TransferError::SoaInside);
        }
        let state = std::mem::replace(&mut self.state, State::Second);
        self.state = match (state, serial) {
            (State::Begin, Some(serial)) => {
                self.check_newer(serial)?;
                self.soa = Some(record);
                State::Second
            }
            (State::Begin, None) => return Err(TransferError::NoSoa),
            (State::Second, Some(from)) if self.held.is_some() => self.first_delta(from)?,
            (State::Second, _) => self.whole(self.soa.clone().into_iter().collect(), record)?,
            (State::Whole(records), _) => self.whole(records, record)?,
            (State::Deltas { deltas, is_adding }, _) => self.delta(deltas, is_adding, record)?,
            (State::Done(_), _) => return Err(TransferError::Trailing),
        };
        Ok(())
    }

    fn check_newer(&self, offered: u32) -> Result<(), TransferError> {
        match self.held {
            // RFC 1982: what is neither newer nor the same went back.
            Some(held) if offered != held && !is_newer(offered, held) => {
                Err(TransferError::Older { offered, held })
            }
            _ => Ok(()),
        }
    }

    /// Whether all that came is the SOA record that we have.
    fn is_current(&self) -> bool {
        let offered = self.soa.as_ref().and_then(serial);
        matches!(self.state, State::Second) && offered.is_some() && offered == self.held
    }

    fn whole(&self, mut records: Vec<Record>, record: Record) -> Result<State, TransferError> {
        if record.rtype() != Rtype::SOA {
            records.push(record);
            return Ok(State::Whole(records));
        }
        if Some(&record) != self.soa.as_ref() {
            return Err(TransferError::SoasDiffer);
        }
        Ok(State::Done(Brought::Whole(records)))
    }

    fn first_delta(&self, from: u32) -> Result<State, TransferError> {
        self.check_joined(from, self.held.unwrap_or_default())?;
        let soa = self.soa.clone().ok_or(TransferError::NoSoa)?;
        let deltas = vec![Delta { removed: Vec::new(), added: Vec::new(), soa }];
        Ok(State::Deltas { deltas, is_adding: false })
    }

    fn delta(
        &self,
        mut deltas: Vec<Delta>,
        is_adding: bool,
        record: Record,
    ) -> Result<State, TransferError> {
        let Some(last) = deltas.last_mut() else { return Err(TransferError::NoSoa) };
        match serial(&record) {
            None if is_adding => last.added.push(record),
            None => last.removed.push(record),
            Some(_) if !is_adding => {
                last.soa = record;
                return Ok(State::Deltas { deltas, is_adding: true });
            }
            Some(from) => {
                let reached = serial(&last.soa).unwrap_or_default();
                self.check_joined(from, reached)?;
                if Some(reached) == self.soa.as_ref().and_then(serial) {
                    // The last step leads to what was announced.
                    let agrees = Some(&record) == self.soa.as_ref() && record == last.soa;
                    let done = State::Done(Brought::Deltas(deltas));
                    return if agrees { Ok(done) } else { Err(TransferError::SoasDiffer) };
                }
                let (removed, added) = (Vec::new(), Vec::new());
                deltas.push(Delta { removed, added, soa: record });
                return Ok(State::Deltas { deltas, is_adding: false });
            }
        }
        Ok(State::Deltas { deltas, is_adding })
    }

    fn check_joined(&self, found: u32, expected: u32) -> Result<(), TransferError> {
        if found == expected { Ok(()) } else { Err(TransferError::Unjoined { found, expected }) }
    }
}

/// False for types that stand in messages only (RFC 6895 §3.1).
fn is_data(rtype: Rtype) -> bool {
    let number = rtype.to_int();
    number != 0 && rtype != Rtype::OPT && !(128..=255).contains(&number)
}

/// Whether one serial comes after another (RFC 1982 §3.2).
pub(crate) fn is_newer(offered: u32, held: u32) -> bool {
    Serial(offered) > Serial(held)
}

/// The serial of a SOA record.
pub(crate) fn serial(record: &Record) -> Option<u32> {
    match record.data() {
        Data::Soa(soa) => Some(soa.serial().into_int()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
