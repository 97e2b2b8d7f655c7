//! A primary on loopback that does what a test says: it has a zone, and habits.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use domain::base::{Message, MessageBuilder, Rtype};
use headroom_units::Timestamp;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{
    Primary, Zone,
    message::{self, Data, Name, Record},
    transfer,
    tsig::{self, TsigKey},
};

/// What is done with the messages of an answer before they are sent.
pub(crate) type Habit = Arc<dyn Fn(Rtype, Vec<Vec<u8>>) -> Vec<Vec<u8>> + Send + Sync>;

/// How the primary behaves from now on.
#[derive(Clone)]
pub(crate) struct Manner {
    pub(crate) zone: Arc<Zone>,
    /// The zone before, if its changes are told.
    pub(crate) before: Option<Arc<Zone>>,
    /// What it signs with; also if the other side does not.
    pub(crate) key: Option<Arc<TsigKey>>,
    /// How far its clock is off, in seconds.
    pub(crate) late: u64,
    pub(crate) habit: Habit,
    /// How long it waits before each octet.
    pub(crate) drip: Option<Duration>,
}

impl Manner {
    pub(crate) fn of(zone: &str) -> Self {
        Self {
            zone: Arc::new(Zone::parse(zone).unwrap()),
            before: None,
            key: None,
            late: 0,
            habit: Arc::new(|_, messages| messages),
            drip: None,
        }
    }

    pub(crate) fn with_habit(
        self,
        habit: impl Fn(Rtype, Vec<Vec<u8>>) -> Vec<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        Self { habit: Arc::new(habit), ..self }
    }
}

/// A primary that runs until it is dropped.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    manner: Arc<Mutex<Manner>>,
    asked: Arc<Mutex<Vec<Rtype>>>,
    task: JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scripted {
    pub(crate) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let manner = Arc::new(Mutex::new(manner));
        let asked = Arc::<Mutex<Vec<Rtype>>>::default();
        let shared = (Arc::clone(&manner), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, shared.0.clone(), shared.1.clone()));
            }
        });
        Self { address, manner, asked, task }
    }

    pub(crate) fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// The types it was asked for since the last look.
    pub(crate) fn asked(&self) -> Vec<Rtype> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    pub(crate) fn primary(&self, key: Option<Arc<TsigKey>>) -> Primary {
        Primary { address: self.address, key }
    }
}

async fn converse(
    mut stream: TcpStream,
    manner: Arc<Mutex<Manner>>,
    asked: Arc<Mutex<Vec<Rtype>>>,
) {
    while let Ok(length) = stream.read_u16().await {
        let mut query = vec![0; length.into()];
        stream.read_exact(&mut query).await.unwrap();
        let manner = manner.lock().unwrap().clone();
        let (rtype, answers) = answers(&manner, query);
        let is_over = rtype != Rtype::SOA || answers.is_empty();
        asked.lock().unwrap().push(rtype);
        for answer in answers {
            let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
            let framed = [&length, answer.as_slice()].concat();
            for piece in framed.chunks(if manner.drip.is_some() { 1 } else { framed.len() }) {
                if let Some(pause) = manner.drip {
                    tokio::time::sleep(pause).await;
                }
                if stream.write_all(piece).await.is_err() {
                    return;
                }
            }
        }
        if is_over {
            return;
        }
    }
}

fn answers(manner: &Manner, mut query: Vec<u8>) -> (Rtype, Vec<Vec<u8>>) {
    let now = headroom_clock::now().before(Duration::from_secs(manner.late));
    let key = manner.key.clone();
    let signed = key.as_deref().map(|key| {
        let now = headroom_clock::now();
        tsig::check_request([key], &mut query, now)
    });
    let mut signed = match signed {
        None => None,
        Some(Ok(signed)) => signed,
        Some(Err(turned)) => {
            let mut answer = query[..12].to_vec();
            (answer[2], answer[3]) = (0x80, 9);
            answer[4..].fill(0);
            turned.finish(&mut answer, now);
            return (Rtype::SOA, vec![answer]);
        }
    };
    let message = Message::from_slice(&query).unwrap();
    let (id, rtype) = (message.header().id(), message.sole_question().unwrap().qtype());
    let answers = match (rtype, &manner.before) {
        (Rtype::SOA, _) => vec![compose(&manner.zone, id, rtype, [soa(&manner.zone)])],
        (Rtype::IXFR, Some(before)) => vec![changes(before, &manner.zone, id)],
        _ => transfer::messages(&manner.zone, id, rtype).collect(),
    };
    let mut answers = (manner.habit)(rtype, answers);
    for answer in &mut answers {
        if let Some(signed) = &mut signed {
            signed.sign_answer(answer, now);
        }
    }
    (rtype, answers)
}

fn changes(before: &Zone, zone: &Zone, id: u16) -> Vec<u8> {
    let all = |zone: &Zone| -> Vec<Record> { zone.records().skip(1).collect() };
    let (old, new) = (all(before), all(zone));
    let removed = old.iter().filter(|record| !new.contains(record)).cloned();
    let added = new.iter().filter(|record| !old.contains(record)).cloned();
    let records = [soa(zone), soa(before)].into_iter().chain(removed).chain([soa(zone)]);
    compose(zone, id, Rtype::IXFR, records.chain(added).chain([soa(zone)]))
}

fn soa(zone: &Zone) -> Record {
    message::record(zone.apex(), 60, Data::Soa(zone.soa().clone()))
}

/// A message of these records, right or not.
pub(crate) fn compose(
    zone: &Zone,
    id: u16,
    rtype: Rtype,
    records: impl IntoIterator<Item = Record>,
) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_qr(true);
    let mut question = builder.question();
    question.push((zone.apex(), rtype)).unwrap();
    let mut answer = question.answer();
    for record in records {
        answer.push(record).unwrap();
    }
    answer.finish()
}

/// A message that calls for a zone's name.
pub(crate) fn notify(zone: &str, key: Option<(&TsigKey, Timestamp)>) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(0xabcd);
    builder.header_mut().set_opcode(domain::base::iana::Opcode::NOTIFY);
    let mut question = builder.question();
    question.push((Name::bytes_from_str(zone).unwrap(), Rtype::SOA)).unwrap();
    let mut octets = question.finish();
    if let Some((key, now)) = key {
        tsig::sign_request(key, &mut octets, now);
    }
    octets
}
