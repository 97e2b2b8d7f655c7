//! A running name server is replaced by the next, and no answer is lost.
//!
//! Real processes, one after the other, take the name server over: `all` from nobody, `all` from
//! `all`, `dns` (and `edge`) from `all`, `dns` from `dns`. Resolvers ask all the while: over UDP from
//! ever new ports, over kept and over new connections, and over TLS. None asks twice; each question
//! is answered, with what the plan says, and the process that was replaced ends by itself.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]
#![allow(clippy::print_stdout, reason = "how much was asked is of interest")]

#[path = "hot_restart/program.rs"]
mod program;
#[path = "hot_restart/resolvers.rs"]
mod resolvers;

use std::{fs, path::Path, sync::Arc, time::Instant};

use program::Program;
use resolvers::{Asking, Way};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};

/// How often each resolver asks, at least, between one replacement and the next.
const ASKED_MIN: usize = 500;

#[test]
fn no_answer_is_lost_while_a_name_server_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let tls = set_up(folder.path());
    let mut serving = Program::start(folder.path(), &["all"]);
    serving.wait_until_it_serves(resolvers::ask_once);
    let begun = Instant::now();
    let ways = [Way::Udp, Way::Udp, Way::Udp, Way::Udp, Way::Tcp, Way::KeptTcp, Way::Tls(tls)];
    let resolvers: Vec<Asking> = ways.into_iter().map(Way::keep_asking).collect();
    let all = &["all", "--take-over"][..];
    let dns = &["dns", "--id", "ns1", "--take-over"][..];
    let edge = &["edge", "--id", "east-1", "--take-over"][..];
    let mut beside = None;
    let replaced = [(all, None), (all, None), (dns, Some(edge)), (dns, None), (dns, None)];
    for (role, other) in replaced {
        resolvers.iter().for_each(|resolver| resolver.wait_for_more(ASKED_MIN));
        let next = Program::start(folder.path(), role);
        beside = other.map(|role| Program::start(folder.path(), role)).or(beside);
        serving.ends_by_itself();
        serving = next;
    }
    for resolver in resolvers {
        resolver.wait_for_more(ASKED_MIN);
        let way = resolver.way;
        let answered = resolver.end();
        println!("{answered} of {answered} answered over {way} in {:?}", begun.elapsed());
    }
    for mut last in [Some(serving), beside].into_iter().flatten() {
        last.terminate();
        last.ends_by_itself();
    }
}

/// Writes the configuration and a certificate. Gives what a resolver needs to trust the server.
fn set_up(folder: &Path) -> Arc<ClientConfig> {
    let made = rcgen::generate_simple_self_signed([resolvers::SERVER_NAME.to_owned()]).unwrap();
    let path = folder.join("certificate");
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("fullchain.pem"), made.cert.pem()).unwrap();
    fs::write(path.join("privkey.pem"), made.signing_key.serialize_pem()).unwrap();
    fs::write(folder.join("headroom.toml"), CONFIGURATION).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(client)
}

/// The ports 28200 to 28299 are this test's.
const CONFIGURATION: &str = r#"
[network]
zone = "cdn.example"

[[name_servers]]
id = "ns1"
host = "ns1.cdn.example"
addresses = ["127.0.2.53"]

[[regions]]
id = "east"

[[regions.edges]]
id = "east-1"
addresses = ["127.0.2.1"]
capacity = "200 units"

[[own_sites]]
id = "own"
hosts = ["www.own.example"]
origins = ["127.0.2.9:80"]

[exchange]
listen = "127.0.0.1:28201"
data_dir = "data"

[edge]
port = 28200
threads = 1

[dns]
port = 28253
tls_port = 28254
threads = 2
certificate = "certificate"
answers_per_client = 0
answers_unverified = 0
"#;
