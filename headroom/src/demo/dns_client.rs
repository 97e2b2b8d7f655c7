//! A resolver's side of DNS: real packets from a resolver's own address.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, bail};
use domain::{
    base::{Message, MessageBuilder, Name, ParsedName, Rtype, iana::Rcode, opt::ClientSubnet},
    rdata::{A, Cname},
};
use ipnet::IpNet;
use tokio::net::UdpSocket;

const TIMEOUT: Duration = Duration::from_secs(2);
const TRIES: usize = 3;

/// What a name server answered to one question.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Response {
    /// Where the name points to, if it is an alias.
    pub(crate) alias: Option<String>,
    /// Addresses, of the name or of its alias.
    pub(crate) addresses: Vec<IpAddr>,
    /// For how long all of this may be cached.
    pub(crate) ttl: Duration,
}

/// Asks `server` for the addresses of `name`, from the address `from`, for the client `subnet`.
pub(crate) async fn ask(
    from: IpAddr,
    server: SocketAddr,
    name: &str,
    subnet: Option<IpNet>,
) -> anyhow::Result<Response> {
    let socket = UdpSocket::bind((from, 0)).await.context("a resolver has no socket")?;
    socket.connect(server).await.context("a resolver cannot reach a name server")?;
    let query = question(name, subnet)?;
    let mut buffer = vec![0; 1_232];
    for _ in 0..TRIES {
        socket.send(query.as_slice()).await.context("a resolver cannot send")?;
        let received = tokio::time::timeout(TIMEOUT, socket.recv(&mut buffer)).await;
        let Ok(length) = received else {
            continue;
        };
        let packet = buffer.get(..length.context("a resolver cannot receive")?).unwrap_or_default();
        let message = Message::from_octets(packet).context("a name server's answer is short")?;
        if message.is_answer(query.for_slice()) {
            return read(&message, name);
        }
    }
    bail!("{server} does not answer for {name}")
}

fn question(name: &str, subnet: Option<IpNet>) -> anyhow::Result<Message<Vec<u8>>> {
    let name = Name::<Vec<u8>>::from_chars(name.chars()).context("a name is malformed")?;
    let mut message = MessageBuilder::new_vec();
    message.header_mut().set_random_id();
    let mut message = message.question();
    message.push((name, Rtype::A)).context("a question does not fit")?;
    let mut message = message.additional();
    message
        .opt(|opt| {
            opt.set_udp_payload_size(1_232);
            match subnet {
                Some(subnet) => {
                    opt.push(&ClientSubnet::new(subnet.prefix_len(), 0, subnet.network()))
                }
                None => Ok(()),
            }
        })
        .context("the options do not fit")?;
    Ok(message.into_message())
}

fn read(message: &Message<&[u8]>, name: &str) -> anyhow::Result<Response> {
    let rcode = message.header().rcode();
    if rcode != Rcode::NOERROR {
        bail!("{name} is answered with {rcode}");
    }
    let answer = message.answer().context("an answer is malformed")?;
    let mut response = Response { ttl: Duration::MAX, ..Response::default() };
    for record in answer.limit_to::<A>() {
        let record = record.context("an address record is malformed")?;
        response.addresses.push(IpAddr::V4(record.data().addr()));
        response.ttl = response.ttl.min(record.ttl().into_duration());
    }
    for record in answer.limit_to::<Cname<ParsedName<_>>>() {
        let record = record.context("an alias record is malformed")?;
        response.alias = Some(record.data().cname().to_string());
        response.ttl = response.ttl.min(record.ttl().into_duration());
    }
    if response.addresses.is_empty() && response.alias.is_none() {
        bail!("{name} has no address");
    }
    Ok(response)
}
