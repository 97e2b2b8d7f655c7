//! DNS cookies (RFC 7873) in the form that all servers of a name share (RFC 9018): whoever sends
//! back what we gave it receives what we send to its address.
//!
//! ```text
//!   client cookie (8) | version 1 | reserved (3) | time (4) | hash (8)
//!                       └───────────── server cookie ──────────────┘
//!   hash = SipHash-2-4(all before it, the source's address; secret)
//! ```
//!
//! Nothing is kept of a client. What is done for one who has no valid cookie is decided elsewhere
//! (`rate_limit.rs`, `edns.rs`).

use std::{fmt, hash::Hasher, net::IpAddr};

use headroom_units::Timestamp;
use siphasher::sip::SipHasher24;

use crate::limits;

/// The octets of a client cookie (RFC 7873 §4.1).
const CLIENT: usize = 8;
/// The octets of a server cookie of version 1 (RFC 9018 §4).
const SERVER: usize = 16;
/// What a server cookie of any kind may take (RFC 7873 §4.2).
const SERVER_ANY: std::ops::RangeInclusive<usize> = 8..=32;
/// The version in the first octet of a server cookie (RFC 9018 §4.1).
const VERSION: u8 = 1;

/// What a cookie option takes with both cookies, without its code and length.
pub(crate) const COOKIE_LENGTH: usize = CLIENT + SERVER;

/// A secret of 128 bits that server cookies are signed with. All name servers of a name share it.
#[derive(Clone, PartialEq, Eq)]
pub struct CookieSecret([u8; 16]);

/// Why a list of secrets cannot be used. Says nothing of what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CookieSecretError {
    /// A line is not a secret.
    #[error("line {0} is not a secret of 32 hexadecimal digits")]
    Malformed(usize),
    /// There is none, or there are too many.
    #[error("it holds {0} secrets; accepted are 1 to {max}", max = limits::COOKIE_SECRETS_MAX)]
    Count(usize),
}

impl CookieSecret {
    /// A new secret from the system's source of randomness.
    ///
    /// # Errors
    /// If the system has none.
    pub fn generate() -> std::io::Result<Self> {
        let mut octets = [0; 16];
        getrandom::fill(&mut octets)?;
        Ok(Self(octets))
    }

    /// Reads secrets, one a line in hexadecimal digits: the first signs, all are accepted. Empty
    /// lines and what follows a `#` are passed over.
    ///
    /// # Errors
    /// If a line is something else, or there is none, or too many.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, CookieSecretError> {
        let mut secrets = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                secrets.push(Self::parse(line).ok_or(CookieSecretError::Malformed(number))?);
            }
        }
        if (1..=limits::COOKIE_SECRETS_MAX).contains(&secrets.len()) {
            Ok(secrets)
        } else {
            Err(CookieSecretError::Count(secrets.len()))
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let secret = digits.then(|| u128::from_str_radix(text, 16).ok())??;
        Some(Self(secret.to_be_bytes()))
    }
}

impl fmt::Debug for CookieSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieSecret")
    }
}

/// A cookie option as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cookie {
    client: [u8; CLIENT],
    server: ServerCookie,
}

/// The part of a cookie option that a server made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServerCookie {
    /// The client has none yet.
    None,
    /// One that may be ours.
    Ours([u8; SERVER]),
    /// One that is not of our form.
    Foreign,
}

/// The option breaks RFC 7873 §4: the query gets FORMERR (§5.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Cookie {
    /// Reads the option's data.
    pub(crate) fn read(data: &[u8]) -> Result<Self, Malformed> {
        let (client, server) = data.split_first_chunk().ok_or(Malformed)?;
        let server = match server.len() {
            0 => ServerCookie::None,
            length if !SERVER_ANY.contains(&length) => return Err(Malformed),
            _ => server.try_into().map_or(ServerCookie::Foreign, ServerCookie::Ours),
        };
        Ok(Self { client: *client, server })
    }
}

/// What a cookie proves of the source of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing: it came without a server cookie.
    New,
    /// Nothing: its server cookie is not ours, too old, or for another address.
    Invalid,
    /// It receives what is sent to its address.
    Valid,
}

/// A cookie that was looked at, and what goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) standing: Standing,
    pub(crate) reply: [u8; COOKIE_LENGTH],
}

/// Makes and checks server cookies.
#[derive(Debug, Clone)]
pub(crate) struct Cookies {
    signs: CookieSecret,
    /// Secrets that are accepted still, or already.
    others: Vec<CookieSecret>,
}

impl Cookies {
    /// The first of `secrets` signs, all are accepted; `None` if there is none.
    pub(crate) fn new(secrets: &[CookieSecret]) -> Option<Self> {
        let (signs, others) = secrets.split_first()?;
        Some(Self { signs: signs.clone(), others: others.to_vec() })
    }

    /// Checks a cookie that came from `source`, and makes the one that goes back: the same while
    /// it is fresh, else a new one.
    pub(crate) fn check(&self, cookie: Cookie, source: IpAddr, now: Timestamp) -> Checked {
        let now = time_of(now);
        let (standing, kept) = match cookie.server {
            ServerCookie::None => (Standing::New, None),
            ServerCookie::Foreign => (Standing::Invalid, None),
            ServerCookie::Ours(server) => self.look(cookie.client, server, source, now),
        };
        let server = kept.unwrap_or_else(|| {
            let mut server = [VERSION, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            server[4..8].copy_from_slice(&now.to_be_bytes());
            let hash = hash(cookie.client, server, source, &self.signs);
            server[8..].copy_from_slice(&hash);
            server
        });
        let mut reply = [0; COOKIE_LENGTH];
        reply[..CLIENT].copy_from_slice(&cookie.client);
        reply[CLIENT..].copy_from_slice(&server);
        Checked { standing, reply }
    }

    /// What a server cookie proves, and the cookie itself if it may be used on.
    fn look(
        &self,
        client: [u8; CLIENT],
        server: [u8; SERVER],
        source: IpAddr,
        now: u32,
    ) -> (Standing, Option<[u8; SERVER]>) {
        let [version, _, _, _, t0, t1, t2, t3, made @ ..] = server;
        // RFC 1982: the difference of two times holds beyond 2038 and 2106.
        let age = now.wrapping_sub(u32::from_be_bytes([t0, t1, t2, t3])).cast_signed();
        let in_time = (-limits::COOKIE_AHEAD..=limits::COOKIE_AGE_MAX).contains(&age);
        if version != VERSION || !in_time {
            return (Standing::Invalid, None);
        }
        let signed_by = |secret: &CookieSecret| hash(client, server, source, secret) == made;
        if signed_by(&self.signs) {
            return (Standing::Valid, Some(server).filter(|_| age <= limits::COOKIE_FRESH));
        }
        let is_accepted = self.others.iter().any(signed_by);
        (if is_accepted { Standing::Valid } else { Standing::Invalid }, None)
    }
}

fn time_of(now: Timestamp) -> u32 {
    u32::try_from(now.seconds() & u64::from(u32::MAX)).expect("cut to 32 bits")
}

/// The hash of a server cookie (RFC 9018 §4.4); what stands in the place of the hash is not in it.
fn hash(
    client: [u8; CLIENT],
    server: [u8; SERVER],
    source: IpAddr,
    secret: &CookieSecret,
) -> [u8; 8] {
    let mut hasher = SipHasher24::new_with_key(&secret.0);
    hasher.write(&client);
    hasher.write(&server[..8]);
    match source {
        IpAddr::V4(address) => hasher.write(&address.octets()),
        IpAddr::V6(address) => hasher.write(&address.octets()),
    }
    hasher.finish().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::octets;

    fn cookies(secrets: &[&str]) -> Cookies {
        Cookies::new(&CookieSecret::parse_list(&secrets.join("\n")).unwrap()).unwrap()
    }

    const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";

    /// The examples of RFC 9018, appendix A.
    #[test]
    fn cookies_are_those_of_the_standard() {
        let roll_over = ["445536bcd2513298075a5d379663c962", "dd3bdf9344b678b185a6f5cb60fca715"];
        for (secrets, source, sent, at, standing, reply) in [
            (
                &[SECRET][..],
                "198.51.100.100",
                "2464c4abcf10c957",
                1_559_731_985,
                Standing::New,
                "2464c4abcf10c957010000005cf79f111f8130c3eee29480",
            ),
            (
                &[SECRET],
                "198.51.100.100",
                "2464c4abcf10c957010000005cf79f111f8130c3eee29480",
                1_559_734_385,
                Standing::Valid,
                "2464c4abcf10c957010000005cf7a871d4a564a1442aca77",
            ),
            (
                &[SECRET],
                "203.0.113.203",
                "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5",
                1_559_727_985,
                Standing::Valid,
                "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5",
            ),
            (
                &roll_over,
                "2001:db8:220:1:59de:d0f4:8769:82b8",
                "22681ab97d52c298010000005cf7c57926556bd0934c72f8",
                1_559_741_961,
                Standing::Valid,
                "22681ab97d52c298010000005cf7c609a6bb79d16625507a",
            ),
        ] {
            let cookie = Cookie::read(&octets(sent)).unwrap();
            let now = Timestamp::from_seconds(at);
            let checked = cookies(secrets).check(cookie, source.parse().unwrap(), now);
            assert_eq!((checked.standing, &checked.reply[..]), (standing, &octets(reply)[..]));
        }
    }

    #[test]
    fn lengths_that_no_cookie_has_are_malformed() {
        for length in 0..64_usize {
            let is_right = length == 8 || (16..=40).contains(&length);
            assert_eq!(Cookie::read(&vec![1; length]).is_ok(), is_right, "{length}");
        }
    }

    #[test]
    fn secrets_are_lines_of_hexadecimal_digits() {
        let parse = |text: &str| CookieSecret::parse_list(text).map(|list| list.len());
        assert_eq!(parse(&format!("# new\n{SECRET} # since May\n\n{SECRET}\n")), Ok(2));
        assert_eq!(
            parse("\n+5e973e5a6b2a43f48e7dc849e37bfcf"),
            Err(CookieSecretError::Malformed(2))
        );
        assert_eq!(parse("e5"), Err(CookieSecretError::Malformed(1)));
        assert_eq!(parse(""), Err(CookieSecretError::Count(0)));
        assert_eq!(parse(&format!("{SECRET}\n").repeat(5)), Err(CookieSecretError::Count(5)));
        let (one, other) = (CookieSecret::generate().unwrap(), CookieSecret::generate().unwrap());
        assert_ne!(one, other);
        assert_eq!(format!("{one:?}"), "CookieSecret", "a secret does not stand in a log");
    }

    fn given(cookies: &Cookies, source: IpAddr, at: u64) -> Cookie {
        let cookie = Cookie { client: [7; 8], server: ServerCookie::None };
        Cookie::read(&cookies.check(cookie, source, Timestamp::from_seconds(at)).reply).unwrap()
    }

    #[test]
    fn a_cookie_lasts_an_hour_and_five_minutes_ahead() {
        let (cookies, source) = (cookies(&[SECRET]), "2001:db8::1".parse().unwrap());
        // The second begins beyond the 32 bits of the time.
        for begin in [1_000_000, (1_u64 << 32) - 10] {
            let cookie = given(&cookies, source, begin);
            let standing =
                |at: u64| cookies.check(cookie, source, Timestamp::from_seconds(at)).standing;
            for (at, expected) in [
                (begin - 300, Standing::Valid),
                (begin - 301, Standing::Invalid),
                (begin + 3_600, Standing::Valid),
                (begin + 3_601, Standing::Invalid),
            ] {
                assert_eq!(standing(at), expected, "{at}");
            }
        }
    }

    #[test]
    fn a_secret_is_exchanged_without_a_refusal() {
        let (old, new) = (SECRET, "00112233445566778899aabbccddeeff");
        let source = "192.0.2.1".parse().unwrap();
        let now = Timestamp::from_seconds(1_000);
        // All servers learn the new one first, then it signs, then the old one goes.
        let steps = [vec![old], vec![old, new], vec![new, old], vec![new]].map(|s| cookies(&s));
        for pair in steps.windows(2) {
            for (signs, checks) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
                let cookie = given(signs, source, 1_000);
                assert_eq!(checks.check(cookie, source, now).standing, Standing::Valid);
            }
        }
        let cookie = given(&steps[0], source, 1_000);
        assert_eq!(steps[3].check(cookie, source, now).standing, Standing::Invalid);
    }

    proptest! {
        #[test]
        fn what_we_give_is_valid_for_its_source_alone(
            client in any::<[u8; 8]>(),
            source in any::<IpAddr>(),
            other in any::<IpAddr>(),
            at in 0..u64::from(u32::MAX) * 3,
            later in 0..3_600_u64,
            bit in 0..COOKIE_LENGTH * 8,
        ) {
            let cookies = cookies(&[SECRET]);
            let new = Cookie { client, server: ServerCookie::None };
            let reply = cookies.check(new, source, Timestamp::from_seconds(at)).reply;
            let check = |octets: &[u8], source| {
                let now = Timestamp::from_seconds(at + later);
                cookies.check(Cookie::read(octets).unwrap(), source, now).standing
            };
            prop_assert_eq!(check(&reply, source), Standing::Valid);
            prop_assert_eq!(check(&reply, other) == Standing::Valid, source == other);
            let mut changed = reply;
            changed[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(check(&changed, source), Standing::Invalid);
        }
    }
}
