//! A zone as the messages of a transfer (RFC 5936 §2.2).

use domain::base::{MessageBuilder, Rtype, StaticCompressor, iana::Class};

use crate::{Zone, limits, message::Record};

/// The messages that answer a question for the whole zone: its SOA record, all others, and the SOA
/// record again. Only the first repeats the question.
pub(crate) fn messages(zone: &Zone, id: u16, rtype: Rtype) -> impl Iterator<Item = Vec<u8>> {
    let mut records = zone.records();
    let soa = records.next();
    let mut left = soa.clone().into_iter().chain(records).chain(soa).peekable();
    let mut is_first = true;
    std::iter::from_fn(move || {
        left.peek()?;
        let asked = is_first.then_some(rtype);
        is_first = false;
        Some(next(zone, id, asked, &mut left))
    })
}

/// The next message, with as many records as fit.
fn next(
    zone: &Zone,
    id: u16,
    asked: Option<Rtype>,
    left: &mut std::iter::Peekable<impl Iterator<Item = Record>>,
) -> Vec<u8> {
    let target = StaticCompressor::new(Vec::new());
    let mut builder = MessageBuilder::from_target(target).expect("a header fits");
    builder.set_push_limit(limits::TRANSFER_MESSAGE_MAX);
    builder.header_mut().set_id(id);
    builder.header_mut().set_qr(true);
    builder.header_mut().set_aa(true);
    let mut question = builder.question();
    if let Some(rtype) = asked {
        question.push((zone.apex(), rtype, Class::IN)).expect("a question fits");
    }
    let mut answer = question.answer();
    let mut count = 0;
    while let Some(record) = left.peek() {
        if answer.push(record).is_err() {
            if count > 0 {
                break;
            }
            // The one record that is larger than messages usually are.
            answer.set_push_limit(limits::MESSAGE_MAX);
            if answer.push(record).is_err() {
                tracing::error!(owner = %record.owner(), "a record fits no message");
            }
        }
        count += 1;
        left.next();
    }
    answer.finish().into_target()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::{TransferLimits, read_zone};

    #[test]
    fn a_zone_goes_out_and_comes_back() {
        let mut text = "$ORIGIN shop.example.\n@ 60 SOA ns1 a 1 2 3 4 5\n@ NS ns1\n".to_owned();
        for number in 0..1_000 {
            text += &format!("n{number} TXT \"{number:0200}\"\n");
        }
        let huge = "00".repeat(limits::RECORD_DATA_MAX);
        text += &format!("huge TYPE65400 \\# {} {huge}\n", limits::RECORD_DATA_MAX);
        let zone = Zone::parse(&text).unwrap();
        let sent: Vec<_> = messages(&zone, 0, Rtype::AXFR).collect();
        assert!(sent.len() > 10, "{}", sent.len());
        let back = read_zone(zone.apex(), sent, TransferLimits::default()).unwrap();
        let all = |zone: &Zone| {
            let mut all: Vec<_> = zone.records().map(|record| record.to_string()).collect();
            all.sort();
            all
        };
        assert_eq!(all(&back), all(&zone));
    }
}
