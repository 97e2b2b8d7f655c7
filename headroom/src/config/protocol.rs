//! How name servers speak DNS and what they stand: the keys of `[dns]` that are not about zones.

use std::{
    fs,
    net::IpAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use headroom_dns::{
    ConnectionLimit, CookieSecret, ProtocolConfig, RateLimit, TlsConfig, limits as dns,
};
use headroom_units::NameServerId;

use super::{
    limits,
    mistake::Refusal,
    reader::{Placed, Section},
    resolve,
    serve::sockets,
    values,
};

/// The word for cookie secrets that are made at the start.
const GENERATED: &str = "generated";

/// What all name servers share.
#[derive(Debug)]
pub(super) struct Protocol {
    cookie_secrets: Vec<CookieSecret>,
    tells_id: bool,
    rate_limit: RateLimit,
    connections: ConnectionLimit,
    certificate: Option<PathBuf>,
    tls_port: u16,
}

pub(super) fn read(section: &Section<'_>, base_dir: &Path) -> Option<Protocol> {
    let secrets = section.optional("cookie_secrets", GENERATED, values::path);
    let secrets = secrets.and_then(|path| cookie_secrets(section, &path, base_dir));
    let nsid = section.optional("nsid", "off", values::own_id);
    let count = |key: &str, default: u32| {
        let count = section.count(key, default.into(), limits::ANSWER_RATE);
        count.and_then(|count| u32::try_from(count).ok())
    };
    let per_client = count("answers_per_client", dns::RATE_PER_CLIENT);
    let unverified = count("answers_unverified", dns::RATE_UNVERIFIED);
    let slip = section.count("slip", dns::SLIP.into(), limits::SLIP);
    let held = |key: &str, default: usize, range| {
        let default = i64::try_from(default).unwrap_or(i64::MAX);
        section.count(key, default, range).and_then(|count| usize::try_from(count).ok())
    };
    let total = held("connections", dns::TCP_CONNECTIONS, limits::DNS_CONNECTIONS);
    let of_client = held(
        "connections_per_client",
        dns::TCP_CONNECTIONS_PER_CLIENT,
        0..=*limits::DNS_CONNECTIONS.end(),
    );
    let certificate = section.maybe("certificate", values::path);
    let is_broken = certificate.is_none() && section.has("certificate");
    let tls_port = section.count("tls_port", 8853, limits::PORT);
    let protocol = Protocol {
        cookie_secrets: secrets?,
        tells_id: nsid?.value,
        rate_limit: RateLimit {
            per_client: NonZeroU32::new(per_client?),
            slip: u32::try_from(slip?).ok()?,
            unverified: NonZeroU32::new(unverified?),
        },
        connections: ConnectionLimit { total: total?, per_client: of_client? },
        certificate: certificate.map(|path| resolve(base_dir, &path.value)),
        tls_port: u16::try_from(tls_port?).ok()?,
    };
    (!is_broken).then_some(protocol)
}

impl Protocol {
    /// What the name server `id` with these addresses is told.
    pub(super) fn of(&self, id: &NameServerId, addresses: &[IpAddr]) -> ProtocolConfig {
        let listen = || sockets(addresses, self.tls_port);
        let tls = |folder: &PathBuf| TlsConfig { listen: listen(), certificate: folder.clone() };
        ProtocolConfig {
            cookie_secrets: self.cookie_secrets.clone(),
            nsid: self.tells_id.then(|| id.to_string()),
            rate_limit: self.rate_limit,
            connections: self.connections,
            tls: self.certificate.as_ref().map(tls),
        }
    }
}

/// The secrets of a file; none if they are to be made at the start.
fn cookie_secrets(
    section: &Section<'_>,
    path: &Placed<String>,
    base_dir: &Path,
) -> Option<Vec<CookieSecret>> {
    if path.value == GENERATED {
        return Some(Vec::new());
    }
    let file = resolve(base_dir, &path.value);
    let secrets = match fs::read_to_string(&file) {
        Ok(text) => CookieSecret::parse_list(&text).map_err(|error| error.to_string()),
        Err(error) => Err(format!("{} cannot be read: {error}", file.display())),
    };
    let refuse = |reason| section.refuse(&path.place, Refusal { reason, accepted: None });
    secrets.map_err(refuse).ok()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::super::{Config, tests::MINIMAL};
    use super::*;

    const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf\n";

    fn protocol(more: &str, folder: &Path) -> Result<ProtocolConfig, String> {
        let config = Config::parse(&format!("{MINIMAL}\n[dns]\n{more}"), folder);
        let mut config = config.map_err(|errors| errors.to_string())?;
        Ok(config.dns.remove(0).protocol)
    }

    #[test]
    fn nothing_said_is_the_default() {
        let said = protocol("", Path::new("/base")).unwrap();
        let default = ProtocolConfig::default();
        assert_eq!(said.rate_limit, default.rate_limit);
        assert_eq!(said.connections, default.connections);
        assert!(said.cookie_secrets.is_empty() && said.nsid.is_none() && said.tls.is_none());
    }

    #[test]
    fn everything_can_be_said() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secrets"), SECRET.repeat(2)).unwrap();
        let said = protocol(
            "cookie_secrets = \"secrets\"\nnsid = \"id\"\nanswers_per_client = 0\nslip = 0\n\
             answers_unverified = 0\nconnections = 7\nconnections_per_client = 0\n\
             certificate = \"certs/ns\"\ntls_port = 853\n",
            folder.path(),
        )
        .unwrap();
        assert_eq!(said.cookie_secrets.len(), 2);
        assert_eq!(said.nsid.as_deref(), Some("ns1"));
        assert_eq!(said.rate_limit, RateLimit::OFF);
        assert_eq!(said.connections, ConnectionLimit { total: 7, per_client: 0 });
        let tls = said.tls.unwrap();
        assert_eq!(tls.listen, ["192.0.2.53:853".parse().unwrap()]);
        assert_eq!(tls.certificate, folder.path().join("certs/ns"));
    }

    fn refused(more: &str, expected: Expect) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("short"), "abc\n").unwrap();
        let told = protocol(more, folder.path()).unwrap_err();
        expected.assert_eq(&told.replace(&folder.path().display().to_string(), "/base"));
    }

    #[test]
    fn mistakes_are_told_without_the_secret() {
        refused(
            "cookie_secrets = \"short\"",
            expect![[r#"
            the configuration has a mistake:
              line 16: dns.cookie_secrets = "short": line 1 is not a secret of 32 hexadecimal digits"#]],
        );
        refused(
            "cookie_secrets = \"none\"",
            expect![[r#"
            the configuration has a mistake:
              line 16: dns.cookie_secrets = "none": /base/none cannot be read: No such file or directory (os error 2)"#]],
        );
        refused(
            "nsid = \"yes\"\nslip = 11\nconnections = 0\nanswers_per_client = \"off\"",
            expect![[r#"
                the configuration has 4 mistakes:
                  line 16: dns.nsid = "yes": it is neither; accepted is "off" or "id"
                  line 17: dns.slip = 11: it is out of range; accepted is a whole number from 0 to 10
                  line 18: dns.connections = 0: it is out of range; accepted is a whole number from 1 to 16384
                  line 19: dns.answers_per_client = "off": it is not a whole number; accepted is a whole number from 0 to 100000000"#]],
        );
    }
}
