//! Every serialised shape: the HTTP API, bus messages, the plan file, stored events.
//!
//! What is serialised is a promise, so it stands here, apart from the types that decide. Each
//! shape converts to and from core types; core itself knows no serialisation.

mod api;
mod books;
mod chain;
mod events;
mod invoices;
pub mod limits;
mod messages;
mod plan;
mod problem;
mod purges;
mod rules;
mod servers;
mod text;

pub use api::{
    BidView, ContractLive, ContractMetersView, ContractSecondView, ContractView, HostView,
    LiveView, NewBid, NewCredit, NewPurchaser, NewSeries, NewSite, PurchaserView, RegionLive,
    RegionView, SeriesImported, SeriesPoint, SettlementView, SiteView, SlotView, SlotsQuery,
    StageView,
};
pub use books::{AccountView, LedgerView, LogQuery, NewRecall, RecallView, RecalledView};
pub use chain::{Broken, Chain, ChainHash, LogHeader, LogLine};
pub use events::{
    BidDocument, ClearedSlotDocument, ContractDocument, EventDocument, EventOutOfRange,
    SettlementDocument,
};
pub use invoices::{InvoiceFormat, InvoiceLine, InvoiceQuery, InvoiceView, Month};
pub use messages::{
    BudgetsMessage, ClientMeter, ContractMeterMessage, LeaseBudgetMessage, MappingMeter, MeterAck,
    MeterReport, NameServerReport, OwnMeter, ShareMessage,
};
pub use plan::{
    AlgorithmDocument, EdgeDocument, EntitlementDocument, NameServerDocument, OverShareDocument,
    PlanDocument, RegionDocument, RemainderDocument, ServerDocument, SiteDocument,
};
pub use problem::{PROBLEM_MEDIA_TYPE, Problem};
pub use purges::{NewPurge, PurgeDocument, PurgeScopeDocument, PurgesView};
pub use rules::{QueryRuleDocument, SiteRulesDocument};
pub use servers::{
    AssignmentMessage, CheckedView, NewServerReport, NewServerReports, ProvidedView, ReportView,
    ServerReportMessage, ServerReportsMessage, ServerView, ServersView, SiteReportsMessage,
};
pub use text::{Text, Time};
