//! One question to a purchaser's name server: over UDP, and over TCP if that is not enough.
//!
//! Against forged answers: a random id and a random port for each question, and an answer from
//! nobody but the server asked, to that very question (RFC 5452).

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use domain::{
    base::{
        Message, MessageBuilder, ParsedName,
        iana::{Class, OptionCode, Rcode},
        name::FlattenInto,
        opt::UnknownOptData,
    },
    rdata::{Soa, ZoneRecordData},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::{Wish, cache::Found};
use crate::{
    ecs::ClientSubnet,
    limits,
    message::{Data, Name, Record},
};

/// Why nothing was found out.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("it cannot be reached: {0}")]
    Connection(#[from] io::Error),
    #[error("it was silent for {0:?}")]
    Silent(Duration),
    #[error("its answer is malformed, or to another question")]
    Other,
    #[error("it answers {0}")]
    Rcode(Rcode),
    #[error("it has a CNAME to {0}, and no address for that")]
    Elsewhere(Name),
    #[error("nobody is there to ask")]
    Nobody,
}

/// Asks one server after the other until one says something.
pub(super) async fn ask(servers: &[SocketAddr], wish: &Wish) -> Result<Found, AskError> {
    let mut last = AskError::Nobody;
    for server in servers {
        match ask_one(*server, wish).await {
            Ok(found) => return Ok(found),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn ask_one(server: SocketAddr, wish: &Wish) -> Result<Found, AskError> {
    let (id, query) = question(wish);
    let answer = in_time(over_udp(server, id, &query)).await?;
    if !answer.header().tc() {
        return read(&answer, wish);
    }
    let answer = in_time(over_tcp(server, &query)).await?;
    if is_answer(&answer, id, &query) { read(&answer, wish) } else { Err(AskError::Other) }
}

async fn in_time<T>(action: impl Future<Output = io::Result<T>>) -> Result<T, AskError> {
    match timeout(limits::FORWARD_TIME, action).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(AskError::Silent(limits::FORWARD_TIME)),
    }
}

/// A question with the client's network (RFC 7871 §7.1), and its id.
fn question(wish: &Wish) -> (u16, Vec<u8>) {
    let mut id = [0; 2];
    // Without randomness a question would be an invitation.
    aws_lc_rs::rand::fill(&mut id).expect("the system has random numbers");
    let id = u16::from_be_bytes(id);
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    let mut question = builder.question();
    question.push((&wish.name, wish.rtype, Class::IN)).expect("a question fits");
    let mut subnet = Vec::with_capacity(limits::CLIENT_SUBNET_MAX);
    ClientSubnet::of(wish.client).write(0, &mut subnet);
    let mut additional = question.additional();
    let opt = additional.opt(|opt| {
        opt.set_udp_payload_size(limits::UDP_ANSWER_MAX);
        let length = u16::try_from(subnet.len()).expect("a client subnet is short");
        opt.push_raw_option(OptionCode::CLIENT_SUBNET, length, |target| {
            domain::dep::octseq::OctetsBuilder::append_slice(target, &subnet)
        })
    });
    opt.expect("an OPT record fits");
    (id, additional.finish())
}

async fn over_udp(server: SocketAddr, id: u16, query: &[u8]) -> io::Result<Message<Bytes>> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    // The system picks a random port, and lets in what comes from the server alone.
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; limits::MESSAGE_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let octets = Bytes::copy_from_slice(&buffer[..length]);
        if let Ok(answer) = Message::from_octets(octets)
            && is_answer(&answer, id, query)
        {
            return Ok(answer);
        }
    }
}

async fn over_tcp(server: SocketAddr, query: &[u8]) -> io::Result<Message<Bytes>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
    let mut answer = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut answer).await?;
    Message::from_octets(Bytes::from(answer)).map_err(io::Error::other)
}

/// Whether a message answers this question.
fn is_answer(answer: &Message<Bytes>, id: u16, query: &[u8]) -> bool {
    let asked = Message::from_slice(query).ok().and_then(|query| query.sole_question().ok());
    let told = answer.sole_question().ok();
    let is_same = matches!((asked, told), (Some(asked), Some(told)) if asked == told);
    answer.header().qr() && answer.header().id() == id && is_same
}

/// The addresses that the answer gives the name, behind CNAMEs if need be.
fn read(answer: &Message<Bytes>, wish: &Wish) -> Result<Found, AskError> {
    let rcode = answer.header().rcode();
    if !matches!(rcode, Rcode::NOERROR | Rcode::NXDOMAIN) {
        return Err(AskError::Rcode(rcode));
    }
    let records = answer.answer().map_err(|_| AskError::Other)?;
    let records = records.limit_to_in::<ZoneRecordData<_, ParsedName<_>>>();
    let records: Result<Vec<Record>, _> =
        records.map(|record| record.map(FlattenInto::flatten_into)).collect();
    let records = records.map_err(|_| AskError::Other)?;
    let scope = scope(answer);
    let mut name = wish.name.clone();
    let mut ttl = u32::MAX;
    for _ in 0..limits::CHAIN_MAX {
        let here = records.iter().filter(|record| *record.owner() == name);
        let addresses: Vec<_> =
            here.clone().filter(|record| record.rtype() == wish.rtype).collect();
        if let Some(least) = addresses.iter().map(|record| record.ttl().as_secs()).min() {
            let data = addresses.iter().take(limits::FORWARD_ADDRESSES_MAX);
            let data = data.map(|record| record.data().clone()).collect();
            let ttl = Duration::from_secs(ttl.min(least).into());
            return Ok(Found { data, ttl, scope });
        }
        let alias = here.clone().find_map(|record| match record.data() {
            Data::Cname(cname) => Some((cname.cname().clone(), record.ttl().as_secs())),
            _ => None,
        });
        let Some((next, least)) = alias else { break };
        (name, ttl) = (next, ttl.min(least));
    }
    if name != wish.name {
        return Err(AskError::Elsewhere(name));
    }
    Ok(Found { data: Vec::new(), ttl: denial_ttl(answer), scope: 0 })
}

/// For how long a denial counts (RFC 2308 §5).
fn denial_ttl(answer: &Message<Bytes>) -> Duration {
    let soas = answer
        .authority()
        .into_iter()
        .flat_map(|authority| authority.limit_to_in::<Soa<ParsedName<_>>>().flatten());
    let ttl = soas.map(|record| record.ttl().as_secs().min(record.data().minimum().as_secs()));
    Duration::from_secs(ttl.min().unwrap_or(limits::NEGATIVE_TTL).into())
}

/// How many bits of the client's network the answer is for; without a word, all get the same.
fn scope(answer: &Message<Bytes>) -> u8 {
    let Some(opt) = answer.opt() else { return 0 };
    let mut options = opt.opt().iter::<UnknownOptData<_>>().flatten();
    let subnet = options.find(|option| option.code() == OptionCode::CLIENT_SUBNET);
    subnet.and_then(|option| option.as_slice().get(3).copied()).unwrap_or(0)
}
