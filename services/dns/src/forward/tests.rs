//! The whole way: a scripted name server on loopback, the questions it gets, what is answered.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use domain::base::{Message, MessageBuilder};
use expect_test::{Expect, expect};
use headroom_steer::Remainder;
use tokio::{net::UdpSocket, task::JoinHandle};

use super::*;
use crate::{
    Responder,
    testing::{Query, check, input, print, responder_of, site},
};

/// How the name server answers a question: the octets that go back, each as a datagram.
type Habit = fn(&[u8]) -> Vec<Vec<u8>>;

/// Ids and ports of questions, and the questions.
type Asked = Arc<Mutex<Vec<(u16, u16, Vec<u8>)>>>;

struct Scripted {
    address: SocketAddr,
    asked: Asked,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Scripted {
    async fn start(habit: Habit) -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = tokio::net::TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let asked = Asked::default();
        let seen = Arc::clone(&asked);
        let datagrams = tokio::spawn(async move {
            let mut query = [0; 4_096];
            while let Ok((length, source)) = udp.recv_from(&mut query).await {
                let query = &query[..length];
                let id = u16::from_be_bytes([query[0], query[1]]);
                seen.lock().unwrap().push((id, source.port(), query.to_vec()));
                for answer in habit(query) {
                    udp.send_to(&answer, source).await.unwrap();
                }
            }
        });
        let connections = tokio::spawn(async move {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            while let Ok((mut stream, _)) = tcp.accept().await {
                let mut query = vec![0; stream.read_u16().await.unwrap().into()];
                stream.read_exact(&mut query).await.unwrap();
                let answer = address_of(&query, "203.0.113.99", 24);
                stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        });
        Self { address, asked, tasks: [datagrams, connections] }
    }
}

/// An answer with one address and, if the question tells of a network, this scope.
fn address_of(query: &[u8], address: &str, scope: u8) -> Vec<u8> {
    let message = Message::from_slice(query).unwrap();
    let question = message.sole_question().unwrap();
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(message.header().id());
    builder.header_mut().set_qr(true);
    let mut asked = builder.question();
    asked.push(question).unwrap();
    let mut answer = asked.answer();
    let data = domain::rdata::A::new(address.parse().unwrap());
    answer.push((question.qname(), 60, data)).unwrap();
    let mut octets = answer.additional().finish();
    // The OPT record goes back as it came, with a scope.
    let at = query.windows(11).position(|part| part[..3] == [0, 0, 41]).unwrap();
    octets.extend_from_slice(&query[at..]);
    let last = octets.len();
    octets[last - 4] = scope;
    octets[11] = 1;
    octets
}

fn good(query: &[u8]) -> Vec<Vec<u8>> {
    vec![address_of(query, "203.0.113.1", 16)]
}

fn forwarder(servers: &[SocketAddr]) -> (Arc<Forwarder>, mpsc::Receiver<Wish>) {
    let zone = "asked.example".parse().unwrap();
    let configs = [ForwardConfig { zone, name_servers: servers.to_vec() }];
    let (forwarder, wishes) = Forwarder::new(&configs, ForwardMetrics::default());
    (Arc::new(forwarder), wishes)
}

fn wish(rtype: Rtype) -> Wish {
    let (name, client) = ("www.asked.example".parse().unwrap(), "10.0.1.0/24".parse().unwrap());
    Wish { name, rtype, client }
}

/// What is known after asking these servers, in words.
async fn told(servers: &[SocketAddr], rtype: Rtype) -> String {
    match ask::ask(servers, &wish(rtype)).await {
        Ok(found) => {
            let data: Vec<_> = found.data.iter().map(ToString::to_string).collect();
            format!("{} ttl={:?} scope={}", data.join(","), found.ttl, found.scope)
        }
        Err(error) => error.to_string(),
    }
}

async fn with_habit(habit: Habit) -> String {
    let server = Scripted::start(habit).await;
    told(&[server.address], Rtype::A).await
}

#[tokio::test]
async fn it_is_asked_for_the_clients_network_from_random_ports_with_random_ids() {
    let server = Scripted::start(good).await;
    for _ in 0..20 {
        assert_eq!(told(&[server.address], Rtype::A).await, "203.0.113.1 ttl=60s scope=16");
    }
    let asked = server.asked.lock().unwrap();
    let ids: BTreeSet<_> = asked.iter().map(|(id, ..)| id).collect();
    let ports: BTreeSet<_> = asked.iter().map(|(_, port, _)| port).collect();
    assert!(ids.len() > 15 && ports.len() > 5, "{} {}", ids.len(), ports.len());
    let subnet = [0, 8, 0, 7, 0, 1, 24, 0, 10, 0, 1];
    assert!(asked.iter().all(|(.., query)| query.ends_with(&subnet)));
}

#[tokio::test]
async fn only_the_answer_to_the_question_is_taken() {
    let forged = with_habit(|query| {
        let mut other_id = address_of(query, "203.0.113.66", 0);
        other_id[0] ^= 1;
        let mut other_name = address_of(query, "203.0.113.66", 0);
        other_name[13] ^= 1;
        let mut no_answer = address_of(query, "203.0.113.66", 0);
        no_answer[2] &= 0x7f;
        vec![vec![1, 2, 3], other_id, other_name, no_answer, address_of(query, "203.0.113.1", 24)]
    });
    assert_eq!(forged.await, "203.0.113.1 ttl=60s scope=24");
}

#[tokio::test]
async fn what_does_not_fit_comes_over_tcp() {
    let truncated = with_habit(|query| {
        let mut answer = address_of(query, "203.0.113.1", 0);
        answer[2] |= 2;
        vec![answer]
    });
    assert_eq!(truncated.await, "203.0.113.99 ttl=60s scope=24");
}

#[tokio::test]
async fn a_denial_is_an_answer_and_a_failure_is_none() {
    let denied = with_habit(|query| {
        let mut answer = query.to_vec();
        (answer[2], answer[3]) = (0x84, 3);
        vec![answer]
    });
    assert_eq!(denied.await, " ttl=60s scope=0");
    let refused = with_habit(|query| {
        let mut answer = query.to_vec();
        (answer[2], answer[3]) = (0x80, 5);
        vec![answer]
    });
    assert_eq!(refused.await, "it answers REFUSED");
    assert_eq!(with_habit(|_| Vec::new()).await, "it was silent for 1s");
    assert_eq!(told(&[], Rtype::A).await, "nobody is there to ask");
}

#[tokio::test]
async fn the_next_server_is_asked_if_one_is_silent() {
    let (silent, server) = (Scripted::start(|_| Vec::new()).await, Scripted::start(good).await);
    let told = told(&[silent.address, server.address], Rtype::A).await;
    assert_eq!(told, "203.0.113.1 ttl=60s scope=16");
}

fn responder(forwarder: &Arc<Forwarder>, remainder: Remainder) -> Responder {
    let mut input = input();
    input.sites.push(site("asked", "www.asked.example", remainder));
    responder_of(&input, &[]).with_forwarder(Arc::clone(forwarder))
}

/// What is answered before and after the wishes of a script were fulfilled.
async fn before_and_after(remainder: Remainder, asked: &str, script: &str, expected: [Expect; 2]) {
    let wish = Wish { name: asked.parse().unwrap(), ..wish(Rtype::A) };
    let server = Scripted::start(good).await;
    let (forwarder, wishes) = forwarder(&[server.address]);
    let mut responder = responder(&forwarder, remainder);
    let [before, after] = expected;
    check(&mut responder, script, before);
    let stop = CancellationToken::new();
    let running = tokio::spawn(run(Arc::clone(&forwarder), wishes, stop.clone()));
    let known = async {
        while server.asked.lock().unwrap().is_empty()
            || !forwarder.cache().get(&wish, headroom_clock::now()).is_fresh()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), known).await.unwrap();
    stop.cancel();
    running.await.unwrap();
    check(&mut responder, script, after);
}

#[tokio::test]
async fn what_is_not_known_is_asked_for_and_answered_when_the_question_comes_again() {
    before_and_after(
        Remainder::ReturnRecords,
        "www.asked.example",
        "10.0.1.7 www.asked.example A edns subnet=10.0.1.0/24
         10.0.1.7 www.asked.example A edns subnet=10.0.1.0/24 tcp",
        [
            expect![[r#"
            10.0.1.7 www.asked.example A edns subnet=10.0.1.0/24
              NOERROR TC
              edns: size=1232 subnet=[[0, 1, 24], [10, 0, 1]] scope=0
            10.0.1.7 www.asked.example A edns subnet=10.0.1.0/24 tcp
              SERVFAIL
              edns: size=1232 subnet=[[0, 1, 24], [10, 0, 1]] scope=0 error=23
        "#]],
            expect![[r#"
            10.0.1.7 www.asked.example A edns subnet=10.0.1.0/24
              NOERROR AA
              answer: www.asked.example 20 A 203.0.113.1
              edns: size=1232 subnet=[[0, 1, 24], [10, 0, 1]] scope=24
            10.0.1.7 www.asked.example A edns subnet=10.0.1.0/24 tcp
              NOERROR AA
              answer: www.asked.example 20 A 203.0.113.1
              edns: size=1232 subnet=[[0, 1, 24], [10, 0, 1]] scope=24
        "#]],
        ],
    )
    .await;
}

#[tokio::test]
async fn a_delegated_host_that_returns_by_name_gets_addresses_where_they_can_be_asked_for() {
    before_and_after(
        Remainder::ReturnName("origin.asked.example".parse().unwrap()),
        "origin.asked.example",
        "10.0.1.7 www.asked.example A
         10.0.1.7 www.asked.example HTTPS",
        [expect![[r#"
            10.0.1.7 www.asked.example A
              NOERROR TC
            10.0.1.7 www.asked.example HTTPS
              NOERROR AA
              authority: www.asked.example 60 SOA ns1.cdn.example. hostmaster.cdn.example. 7 3600 600 604800 60
        "#]], expect![[r#"
            10.0.1.7 www.asked.example A
              NOERROR AA
              answer: www.asked.example 20 A 203.0.113.1
            10.0.1.7 www.asked.example HTTPS
              NOERROR AA
              authority: www.asked.example 60 SOA ns1.cdn.example. hostmaster.cdn.example. 7 3600 600 604800 60
        "#]]],
    )
    .await;
}

#[test]
fn a_name_that_nobody_can_be_asked_for_fails() {
    let (forwarder, _wishes) = Forwarder::new(&[], ForwardMetrics::default());
    check(
        &mut responder(&Arc::new(forwarder), Remainder::ReturnRecords),
        "10.0.1.7 www.asked.example A edns",
        expect![[r#"
            10.0.1.7 www.asked.example A edns
              SERVFAIL
              edns: size=1232 error=0
        "#]],
    );
}

#[test]
fn wishes_that_nobody_fulfils_are_bounded() {
    let (forwarder, wishes) = forwarder(&[]);
    for number in 0..=limits::FORWARD_WISHES_MAX {
        let name = format!("n{number}.asked.example").parse().unwrap();
        forwarder.known(Wish { name, ..wish(Rtype::A) }, Timestamp::EPOCH);
    }
    assert_eq!(wishes.len(), limits::FORWARD_WISHES_MAX);
}

#[tokio::test]
async fn over_tcp_the_answer_is_waited_for() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let server = Scripted::start(good).await;
    let folder = tempfile::tempdir().unwrap();
    let plan_file = folder.path().join("plan.json");
    let mut input = input();
    input.sites.push(site("asked", "www.asked.example", Remainder::ReturnRecords));
    headroom_planfile::save(&plan_file, &headroom_steer::plan(&input)).unwrap();
    let zone = "asked.example".parse().unwrap();
    let config = crate::DnsConfig {
        id: Some("ns1".parse().unwrap()),
        plan_file: Some(plan_file),
        forwards: vec![ForwardConfig { zone, name_servers: vec![server.address] }],
        ..crate::DnsConfig::at(vec!["127.0.0.1:0".parse().unwrap()])
    };
    let bus = headroom_bus::Bus::default();
    let mut registry = prometheus_client::registry::Registry::default();
    let running = crate::DnsServer::bind(config, &bus, &mut registry).await.unwrap();
    let address = running.local_addresses()[0];
    let stop = CancellationToken::new();
    let task = tokio::spawn(running.run(stop.clone()));
    let query = Query::parse("127.0.0.1 www.asked.example A").octets();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_u16(u16::try_from(query.len()).unwrap()).await.unwrap();
    stream.write_all(&query).await.unwrap();
    let mut answer = vec![0; stream.read_u16().await.unwrap().into()];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(print(&answer), "  NOERROR AA\n  answer: www.asked.example 20 A 203.0.113.1\n");
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn it_does_not_ask_itself() {
    let address = "127.0.0.1:5399".parse().unwrap();
    let zone = "asked.example".parse().unwrap();
    let config = crate::DnsConfig {
        forwards: vec![ForwardConfig { zone, name_servers: vec![address] }],
        ..crate::DnsConfig::at(vec![address])
    };
    let mut registry = prometheus_client::registry::Registry::default();
    let bus = headroom_bus::Bus::default();
    let error = crate::DnsServer::bind(config, &bus, &mut registry).await.unwrap_err();
    assert!(error.to_string().contains("is this name server"), "{error}");
}
