//! How servers are checked by us: what is asked of them, and when they count as down.

use std::{fmt, str::FromStr};

use headroom_units::ParseError;

use super::text::refused;
use crate::limits;

/// What a server has to do to be up. Written as `tcp:443`, `http:80/up` or `http:80:204/up`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerCheck {
    /// To accept a TCP connection.
    Tcp {
        /// At this port, never 0.
        port: u16,
    },
    /// To answer `HEAD` (RFC 9110 §9.3.2) in the clear, for the first host of the site.
    Http {
        /// At this port, never 0.
        port: u16,
        /// With this status; with any of 200 to 299 if it is not said.
        status: Option<u16>,
        /// At this path, which begins with `/`.
        path: String,
    },
}

impl ServerCheck {
    /// The port that is connected to.
    #[must_use]
    pub const fn port(&self) -> u16 {
        match self {
            Self::Tcp { port } | Self::Http { port, .. } => *port,
        }
    }
}

impl fmt::Display for ServerCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { port } => write!(f, "tcp:{port}"),
            Self::Http { port, status: None, path } => write!(f, "http:{port}{path}"),
            Self::Http { port, status: Some(status), path } => {
                write!(f, "http:{port}:{status}{path}")
            }
        }
    }
}

impl FromStr for ServerCheck {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        const ACCEPTED: &str = "tcp:PORT, http:PORT/PATH or http:PORT:STATUS/PATH, such as \
                                \"tcp:443\" or \"http:80:204/up\"";
        read(text).map_err(|reason| refused("a check", text, reason, ACCEPTED))
    }
}

fn read(text: &str) -> Result<ServerCheck, String> {
    let (kind, rest) = text.split_once(':').ok_or("it has no port")?;
    match kind {
        "tcp" => Ok(ServerCheck::Tcp { port: port(rest)? }),
        "http" => {
            let at = rest.find('/').ok_or("it has no path")?;
            let (place, path) = rest.split_at(at);
            let (digits, status) = match place.split_once(':') {
                Some((digits, status)) => (digits, Some(status_of(status)?)),
                None => (place, None),
            };
            let is_target = |byte: u8| byte.is_ascii_graphic() && !b"#;,".contains(&byte);
            if path.len() > limits::CHECK_PATH_LEN_MAX || !path.bytes().all(is_target) {
                let most = limits::CHECK_PATH_LEN_MAX;
                return Err(format!(
                    "its path is longer than {most} bytes or has a space, \"#\", \",\" or \";\""
                ));
            }
            Ok(ServerCheck::Http { port: port(digits)?, status, path: path.to_owned() })
        }
        _ => Err("it is neither tcp nor http".to_owned()),
    }
}

fn number(digits: &str) -> Option<u16> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn port(digits: &str) -> Result<u16, String> {
    let port = number(digits).filter(|port| *port > 0);
    port.ok_or_else(|| "its port is not a number from 1 to 65535".to_owned())
}

fn status_of(digits: &str) -> Result<u16, String> {
    let status = number(digits).filter(|status| (100..=599).contains(status));
    status.ok_or_else(|| "its status is not a number from 100 to 599".to_owned())
}

/// Whether a server is up, by our checks: it takes some in a row to change that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckedHealth {
    is_down: bool,
    /// Checks in a row that say otherwise.
    against: u32,
}

impl CheckedHealth {
    /// Whether it is up. It is at first.
    #[must_use]
    pub const fn is_up(self) -> bool {
        !self.is_down
    }

    /// Takes in a check; true if the server has changed by it.
    pub fn note(&mut self, passed: bool) -> bool {
        if passed == self.is_up() {
            self.against = 0;
            return false;
        }
        self.against += 1;
        let needed = if passed { limits::CHECKS_UNTIL_UP } else { limits::CHECKS_UNTIL_DOWN };
        if self.against < needed {
            return false;
        }
        *self = Self { is_down: !passed, against: 0 };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_has_one_form() {
        for text in ["tcp:443", "http:80/", "http:8080/up?deep=1", "http:80:204/up:2"] {
            assert_eq!(text.parse::<ServerCheck>().unwrap().to_string(), text);
        }
        let long = format!("http:80/{}", "x".repeat(limits::CHECK_PATH_LEN_MAX));
        for (text, reason) in [
            ("", "no port"),
            ("tcp", "no port"),
            ("tcp:", "1 to 65535"),
            ("tcp:0", "1 to 65535"),
            ("tcp:+80", "1 to 65535"),
            ("tcp:80/up", "1 to 65535"),
            ("http:80", "no path"),
            ("http:/up", "1 to 65535"),
            ("http:80:99/up", "100 to 599"),
            ("http:80:/up", "100 to 599"),
            ("http:80/a b", "a space"),
            ("http:80/a\r\nX: y", "a space"),
            (&long, "longer than"),
            ("https:443/up", "neither tcp nor http"),
        ] {
            let error = text.parse::<ServerCheck>().unwrap_err();
            assert!(error.reason.contains(reason), "{text:?}: {error}");
        }
    }

    #[test]
    fn it_takes_three_failures_to_be_down_and_two_successes_to_be_up() {
        let mut health = CheckedHealth::default();
        let mut told = String::new();
        for passed in "..-.--.---.-..".chars().map(|check| check == '.') {
            health.note(passed);
            told.push(if health.is_up() { '.' } else { '-' });
        }
        assert_eq!(told, ".........----.");
    }
}
