//! The rest of the world's DNS, as far as proofs of control need it: TXT records over UDP.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, UdpSocket},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

const HEADER: usize = 12;
const NAME_ERROR: u8 = 3;

type Records = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

/// A name server that knows what it was told.
pub(crate) struct NameServerOfTheWorld {
    pub(crate) address: SocketAddr,
    records: Records,
}

impl NameServerOfTheWorld {
    /// Answers until it is dropped.
    pub(crate) fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let address = socket.local_addr().unwrap();
        let records = Records::default();
        let known = Arc::downgrade(&records);
        thread::spawn(move || {
            let mut query = [0; 512];
            while let Some(records) = known.upgrade() {
                let Ok((length, from)) = socket.recv_from(&mut query) else { continue };
                let reply = answer(&query[..length], &records.lock().unwrap());
                socket.send_to(&reply, from).unwrap();
            }
        });
        Self { address, records }
    }

    /// From now on `name` has this TXT record alone.
    pub(crate) fn set(&self, name: &str, text: &str) {
        self.records.lock().unwrap().insert(name.to_owned(), vec![text.to_owned()]);
    }

    /// From now on `name` has this TXT record too.
    pub(crate) fn add(&self, name: &str, text: &str) {
        self.records.lock().unwrap().entry(name.to_owned()).or_default().push(text.to_owned());
    }
}

/// The answer to a query with one question (RFC 1035 §4.1).
fn answer(query: &[u8], records: &BTreeMap<String, Vec<String>>) -> Vec<u8> {
    let (name, end) = question(query);
    let texts = records.get(&name).map_or(&[][..], Vec::as_slice);
    let result = if texts.is_empty() { NAME_ERROR } else { 0 };
    let count = u8::try_from(texts.len()).unwrap();
    let mut reply = vec![query[0], query[1], 0x81, 0x80 | result, 0, 1, 0, count, 0, 0, 0, 0];
    reply.extend_from_slice(&query[HEADER..end]);
    for text in texts {
        let length = u8::try_from(text.len()).unwrap();
        reply.extend_from_slice(&[0xC0, 12, 0, 16, 0, 1, 0, 0, 0, 1, 0, length + 1, length]);
        reply.extend_from_slice(text.as_bytes());
    }
    reply
}

/// The name of the question, and where the question ends.
fn question(query: &[u8]) -> (String, usize) {
    let (mut labels, mut at) = (Vec::new(), HEADER);
    while query[at] > 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).to_lowercase());
        at = end;
    }
    (labels.join("."), at + 5)
}
