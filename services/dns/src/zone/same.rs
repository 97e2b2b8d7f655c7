//! What a zone has in common with the one before it. Serials do not count: that of a zone made from a
//! plan rises with each plan, whatever it says.

use std::sync::Arc;

use domain::rdata::Soa;

use super::{Node, RecordSet, Zone};
use crate::message::{Data, Name};

impl Zone {
    /// A node for another zone to have too.
    pub(crate) fn shared_node(&self, name: &Name) -> Option<&Arc<Node>> {
        self.nodes.get(name)
    }

    /// Has this node instead of the one of the same name.
    pub(crate) fn share_node(&mut self, name: &Name, node: Arc<Node>) {
        self.nodes.insert(name.clone(), node);
    }

    /// Whether it is the same as another but for the serial. Neither is signed.
    pub(crate) fn is_same_but_for_serial(&self, other: &Self) -> bool {
        let is_same = |(name, node): (&Name, &Arc<Node>)| {
            other.nodes.get(name).is_some_and(|other| node.is_same_but_for_serial(other))
        };
        std::ptr::eq(self, other)
            || self.apex == other.apex
                && self.is_assumed == other.is_assumed
                && self.nodes.len() == other.nodes.len()
                && self.nodes.iter().all(is_same)
    }
}

impl Node {
    /// Whether it is the same as another but for the serial of a SOA record.
    pub(crate) fn is_same_but_for_serial(&self, other: &Self) -> bool {
        let is_same =
            |(one, other): (&RecordSet, &RecordSet)| match (&one.data[..], &other.data[..]) {
                ([Data::Soa(soa)], [Data::Soa(held)]) => {
                    one.ttl == other.ttl && is_same_but_for_serial(soa, held)
                }
                _ => one == other,
            };
        self.site == other.site
            && self.is_laid_over == other.is_laid_over
            && self.sets.len() == other.sets.len()
            && self.sets.iter().zip(&other.sets).all(is_same)
    }
}

/// Whether SOA records say the same but for the serial.
pub(crate) fn is_same_but_for_serial(one: &Soa<Name>, other: &Soa<Name>) -> bool {
    one.mname() == other.mname()
        && one.rname() == other.rname()
        && one.refresh() == other.refresh()
        && one.retry() == other.retry()
        && one.expire() == other.expire()
        && one.minimum() == other.minimum()
}
