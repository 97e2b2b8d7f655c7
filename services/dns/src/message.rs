//! Messages on the wire: what a query asks, and how a reply is written.
//!
//! The one module that knows the wire format, on top of the `domain` crate. It decides only what
//! the message itself decides: what is malformed, which EDNS version, what fits.

use bytes::Bytes;
use domain::base::{
    Message, MessageBuilder, Rtype, StaticCompressor, ToName, Ttl,
    iana::{Class, Opcode, OptionCode},
    message_builder::{OptBuilder, PushError},
    opt::{Opt, OptRecord, UnknownOptData},
};
use domain::rdata::ZoneRecordData;

use crate::{
    cookies::Cookie,
    ecs::ClientSubnet,
    edns::{self, ReplyOptions},
    limits,
};

pub(crate) use domain::base::iana::{ExtendedErrorCode, OptRcode as Rcode};

/// A domain name.
pub(crate) type Name = domain::base::Name<Bytes>;
/// A record's data.
pub(crate) type Data = ZoneRecordData<Bytes, Name>;
/// A record.
pub(crate) type Record = domain::base::Record<Name, Data>;

/// The EDNS version spoken here (RFC 6891 §6.1.3).
const EDNS_VERSION: u8 = 0;

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// The name, in the case it was asked in.
    pub(crate) name: Name,
    /// The type.
    pub(crate) rtype: Rtype,
    /// The class.
    pub(crate) class: Class,
}

/// What the OPT record of a query says.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Edns {
    /// The largest answer that is taken over UDP.
    pub(crate) udp_size: u16,
    /// The DO flag (RFC 3225).
    pub(crate) dnssec_ok: bool,
    /// The client subnet, if it is told.
    pub(crate) subnet: Option<ClientSubnet>,
    /// The cookie, if there is one.
    pub(crate) cookie: Option<Cookie>,
    /// Whether it is asked which server this is.
    pub(crate) asks_nsid: bool,
    /// Whether it is asked how long a connection may be idle.
    pub(crate) asks_keepalive: bool,
    /// Whether replies are to be padded.
    pub(crate) asks_padding: bool,
}

impl Edns {
    /// Takes in an option. Of several of one kind the first counts (RFC 7873 §5.2).
    fn read_option(&mut self, code: OptionCode, data: &[u8]) -> Result<(), Rcode> {
        match code {
            OptionCode::CLIENT_SUBNET if self.subnet.is_none() => {
                self.subnet = Some(ClientSubnet::read(data).map_err(|_| Rcode::FORMERR)?);
            }
            OptionCode::COOKIE if self.cookie.is_none() => {
                self.cookie = Some(Cookie::read(data).map_err(|_| Rcode::FORMERR)?);
            }
            OptionCode::NSID => self.asks_nsid = true,
            OptionCode::TCP_KEEPALIVE => self.asks_keepalive = true,
            OptionCode::PADDING => self.asks_padding = true,
            // RFC 6891 §6.1.2: what is not known is passed over.
            _ => {}
        }
        Ok(())
    }
}

/// A query, as far as it could be read.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    id: u16,
    opcode: Opcode,
    recursion_desired: bool,
    checking_disabled: bool,
    /// What is asked, if that could be read.
    pub(crate) question: Option<Question>,
    /// What its OPT record says, if it has one.
    pub(crate) edns: Option<Edns>,
    /// Why it is turned down whatever it asks.
    pub(crate) fault: Option<Rcode>,
}

/// What is answered.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    /// The response code.
    pub(crate) rcode: Rcode,
    /// Whether the answer is ours to give.
    pub(crate) authoritative: bool,
    /// The answer section.
    pub(crate) answer: Vec<Record>,
    /// The authority section.
    pub(crate) authority: Vec<Record>,
    /// The additional section: glue only.
    pub(crate) additional: Vec<Record>,
    /// How many bits of the client subnet the answer depends on.
    pub(crate) scope: u8,
    /// What else there is to say about an error (RFC 8914).
    pub(crate) extended_error: Option<ExtendedErrorCode>,
    /// What else goes into the OPT record.
    pub(crate) options: ReplyOptions,
    /// Whether there may be an answer when the question is repeated over TCP.
    pub(crate) comes_later: bool,
}

impl Reply {
    /// A reply without records.
    pub(crate) fn bare(rcode: Rcode) -> Self {
        Self {
            rcode,
            authoritative: false,
            answer: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
            scope: 0,
            extended_error: None,
            options: ReplyOptions::default(),
            comes_later: false,
        }
    }
}

/// Reads a query. `None` for what must not be answered: a response, which could be one end of a
/// loop, and what is too short to have an id.
pub(crate) fn read(octets: &[u8]) -> Option<Request> {
    let message = Message::from_slice(octets).ok()?;
    let header = message.header();
    if header.qr() {
        return None;
    }
    let mut request = Request {
        id: header.id(),
        opcode: header.opcode(),
        recursion_desired: header.rd(),
        checking_disabled: header.cd(),
        question: None,
        edns: None,
        fault: None,
    };
    let body = request.read_body(message);
    request.fault = body.err();
    if request.opcode != Opcode::QUERY {
        // RFC 8906 §3.1.4: known by its opcode alone, whatever its sections mean.
        request.question = None;
        request.fault = Some(Rcode::NOTIMP);
    }
    Some(request)
}

impl Request {
    /// A plain query, without EDNS.
    pub(crate) fn of(question: Question) -> Self {
        Self {
            id: 0,
            opcode: Opcode::QUERY,
            recursion_desired: false,
            checking_disabled: false,
            question: Some(question),
            edns: None,
            fault: None,
        }
    }

    fn read_body(&mut self, message: &Message<[u8]>) -> Result<(), Rcode> {
        if let Ok(question) = message.sole_question() {
            self.question = Some(Question {
                name: question.qname().to_name(),
                rtype: question.qtype(),
                class: question.qclass(),
            });
        }
        self.read_edns(message)?;
        // RFC 7873 §5.4: a query without a question asks for a cookie.
        let asks_cookie = || self.edns.is_some_and(|edns| edns.cookie.is_some());
        match message.header_counts().qdcount() {
            0 if asks_cookie() => Ok(()),
            // RFC 9619: any other query has one question.
            _ => self.question.as_ref().map(|_| ()).ok_or(Rcode::FORMERR),
        }
    }

    fn read_edns(&mut self, message: &Message<[u8]>) -> Result<(), Rcode> {
        for record in message.additional().map_err(|_| Rcode::FORMERR)? {
            let record = record.map_err(|_| Rcode::FORMERR)?;
            if record.rtype() != Rtype::OPT {
                continue;
            }
            // RFC 6891 §6.1.1: at most one, at the root.
            if self.edns.is_some() || record.owner().to_name::<Bytes>() != Name::root() {
                return Err(Rcode::FORMERR);
            }
            let record = record.to_record::<Opt<_>>().map_err(|_| Rcode::FORMERR)?;
            let opt = OptRecord::from_record(record.ok_or(Rcode::FORMERR)?);
            let edns = self.edns.insert(Edns {
                udp_size: opt.udp_payload_size(),
                dnssec_ok: opt.dnssec_ok(),
                ..Edns::default()
            });
            if opt.version() != EDNS_VERSION {
                return Err(Rcode::BADVERS);
            }
            for option in opt.opt().iter::<UnknownOptData<_>>() {
                let option = option.map_err(|_| Rcode::FORMERR)?;
                edns.read_option(option.code(), option.as_slice())?;
            }
        }
        Ok(())
    }

    /// The largest answer that may go back over UDP.
    pub(crate) fn udp_limit(&self) -> usize {
        udp_limit(self.edns)
    }
}

/// The largest answer that may go back over UDP to who says so of itself.
pub(crate) fn udp_limit(edns: Option<Edns>) -> usize {
    let asked = edns.map_or(limits::UDP_ANSWER_PLAIN, |edns| edns.udp_size);
    usize::from(asked.clamp(limits::UDP_ANSWER_PLAIN, limits::UDP_ANSWER_MAX))
}

/// A message as it goes out.
#[derive(Debug)]
pub(crate) struct Written {
    /// The message.
    pub(crate) octets: Vec<u8>,
    /// Whether it says that there is more than fits.
    pub(crate) truncated: bool,
}

/// Writes a reply in at most `limit` octets. If it does not fit, it goes without records and says
/// so (RFC 2181 §9): a part of an RRset would be taken for the whole.
pub(crate) fn write(request: &Request, reply: &Reply, limit: usize) -> Written {
    if let Ok(octets) = compose(request, reply, limit, false, None) {
        return Written { octets: padded(request, reply, octets), truncated: false };
    }
    let empty = Reply { scope: reply.scope, ..Reply::bare(reply.rcode) };
    let options = reply.options.essential();
    let empty = Reply { authoritative: reply.authoritative, options, ..empty };
    Written { octets: write_bare(request, &empty, true), truncated: true }
}

/// Writes a reply that has no records.
pub(crate) fn write_bare(request: &Request, reply: &Reply, truncated: bool) -> Vec<u8> {
    compose(request, reply, limits::MESSAGE_MAX, truncated, None)
        .expect("a header, a question and an OPT record fit")
}

/// The reply with padding, if it is to have any.
fn padded(request: &Request, reply: &Reply, octets: Vec<u8>) -> Vec<u8> {
    if !reply.options.is_padded {
        return octets;
    }
    let padding = edns::padding(octets.len());
    compose(request, reply, limits::MESSAGE_MAX, false, Some(padding)).unwrap_or(octets)
}

fn compose(
    request: &Request,
    reply: &Reply,
    limit: usize,
    truncated: bool,
    padding: Option<usize>,
) -> Result<Vec<u8>, PushError> {
    let target = StaticCompressor::new(Vec::with_capacity(usize::from(limits::UDP_ANSWER_PLAIN)));
    let mut builder = MessageBuilder::from_target(target).map_err(PushError::from)?;
    // The builder refuses what reaches its limit, not what exceeds it.
    builder.set_push_limit(limit + 1);
    let header = builder.header_mut();
    header.set_id(request.id);
    header.set_qr(true);
    header.set_opcode(request.opcode);
    header.set_aa(reply.authoritative);
    header.set_tc(truncated);
    header.set_rd(request.recursion_desired);
    header.set_cd(request.checking_disabled);
    header.set_rcode(reply.rcode.rcode());

    let mut question = builder.question();
    if let Some(asked) = &request.question {
        question.push((&asked.name, asked.rtype, asked.class))?;
    }
    let mut answer = question.answer();
    for record in &reply.answer {
        answer.push(record)?;
    }
    let mut authority = answer.authority();
    for record in &reply.authority {
        authority.push(record)?;
    }
    let mut additional = authority.additional();
    for record in &reply.additional {
        additional.push(record)?;
    }
    if let Some(edns) = request.edns {
        additional.opt(|opt| write_edns(opt, edns, reply, padding))?;
    }
    Ok(additional.finish().into_target())
}

fn write_edns<Target: domain::base::wire::Composer + ?Sized>(
    opt: &mut OptBuilder<'_, Target>,
    edns: Edns,
    reply: &Reply,
    padding: Option<usize>,
) -> Result<(), Target::AppendError> {
    opt.set_udp_payload_size(limits::UDP_ANSWER_MAX);
    opt.set_rcode(reply.rcode);
    opt.set_version(EDNS_VERSION);
    opt.set_dnssec_ok(edns.dnssec_ok);
    let mut option = |code: OptionCode, data: &[u8]| {
        let length = u16::try_from(data.len()).expect("options written here are short");
        opt.push_raw_option(code, length, |target| target.append_slice(data))
    };
    if let Some(subnet) = edns.subnet {
        let mut data = Vec::with_capacity(limits::CLIENT_SUBNET_MAX);
        subnet.write(reply.scope, &mut data);
        option(OptionCode::CLIENT_SUBNET, &data)?;
    }
    if let Some(error) = reply.extended_error {
        option(OptionCode::EXTENDED_ERROR, &error.to_int().to_be_bytes())?;
    }
    if let Some(cookie) = reply.options.cookie {
        option(OptionCode::COOKIE, &cookie)?;
    }
    if let Some(name) = &reply.options.nsid {
        option(OptionCode::NSID, name)?;
    }
    if let Some(tenths) = reply.options.keepalive {
        option(OptionCode::TCP_KEEPALIVE, &tenths.to_be_bytes())?;
    }
    if let Some(length) = padding {
        option(OptionCode::PADDING, &vec![0; length])?;
    }
    Ok(())
}

/// The answer to a query that cannot be handled: its header with SERVFAIL. Made by hand, as nothing
/// that has just failed may be needed for it.
pub(crate) fn server_failure(query: &[u8]) -> Option<Vec<u8>> {
    const QR: u8 = 0x80;
    const OPCODE_AND_RD: u8 = 0x79;
    const SERVFAIL: u8 = 2;
    let [id_high, id_low, flags, ..] = query else {
        return None;
    };
    let mut reply = vec![*id_high, *id_low, QR | flags & OPCODE_AND_RD, SERVFAIL];
    reply.resize(limits::HEADER_LENGTH, 0);
    Some(reply)
}

/// A record of class IN.
pub(crate) fn record(owner: &Name, ttl: u32, data: Data) -> Record {
    Record::new(owner.clone(), Class::IN, Ttl::from_secs(ttl), data)
}
