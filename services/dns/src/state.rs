//! What the name server knows, and the answer to each query from it. Pure: time and bytes come in,
//! bytes go out.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use headroom_steer::{Budgets, Plan, SiteRegion, Steering, SteeringReport};
use headroom_units::{Generation, NameServerId, Timestamp};

use crate::{
    NameTable, Zone,
    ecs::Client,
    limits,
    lookup::{self, Mapped},
    message::{self, ExtendedErrorCode, Rcode, Reply, Request},
};

/// How a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// As one datagram.
    Udp,
    /// Over a connection.
    Tcp,
}

/// An answer on its way out, with what is counted of it.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) octets: Vec<u8>,
    pub(crate) rcode: Rcode,
    pub(crate) truncated: bool,
    pub(crate) mapped: Mapped,
}

/// Answers queries from the static zones and the plan in force.
#[derive(Debug)]
pub struct Responder {
    id: Option<NameServerId>,
    table: NameTable,
    steering: Option<Steering>,
}

impl Responder {
    /// A responder that has no plan yet. Without an id it will have none: it serves `zones` only.
    #[must_use]
    pub fn new(id: Option<NameServerId>, zones: &[Arc<Zone>]) -> Self {
        Self { id, table: NameTable::of_zones(zones), steering: None }
    }

    /// The plan in force.
    #[must_use]
    pub fn generation(&self) -> Option<Generation> {
        self.steering.as_ref().map(|steering| steering.plan().generation)
    }

    /// Puts a plan in force together with the table made from it; false if it is not newer than
    /// the one in force. The plan must have passed `headroom_steer::check`.
    pub fn install(&mut self, plan: Arc<Plan>, table: NameTable) -> bool {
        let Some(id) = &self.id else {
            return false;
        };
        let is_newer = match &mut self.steering {
            Some(steering) => steering.install(plan),
            None => {
                self.steering = Some(Steering::new(id.clone(), plan));
                true
            }
        };
        if is_newer {
            self.table = table;
        }
        is_newer
    }

    /// Puts newer budgets in force; false if they are not newer, or there is no plan.
    pub fn renew(&mut self, budgets: Budgets, now: Timestamp) -> bool {
        self.steering.as_mut().is_some_and(|steering| steering.renew(budgets, now))
    }

    /// What was steered since the last report.
    pub fn report(&mut self) -> BTreeMap<SiteRegion, SteeringReport> {
        self.steering.as_mut().map(Steering::report).unwrap_or_default()
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
        let (reply, mapped) = match request.fault {
            Some(rcode) => (Reply::bare(rcode), Mapped::default()),
            None => self.answer(&request, source, now),
        };
        let limit = match transport {
            Transport::Udp => request.udp_limit(),
            Transport::Tcp => limits::MESSAGE_MAX,
        };
        let written = message::write(&request, &reply, limit);
        let (octets, truncated) = (written.octets, written.truncated);
        Some(Response { octets, rcode: reply.rcode, truncated, mapped })
    }

    fn answer(&mut self, request: &Request, source: SocketAddr, now: Timestamp) -> (Reply, Mapped) {
        let question = request.question.as_ref().filter(|question| lookup::is_served(question));
        let Some(question) = question else {
            return (Reply::bare(Rcode::REFUSED), Mapped::default());
        };
        let subnet = request.edns.and_then(|edns| edns.subnet);
        let client = Client::of(subnet, source.ip());
        let steering = self.steering.as_mut();
        let is_waiting = self.id.is_some() && steering.is_none();
        let (mut reply, mapped) = lookup::look_up(&self.table, steering, question, client, now);
        if reply.rcode == Rcode::REFUSED {
            // Without a plan nobody knows which names are ours.
            reply.extended_error = Some(if is_waiting {
                ExtendedErrorCode::NOT_READY
            } else {
                ExtendedErrorCode::NOT_AUTHORITATIVE
            });
        }
        (reply, mapped)
    }
}
