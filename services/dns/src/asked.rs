//! A query of the usual form, read as it stands, and the frame of the answer to it: header, question
//! and OPT record. Anything else is left to the slow path. Pure.

use domain::base::iana::Class;

use crate::{
    ecs::ClientSubnet,
    limits,
    message::{self, Edns},
};

/// QR and AA in the third octet of a header; what it keeps of a query: RD.
const QR_AA: u8 = 0x84;
pub(crate) const RD: u8 = 0x01;
/// CD, in the fourth octet.
pub(crate) const CD: u8 = 0x10;
/// The options that the slow path answers: NSID and COOKIE.
const ELSEWHERE: [u16; 2] = [3, 10];
/// DO, in the flags of an OPT record.
pub(crate) const DO: u8 = 0x80;

/// A query of the usual form.
pub(crate) struct Asked<'q> {
    /// Name, type and class as they stand in the query.
    question: &'q [u8],
    name: &'q [u8],
    pub(crate) rtype: u16,
    pub(crate) edns: Option<Edns>,
}

impl<'q> Asked<'q> {
    /// Reads a query of the usual form: opcode QUERY, one question of class IN, no records but an
    /// OPT record of version 0 at its end. `None` for any other.
    pub(crate) fn read(query: &'q [u8]) -> Option<Self> {
        let (header, rest) = query.split_at_checked(limits::HEADER_LENGTH)?;
        let is_query = header[2] & !RD == 0 && header[4..10] == [0, 1, 0, 0, 0, 0];
        if !is_query || header[10] != 0 || header[11] > 1 {
            return None;
        }
        let length = name_length(rest)?;
        let (question, rest) = rest.split_at_checked(length + 4)?;
        let (name, fixed) = question.split_at(length);
        let rtype = u16::from_be_bytes([fixed[0], fixed[1]]);
        if fixed[2..] != Class::IN.to_int().to_be_bytes() {
            return None;
        }
        let edns = match (header[11], rest) {
            (0, []) => None,
            (1, rest) => Some(read_opt(rest)?),
            _ => return None,
        };
        Some(Self { question, name, rtype, edns })
    }

    /// The name in lower case, written to `room`.
    pub(crate) fn lower<'r>(&self, room: &'r mut [u8; limits::NAME_MAX]) -> &'r [u8] {
        let lower = &mut room[..self.name.len()];
        lower.copy_from_slice(self.name);
        lower.make_ascii_lowercase();
        lower
    }

    /// Whether signatures are asked for (RFC 3225).
    pub(crate) fn is_secure(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    /// The largest answer that may go back in a datagram.
    pub(crate) fn limit(&self) -> usize {
        message::udp_limit(self.edns)
    }

    /// Writes what stands before the records.
    pub(crate) fn begin(&self, query: &[u8], counts: [u8; 4], answer: &mut Vec<u8>) {
        answer.clear();
        answer.extend_from_slice(&query[..2]);
        answer.push(QR_AA | query[2] & RD);
        answer.push(query[3] & CD);
        answer.extend_from_slice(&[0, 1]);
        answer.extend_from_slice(&counts);
        answer.extend_from_slice(&[0, u8::from(self.edns.is_some())]);
        answer.extend_from_slice(self.question);
    }

    /// Writes what stands behind them.
    pub(crate) fn end(&self, scope: u8, answer: &mut Vec<u8>) {
        if let Some(edns) = self.edns {
            write_opt(edns, scope, answer);
        }
    }
}

/// How long the name is that `octets` begin with, if it is whole and is not compressed.
fn name_length(octets: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let label = usize::from(*octets.get(at)?);
        at += 1 + label;
        match label {
            0 => return (at <= limits::NAME_MAX).then_some(at),
            1..=63 => {}
            _ => return None,
        }
    }
}

fn read_opt(record: &[u8]) -> Option<Edns> {
    let (fixed, mut options) = record.split_at_checked(limits::OPT_LENGTH)?;
    let [0, 0, 41, size_high, size_low, _, 0, flags, _, length_high, length_low] = *fixed else {
        return None;
    };
    if options.len() != usize::from(u16::from_be_bytes([length_high, length_low])) {
        return None;
    }
    let mut edns = Edns {
        udp_size: u16::from_be_bytes([size_high, size_low]),
        dnssec_ok: flags & DO != 0,
        ..Edns::default()
    };
    while !options.is_empty() {
        let (head, rest) = options.split_at_checked(4)?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let (data, rest) = rest.split_at_checked(length)?;
        options = rest;
        // Cookies are checked, and servers named, on the slow path.
        if ELSEWHERE.contains(&u16::from_be_bytes([head[0], head[1]])) {
            return None;
        }
        if head[..2] == ClientSubnet::CODE && edns.subnet.is_none() {
            edns.subnet = Some(ClientSubnet::read(data).ok()?);
        }
    }
    Some(edns)
}

fn write_opt(edns: Edns, scope: u8, answer: &mut Vec<u8>) {
    let [size_high, size_low] = limits::UDP_ANSWER_MAX.to_be_bytes();
    let flags = if edns.dnssec_ok { DO } else { 0 };
    answer.extend_from_slice(&[0, 0, 41, size_high, size_low, 0, 0, flags, 0]);
    let length = answer.len();
    answer.extend_from_slice(&[0, 0]);
    if let Some(subnet) = edns.subnet {
        answer.extend_from_slice(&ClientSubnet::CODE);
        answer.extend_from_slice(&[0, 0]);
        let begin = answer.len();
        subnet.write(scope, answer);
        let written = u8::try_from(answer.len() - begin).unwrap_or_default();
        answer[begin - 1] = written;
        answer[length + 1] = written + 4;
    }
}
