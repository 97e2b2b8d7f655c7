//! What the name server knows, and the answer to each query from it. Pure: time and bytes come in,
//! bytes go out.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use headroom_steer::{Assignments, Budgets, Plan, PrefixMap, SiteRegion, Steering, SteeringReport};
use headroom_units::{Generation, NameServerId, Timestamp};

use crate::{
    NameTable, Zone,
    cookies::Standing,
    decisions::{Decision, Repeated},
    ecs::Client,
    edns::EdnsPolicy,
    forward::Forwarder,
    limits,
    lookup::{self, Lookup, Mapped},
    message::{self, Edns, ExtendedErrorCode, Question, Rcode, Reply},
};

/// How a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// As one datagram.
    Udp,
    /// Over a connection.
    Tcp,
    /// Over a connection that is encrypted (RFC 7858).
    Tls,
}

/// An answer on its way out, with what is counted of it.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) octets: Vec<u8>,
    pub(crate) rcode: Rcode,
    pub(crate) truncated: bool,
    /// Whether there may be a better one soon.
    pub(crate) comes_later: bool,
    pub(crate) mapped: Mapped,
    /// What was decided, if it may be repeated.
    pub(crate) decision: Option<Decision>,
    /// Whether the source has shown by a cookie that it is real.
    pub(crate) is_verified: bool,
}

/// Answers queries from the static zones and the plan in force.
#[derive(Debug)]
pub struct Responder {
    id: Option<NameServerId>,
    table: Arc<NameTable>,
    steering: Option<Steering>,
    /// The prefixes that the operator supplies beside the plan.
    prefixes: Arc<PrefixMap>,
    edns: Arc<EdnsPolicy>,
    forwarder: Option<Arc<Forwarder>>,
}

impl Responder {
    /// A responder that has no plan yet. Without an id it will have none: it serves `zones` only.
    #[must_use]
    pub fn new(id: Option<NameServerId>, zones: &[Arc<Zone>]) -> Self {
        let edns = Arc::new(EdnsPolicy::default());
        let table = Arc::new(NameTable::of_zones(zones));
        Self { id, table, steering: None, prefixes: Arc::default(), edns, forwarder: None }
    }

    /// The same with cookies and a name, as `edns` says.
    pub(crate) fn with(self, edns: Arc<EdnsPolicy>) -> Self {
        Self { edns, ..self }
    }

    /// The same, with somebody who asks purchasers' name servers.
    pub(crate) fn with_forwarder(self, forwarder: Arc<Forwarder>) -> Self {
        Self { forwarder: Some(forwarder), ..self }
    }

    /// The plan in force.
    #[must_use]
    pub fn generation(&self) -> Option<Generation> {
        self.steering.as_ref().map(|steering| steering.plan().generation)
    }

    /// Puts a plan in force together with the table made from it; false if it is not newer than
    /// the one in force. The plan must have passed `headroom_steer::check`.
    pub fn install(&mut self, plan: Arc<Plan>, table: impl Into<Arc<NameTable>>) -> bool {
        let Some(id) = &self.id else {
            return false;
        };
        let is_newer = match &mut self.steering {
            Some(steering) => steering.install(plan),
            None => {
                let mut steering = Steering::new(id.clone(), plan);
                steering.supply_prefixes(Arc::clone(&self.prefixes));
                self.steering = Some(steering);
                true
            }
        };
        if is_newer {
            self.table = table.into();
        }
        is_newer
    }

    /// The plan in force.
    pub(crate) fn plan(&self) -> Option<Arc<Plan>> {
        self.steering.as_ref().map(|steering| Arc::clone(steering.plan()))
    }

    /// The table in force.
    pub(crate) fn table(&self) -> &NameTable {
        &self.table
    }

    /// What is known of the servers that remainders are assigned to; none without a plan.
    pub(crate) fn assignments(&self) -> Option<&Assignments> {
        self.steering.as_ref().map(Steering::assignments)
    }

    /// The same, to be changed.
    pub(crate) fn assignments_mut(&mut self) -> Option<&mut Assignments> {
        self.steering.as_mut().map(Steering::assignments_mut)
    }

    /// Answers from another table from now on, made of the same plan.
    pub(crate) fn replace_table(&mut self, table: impl Into<Arc<NameTable>>) {
        self.table = table.into();
    }

    /// Takes the regions of clients from these prefixes from now on, where the plan has none.
    pub fn supply_prefixes(&mut self, prefixes: Arc<PrefixMap>) {
        if let Some(steering) = &mut self.steering {
            steering.supply_prefixes(Arc::clone(&prefixes));
        }
        self.prefixes = prefixes;
    }

    /// Puts newer budgets in force; false if they are not newer, or there is no plan.
    pub fn renew(&mut self, budgets: Budgets, now: Timestamp) -> bool {
        self.steering.as_mut().is_some_and(|steering| steering.renew(budgets, now))
    }

    /// Counts answers that were repeated without asking here.
    pub(crate) fn count_repeated(&mut self, place: &SiteRegion, repeated: Repeated) {
        if let Some(steering) = &mut self.steering {
            let Repeated { to_edges, to_remainder } = repeated;
            steering.count(place, to_edges + to_remainder, to_edges);
        }
    }

    /// What was steered since the last report, and what is leased out.
    pub fn report(&mut self, now: Timestamp) -> BTreeMap<SiteRegion, SteeringReport> {
        self.steering.as_mut().map(|steering| steering.report(now)).unwrap_or_default()
    }

    /// Answers one query; `None` for what must not be answered.
    pub fn respond(
        &mut self,
        query: &[u8],
        source: SocketAddr,
        transport: Transport,
        now: Timestamp,
    ) -> Option<Vec<u8>> {
        self.handle(query, source, transport, now).map(|response| response.octets)
    }

    pub(crate) fn handle(
        &mut self,
        query: &[u8],
        source: SocketAddr,
        transport: Transport,
        now: Timestamp,
    ) -> Option<Response> {
        let request = message::read(query)?;
        let edns = request.edns.unwrap_or_default();
        let (options, standing) = self.edns.options(edns, source.ip(), transport, now);
        let Lookup { mut reply, mapped, decision } = match (request.fault, &request.question) {
            (Some(rcode), _) => Lookup::without(refuse(rcode, None)),
            (None, Some(question)) => self.answer(question, edns, source, now),
            // RFC 7873 §5.4: only the cookie is asked for, or asked about.
            (None, None) if standing == Some(Standing::Invalid) => {
                Lookup::without(Reply::bare(Rcode::BADCOOKIE))
            }
            (None, None) => Lookup::without(Reply::bare(Rcode::NOERROR)),
        };
        reply.options = options;
        let limit = match transport {
            Transport::Udp if reply.comes_later => {
                // Truncated: who asks comes back over TCP, and what is missing may be there then.
                reply.rcode = Rcode::NOERROR;
                0
            }
            Transport::Udp => request.udp_limit(),
            Transport::Tcp | Transport::Tls => limits::MESSAGE_MAX,
        };
        let written = message::write(&request, &reply, limit);
        let (octets, truncated) = (written.octets, written.truncated);
        let is_verified = standing == Some(Standing::Valid);
        let (rcode, comes_later) = (reply.rcode, reply.comes_later);
        Some(Response { octets, rcode, truncated, comes_later, mapped, decision, is_verified })
    }

    fn answer(
        &mut self,
        question: &Question,
        edns: Edns,
        source: SocketAddr,
        now: Timestamp,
    ) -> Lookup {
        if let Some(why) = lookup::refusal(question) {
            return Lookup::without(refuse(Rcode::REFUSED, Some(why)));
        }
        let client = Client::of(edns.subnet, source.ip());
        let steering = self.steering.as_mut();
        let is_waiting = self.id.is_some() && steering.is_none();
        let forwarder = self.forwarder.as_deref();
        let signed = edns.dnssec_ok;
        let mut found =
            lookup::look_up(&self.table, steering, forwarder, question, client, signed, now);
        if found.reply.rcode == Rcode::REFUSED {
            // Without a plan nobody knows which names are ours.
            found.reply.extended_error = Some(if is_waiting {
                ExtendedErrorCode::NOT_READY
            } else {
                ExtendedErrorCode::NOT_AUTHORITATIVE
            });
        }
        found
    }
}

/// A reply without records; `why` if there is more to say than its code does (RFC 8914).
fn refuse(rcode: Rcode, why: Option<ExtendedErrorCode>) -> Reply {
    let why = why.or((rcode == Rcode::NOTIMP).then_some(ExtendedErrorCode::NOT_SUPPORTED));
    Reply { extended_error: why, ..Reply::bare(rcode) }
}
