//! Every subject on the bus, with the shape of its messages.

use std::marker::PhantomData;

use headroom_wire::{
    BudgetsMessage, MeterAck, MeterReport, NameServerReport, PlanDocument, ServerReportsMessage,
};

/// The plan in force, from the exchange.
pub const PLAN: Subject<PlanDocument> = Subject::state("headroom.plan");
/// The budgets in force, from the exchange.
pub const BUDGETS: Subject<BudgetsMessage> = Subject::state("headroom.budgets");
/// What purchasers report of the servers that their remainders are assigned to, from the exchange.
pub const SERVER_REPORTS: Subject<ServerReportsMessage> = Subject::state("headroom.server-reports");
/// What each edge counted, every second.
pub const METERS: Subject<MeterReport> = Subject::stream("headroom.meters");
/// Which meter reports the exchange has stored.
pub const METER_ACKS: Subject<MeterAck> = Subject::stream("headroom.meter-acks");
/// What each name server did, every second.
pub const NAME_SERVER_REPORTS: Subject<NameServerReport> =
    Subject::stream("headroom.name-server-reports");

/// Whether every message matters, or only the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The newest message replaces all before it; who comes late gets it.
    State,
    /// Every message counts, in order.
    Stream,
}

/// A subject whose messages are of shape `T`.
#[derive(Debug, Clone, Copy)]
pub struct Subject<T> {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    shape: PhantomData<fn() -> T>,
}

impl<T> Subject<T> {
    const fn state(name: &'static str) -> Self {
        Self { name, kind: Kind::State, shape: PhantomData }
    }

    const fn stream(name: &'static str) -> Self {
        Self { name, kind: Kind::Stream, shape: PhantomData }
    }

    /// The name on the bus.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Whether every message matters.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }
}
