//! What a transfer has brought becomes a zone.

use std::collections::{HashMap, hash_map::Entry};

use domain::base::{Rtype, Ttl, iana::Class};

use super::{
    TransferError, TransferLimits,
    read::{Brought, Delta},
};
use crate::{
    Zone,
    message::{Data, Name, Record},
};

/// The new zone; none if it is as we have it.
pub(super) fn apply(
    brought: Brought,
    held: Option<&Zone>,
    limits: &TransferLimits,
) -> Result<Option<Zone>, TransferError> {
    let records = match (brought, held) {
        (Brought::Current, _) => return Ok(None),
        (Brought::Whole(records), _) => records,
        (Brought::Deltas(deltas), Some(held)) => change(held, deltas)?,
        (Brought::Deltas(_), None) => return Err(TransferError::OtherMessage),
    };
    Ok(Some(Zone::of_records(&records, limits.names)?))
}

/// The records of `held` after all changes.
fn change(held: &Zone, deltas: Vec<Delta>) -> Result<Vec<Record>, TransferError> {
    let mut soa: Option<Record> = None;
    let mut records: HashMap<(Name, Data), Ttl> = HashMap::new();
    for record in held.records() {
        if record.rtype() == Rtype::SOA {
            soa = Some(record);
        } else {
            insert(&mut records, record);
        }
    }
    for delta in deltas {
        for record in delta.removed {
            let owner = record.owner().to_string();
            let (owner_name, data) = (record.owner().clone(), record.into_data());
            let removed = records.remove(&(owner_name, data));
            removed.ok_or(TransferError::NotThere(owner))?;
        }
        for record in delta.added {
            insert(&mut records, record);
        }
        soa = Some(delta.soa);
    }
    let soa = soa.ok_or(TransferError::NoSoa)?;
    let others =
        records.into_iter().map(|((owner, data), ttl)| Record::new(owner, Class::IN, ttl, data));
    Ok(std::iter::once(soa).chain(others).collect())
}

fn insert(records: &mut HashMap<(Name, Data), Ttl>, record: Record) {
    let (owner, ttl) = (record.owner().clone(), record.ttl());
    match records.entry((owner, record.into_data())) {
        Entry::Occupied(mut held) => *held.get_mut() = ttl,
        Entry::Vacant(free) => {
            free.insert(ttl);
        }
    }
}
