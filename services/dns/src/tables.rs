//! What is answered from, made anew when the plan or a zone changes and put in force as a whole.
//!
//! ```text
//!   plan ───────► install ──┐
//!   zone ───────► put ──────┴─► NameTable, signed ─► Snapshot ──► Responder
//! ```
//!
//! One table is made at a time. Zones that come while one is made are in the next, all of them. What is
//! replaced is kept until no thread answers from it any more, so that none has to clear it away.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use headroom_steer::Plan;
use headroom_units::HostName;

use crate::{
    NameTable, Zone,
    dnssec::{Signer, Steered},
    message::Name,
    names::Layout,
    server::Shared,
    snapshot::Snapshot,
    steered::Source,
};

/// The zones beside the plan, and how tables are made of both.
#[derive(Debug)]
pub(crate) struct Tables {
    hostmaster: Option<HostName>,
    zones: Mutex<Zones>,
    /// What the table in force was made with. Held while one is made.
    made: Mutex<Made>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Made {
    /// The version of the zones.
    version: u64,
    laid_out: Option<LaidOut>,
    signer: Signer,
    /// What was answered from before, and may be still.
    replaced: Vec<Arc<Snapshot>>,
}

/// Where the hosts of a plan stand beside the zones of a version.
#[derive(Debug)]
struct LaidOut {
    plan: Arc<Plan>,
    version: u64,
    layout: Arc<Layout>,
}

impl Made {
    /// Where the hosts of `plan` stand, found out anew if they or the zones are others.
    fn layout(&mut self, plan: &Arc<Plan>, zones: &[Arc<Zone>], version: u64) -> Arc<Layout> {
        let is_same =
            |held: &LaidOut| held.version == version && Layout::is_of_both(&held.plan, plan);
        let layout = match self.laid_out.take().filter(is_same) {
            Some(held) => held.layout,
            None => Arc::new(Layout::of(plan, zones)),
        };
        let (plan, held) = (Arc::clone(plan), Arc::clone(&layout));
        self.laid_out = Some(LaidOut { plan, version, layout: held });
        layout
    }
}

/// All zones that are not made from the plan.
#[derive(Debug)]
struct Zones {
    by_name: BTreeMap<Name, Arc<Zone>>,
    /// Rises with each change.
    version: u64,
}

impl Tables {
    pub(crate) fn new(
        zones: &[Arc<Zone>],
        hostmaster: Option<HostName>,
        signer: Signer,
        shared: Arc<Shared>,
    ) -> Self {
        let by_name = zones.iter().map(|zone| (zone.apex().clone(), Arc::clone(zone))).collect();
        let zones = Mutex::new(Zones { by_name, version: 0 });
        let made = Mutex::new(Made { version: 0, laid_out: None, signer, replaced: Vec::new() });
        Self { hostmaster, zones, made, shared }
    }

    /// Puts a plan in force; false if it is not newer than the one in force.
    pub(crate) fn install(&self, plan: Arc<Plan>) -> bool {
        let mut made = self.making();
        let held = self.shared.responder().generation();
        if held.is_some_and(|held| plan.generation <= held) {
            return false;
        }
        let (zones, version) = self.zones();
        let table = self.table(&mut made, Some(&plan), &zones, version);
        let snapshot = self.snapshot(&table, Some(&plan));
        if !self.shared.responder().install(plan, table) {
            return false;
        }
        self.put_in_force(&mut made, snapshot, version);
        true
    }

    /// Puts a zone in force instead of the one of the same name.
    pub(crate) fn put(&self, zone: Arc<Zone>) {
        let version = {
            let mut zones = lock(&self.zones);
            zones.by_name.insert(zone.apex().clone(), zone);
            zones.version += 1;
            zones.version
        };
        let mut made = self.making();
        if made.version < version {
            self.remake(&mut made);
        }
        // Else a table that was made while this one waited holds it.
    }

    /// Signs what is provided for sites now, before it is in force.
    pub(crate) fn sign_provided(&self) {
        let mut made = self.making();
        if made.signer.has_signed() {
            self.remake(&mut made);
        }
    }

    /// Signs anew what has to be: keys have changed, or signatures are due.
    pub(crate) fn renew(&self) {
        let mut made = self.making();
        let now = headroom_clock::now();
        if !made.signer.is_on() {
            return;
        }
        if made.signer.read_keys(now) || made.signer.is_due(now) {
            self.remake(&mut made);
        }
    }

    /// Makes the table once more, from the plan in force and the zones as they are.
    fn remake(&self, made: &mut Made) {
        let (zones, version) = self.zones();
        let plan = self.shared.responder().plan();
        let table = self.table(made, plan.as_ref(), &zones, version);
        let snapshot = self.snapshot(&table, plan.as_ref());
        self.shared.responder().replace_table(table);
        self.put_in_force(made, snapshot, version);
    }

    fn put_in_force(&self, made: &mut Made, snapshot: Snapshot, version: u64) {
        let replaced = self.shared.snapshot.swap(Arc::new(snapshot));
        self.shared.assigned.change();
        made.version = version;
        made.replaced.push(replaced);
        made.replaced.retain(|snapshot| Arc::strong_count(snapshot) > 1);
    }

    fn table(
        &self,
        made: &mut Made,
        plan: Option<&Arc<Plan>>,
        zones: &[Arc<Zone>],
        version: u64,
    ) -> Arc<NameTable> {
        let mut table = match plan {
            Some(plan) => {
                let layout = made.layout(plan, zones, version);
                NameTable::of_layout(&layout, plan, zones, self.hostmaster.as_ref())
            }
            None => NameTable::of_zones(zones),
        };
        if made.signer.is_on() {
            let provided = plan.map(|plan| self.shared.provided(plan)).unwrap_or_default();
            let forwarder = Some(&*self.shared.forwarder);
            let steered = plan.map(|plan| Steered { plan, forwarder, provided: &provided });
            made.signer.sign(&mut table, steered, headroom_clock::now());
        }
        Arc::new(table)
    }

    fn snapshot(&self, table: &Arc<NameTable>, plan: Option<&Arc<Plan>>) -> Snapshot {
        let forwarder = Some(Arc::clone(&self.shared.forwarder));
        Snapshot::of(Source { forwarder, ..Source::new(Arc::clone(table), plan) })
    }

    fn making(&self) -> MutexGuard<'_, Made> {
        lock(&self.made)
    }

    fn zones(&self) -> (Vec<Arc<Zone>>, u64) {
        let zones = lock(&self.zones);
        (zones.by_name.values().cloned().collect(), zones.version)
    }
}

/// What panicked before put nothing half done there: all is made beside and then exchanged.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
