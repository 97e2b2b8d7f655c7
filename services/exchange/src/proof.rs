//! Proof of control over a host name: a TXT record that only its owner can set.

use std::{net::SocketAddr, time::Duration};

use domain::{
    base::{Name, Rtype, iana::Class},
    rdata::Txt,
    resolv::{
        StubResolver,
        stub::conf::{ResolvConf, ServerConf, Transport},
    },
};
use headroom_units::HostName;

use crate::limits::PROOF_TIME_MAX;

const ATTEMPTS: usize = 2;

/// The name of the record that proves control of `host`.
#[must_use]
pub(crate) fn challenge_name(host: &HostName) -> String {
    format!("_headroom-challenge.{host}")
}

/// What the TXT records at the challenge name of `host` say.
///
/// # Errors
/// In words, if nobody answers or the name has no such record.
pub(crate) async fn look_up(
    host: &HostName,
    resolvers: &[SocketAddr],
) -> Result<Vec<String>, String> {
    let name = challenge_name(host);
    let owner = Name::<Vec<u8>>::from_chars(name.chars()).map_err(|error| format!("{error}"))?;
    let resolver = StubResolver::from_conf(configuration(resolvers));
    let asked = resolver.query((owner, Rtype::TXT, Class::IN));
    let answer = tokio::time::timeout(PROOF_TIME_MAX, asked)
        .await
        .map_err(|_| format!("no answer for {name} within {} s", PROOF_TIME_MAX.as_secs()))?
        .map_err(|error| format!("no answer for {name}: {error}"))?;
    let section = answer.answer().map_err(|error| format!("a malformed answer: {error}"))?;
    let texts: Vec<String> = section
        .limit_to::<Txt<_>>()
        .filter_map(Result::ok)
        .map(|record| {
            let text: Vec<u8> = record.data().iter().flatten().copied().collect();
            String::from_utf8_lossy(&text).into_owned()
        })
        .collect();
    if texts.is_empty() {
        return Err(format!("{name} has no TXT record"));
    }
    Ok(texts)
}

fn configuration(resolvers: &[SocketAddr]) -> ResolvConf {
    if resolvers.is_empty() {
        return ResolvConf::default();
    }
    let mut configuration = ResolvConf::new();
    configuration.options.attempts = ATTEMPTS;
    configuration.options.timeout = Duration::from_secs(2);
    for resolver in resolvers {
        configuration.servers.push(ServerConf::new(*resolver, Transport::UdpTcp));
    }
    configuration.finalize();
    configuration
}
