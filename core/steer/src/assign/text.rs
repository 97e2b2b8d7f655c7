//! An assignment as text: what a purchaser's name server says in a TXT record.
//!
//! ```text
//!   v=headroom1; algorithm=weighted; check=tcp:443; server=192.0.2.10,2001:db8::10,weight=3; server=192.0.2.11
//! ```
//!
//! Fields are separated by `;`, the parts of a server by `,`; spaces around them do not matter. What
//! is not known is refused, so that a slip of the pen changes nothing; what is to come has another
//! version.

use std::{collections::BTreeSet, fmt, net::IpAddr, str::FromStr};

use headroom_units::{ParseError, limits::TEXT_LEN_MAX};

use super::{AssignAlgorithm, Assignment, Server};
use crate::limits;

/// What a text that is an assignment begins with; other texts of the same name are not looked at.
pub const ASSIGNMENT_MARK: &str = "v=headroom";

const VERSION: &str = "1";
const ACCEPTED: &str = "v=headroom1; algorithm=NAME; [check=tcp:PORT;] server=ADDRESS[,ADDRESS]\
                        [,weight=NUMBER][,region=ID]; server=...";
const SERVER_ACCEPTED: &str = "ADDRESS[,ADDRESS][,weight=NUMBER][,region=ID], such as \
                               \"192.0.2.10,2001:db8::10,weight=3\"";

/// A text that is refused, cut to a sane length.
pub(super) fn refused(
    what: &'static str,
    text: &str,
    reason: impl Into<String>,
    accepted: &'static str,
) -> ParseError {
    let text = text.chars().take(TEXT_LEN_MAX).collect();
    ParseError { what, text, reason: reason.into(), accepted }
}

/// The assignment among the texts of a name.
///
/// # Errors
/// In words, if none of them is one, or more than one, or it is malformed.
pub fn provided<'t>(texts: impl IntoIterator<Item = &'t [u8]>) -> Result<Assignment, String> {
    let is_meant = |text: &&[u8]| text.starts_with(ASSIGNMENT_MARK.as_bytes());
    let mut meant = texts.into_iter().filter(is_meant);
    let text = meant.next().ok_or("there is no TXT record that begins with v=headroom1")?;
    if meant.next().is_some() {
        return Err("more than one TXT record begins with v=headroom".to_owned());
    }
    if text.len() > limits::ASSIGNMENT_TEXT_LEN_MAX {
        return Err(format!("it is longer than {} bytes", limits::ASSIGNMENT_TEXT_LEN_MAX));
    }
    let text = std::str::from_utf8(text).map_err(|_| "it is no text")?;
    text.parse().map_err(|error: ParseError| error.to_string())
}

impl FromStr for Assignment {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        read(text).map_err(|reason| refused("an assignment", text, reason, ACCEPTED))
    }
}

impl fmt::Display for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ASSIGNMENT_MARK}{VERSION}; algorithm={}", self.algorithm)?;
        if let Some(check) = &self.check {
            write!(f, "; check={check}")?;
        }
        self.servers.iter().try_for_each(|server| write!(f, "; server={server}"))
    }
}

fn read(text: &str) -> Result<Assignment, String> {
    if text.len() > limits::ASSIGNMENT_TEXT_LEN_MAX {
        return Err(format!("it is longer than {} bytes", limits::ASSIGNMENT_TEXT_LEN_MAX));
    }
    let text = text.trim();
    let mut fields = text.strip_suffix(';').unwrap_or(text).split(';').map(str::trim);
    let version = fields.next().and_then(|field| field.strip_prefix(ASSIGNMENT_MARK));
    match version {
        Some(VERSION) => {}
        Some(_) => return Err("its version is unknown".to_owned()),
        None => return Err("it does not begin with v=headroom1".to_owned()),
    }
    let (mut algorithm, mut check, mut servers) = (None, None, Vec::new());
    for field in fields {
        let (key, value) = field.split_once('=').ok_or_else(|| shown(field, "has no value"))?;
        let (key, value) = (key.trim(), value.trim());
        match key {
            "algorithm" => once(&mut algorithm, key, parsed(value)?)?,
            "check" => once(&mut check, key, parsed(value)?)?,
            "server" => servers.push(parsed(value)?),
            _ => return Err(shown(key, "is no key")),
        }
        if servers.len() > limits::SERVERS_PER_SITE_MAX {
            return Err(format!("it has more than {} servers", limits::SERVERS_PER_SITE_MAX));
        }
    }
    let algorithm: AssignAlgorithm = algorithm.ok_or("it has no algorithm")?;
    let assignment = Assignment { algorithm, servers, check };
    assignment.excess().map_or(Ok(assignment), Err)
}

fn parsed<T: FromStr<Err = ParseError>>(value: &str) -> Result<T, String> {
    value.parse().map_err(|error: ParseError| error.to_string())
}

fn once<T>(place: &mut Option<T>, key: &str, value: T) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{key} stands there twice")),
    }
}

fn shown(part: &str, what: &str) -> String {
    let part: String = part.chars().take(TEXT_LEN_MAX).collect();
    format!("{part:?} {what}")
}

impl Assignment {
    /// What is beyond the limits or contradicts itself; `None` if nothing does.
    #[must_use]
    pub fn excess(&self) -> Option<String> {
        let count = self.servers.len();
        if count == 0 || count > limits::SERVERS_PER_SITE_MAX {
            return Some(format!("{count} servers to assign to"));
        }
        let mut seen = BTreeSet::new();
        for server in &self.servers {
            let count = server.addresses.len();
            if count > limits::ADDRESSES_PER_SERVER_MAX {
                let most = limits::ADDRESSES_PER_SERVER_MAX;
                return Some(format!("a server has {count} addresses; accepted are 1 to {most}"));
            }
            if let Some(twice) = server.addresses.iter().find(|address| !seen.insert(**address)) {
                return Some(format!("{twice} stands there twice"));
            }
        }
        None
    }
}

impl FromStr for Server {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        server(text).map_err(|reason| refused("a server", text, reason, SERVER_ACCEPTED))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, address) in self.addresses.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{address}")?;
        }
        if self.weight != 1 {
            write!(f, ",weight={}", self.weight)?;
        }
        self.region.as_ref().map_or(Ok(()), |region| write!(f, ",region={region}"))
    }
}

fn server(text: &str) -> Result<Server, String> {
    let (mut addresses, mut weight, mut region) = (Vec::new(), None, None);
    for part in text.split(',').map(str::trim) {
        match part.split_once('=') {
            None => {
                let address: IpAddr =
                    part.parse().map_err(|_| shown(part, "is not an IP address"))?;
                addresses.push(address);
            }
            Some(("weight", digits)) => {
                let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
                let number = digits.parse().ok().filter(|_| is_number);
                let number = number.ok_or_else(|| shown(digits, "is not a weight"))?;
                once(&mut weight, "weight", number)?;
            }
            Some(("region", id)) => once(&mut region, "region", parsed(id)?)?,
            Some((key, _)) => return Err(shown(key, "is no key")),
        }
        if addresses.len() > limits::ADDRESSES_PER_SERVER_MAX {
            return Err(format!("it has more than {} addresses", limits::ADDRESSES_PER_SERVER_MAX));
        }
    }
    if addresses.is_empty() {
        return Err("it has no address".to_owned());
    }
    Ok(Server { addresses, weight: weight.unwrap_or(1), region })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "v=headroom1; algorithm=weighted; check=tcp:443; \
                        server=192.0.2.10,2001:db8::10,weight=3,region=east; server=192.0.2.11";

    #[test]
    fn an_assignment_is_read_and_written() {
        let assignment: Assignment = GOOD.parse().unwrap();
        assert_eq!(assignment.algorithm, AssignAlgorithm::Weighted);
        assert_eq!(assignment.servers.len(), 2);
        assert_eq!((assignment.servers[0].weight, assignment.servers[1].weight), (3, 1));
        assert_eq!(assignment.servers[0].region, Some("east".parse().unwrap()));
        assert_eq!(assignment.to_string(), GOOD);
        for loose in [
            "v=headroom1;algorithm=ordered;server=192.0.2.1;",
            "  v=headroom1 ; algorithm = ordered ;\tserver= 192.0.2.1 , weight=1 ",
        ] {
            let told = loose.parse::<Assignment>().unwrap().to_string();
            assert_eq!(told, "v=headroom1; algorithm=ordered; server=192.0.2.1");
        }
    }

    #[test]
    fn what_is_no_assignment_is_refused_with_its_reason() {
        let many = "; server=192.0.2.1".repeat(limits::SERVERS_PER_SITE_MAX + 1);
        let addresses: Vec<_> = (1..10).map(|last| format!("192.0.2.{last}")).collect();
        let check = |fields: &str, reason: &str| {
            let text = format!("v=headroom1; algorithm=ordered{fields}");
            let error = text.parse::<Assignment>().unwrap_err();
            assert!(error.reason.contains(reason), "{fields}: {error}");
        };
        check("", "0 servers");
        check(&many, "more than 64 servers");
        check("; server=192.0.2.1; server=192.0.2.1", "192.0.2.1 stands there twice");
        check("; server=192.0.2.1,192.0.2.1", "192.0.2.1 stands there twice");
        check(&format!("; server={}", addresses.join(",")), "more than 8 addresses");
        check("; server=", "is not an IP address");
        check("; server=weight=3", "no address");
        check("; server=192.0.2.1,weight=-1", "not a weight");
        check("; server=192.0.2.1,weight=+1", "not a weight");
        check("; server=192.0.2.1,weight=4294967296", "not a weight");
        check("; server=192.0.2.1,weight=1,weight=2", "weight stands there twice");
        check("; server=192.0.2.1,region=East", "a-z, 0-9");
        check("; server=192.0.2.1,wieght=2", "is no key");
        check("; server=origin.shop.example", "is not an IP address");
        check("; algorithm=ordered; server=192.0.2.1", "algorithm stands there twice");
        check("; server=192.0.2.1; ttl=5", "is no key");
        check("; server=192.0.2.1;; ", "has no value");
        check("; check=tcp; server=192.0.2.1", "no port");
        check(
            &format!("; server=192.0.2.1{}", " ".repeat(limits::ASSIGNMENT_TEXT_LEN_MAX)),
            "longer than",
        );
        for (text, reason) in [
            ("", "does not begin"),
            ("algorithm=ordered; v=headroom1; server=192.0.2.1", "does not begin"),
            ("v=headroom2; algorithm=ordered; server=192.0.2.1", "version is unknown"),
            ("v=headroom1; server=192.0.2.1", "no algorithm"),
            ("v=headroom1; algorithm=random; server=192.0.2.1", "unknown"),
        ] {
            let error = text.parse::<Assignment>().unwrap_err();
            assert!(error.reason.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn of_the_texts_of_a_name_one_is_meant() {
        let of = |texts: &[&[u8]]| provided(texts.iter().copied());
        assert_eq!(of(&[b"v=spf1 -all", GOOD.as_bytes()]).unwrap().to_string(), GOOD);
        assert!(of(&[]).unwrap_err().contains("no TXT record"));
        assert!(of(&[b"v=spf1 -all"]).unwrap_err().contains("no TXT record"));
        assert!(of(&[GOOD.as_bytes(), b"v=headroom1"]).unwrap_err().contains("more than one"));
        assert!(of(&[b"v=headroom1; \xff"]).unwrap_err().contains("no text"));
        assert!(of(&[b"v=headroom9; x=y"]).unwrap_err().contains("version"));
        let long = [b"v=headroom1".as_slice(), &[b' '; limits::ASSIGNMENT_TEXT_LEN_MAX]].concat();
        assert!(of(&[&long]).unwrap_err().contains("longer than"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,80}", tail in "[v=headroom1; algorithm,server.:0-9a-z]{0,120}") {
            let _ = text.parse::<Assignment>();
            let _ = format!("v=headroom1;{tail}").parse::<Assignment>();
            let _ = tail.parse::<Server>();
        }
    }
}
