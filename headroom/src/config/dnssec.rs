//! `[dns.dnssec]`: which zones are signed, with what, for how long.

use std::path::Path;

use headroom_dns::{DnssecConfig, limits as dns};
use headroom_units::HostName;

use super::{
    mistake::Refusal,
    reader::{Section, parsed},
    resolve, values,
};

/// The word for no signatures.
const OFF: &str = "off";

/// How zones are signed; `None` within if none are.
pub(super) fn read(section: &Section<'_>, base_dir: &Path) -> Option<Option<DnssecConfig>> {
    let section = section.section("dnssec");
    let folder = section.optional("folder", OFF, values::path);
    let range = dns::SIGNATURE_VALIDITY_MIN..=dns::SIGNATURE_VALIDITY_MAX;
    let validity = section.optional("validity", "14d", values::duration(range));
    let zones = section.list::<HostName>("zones", Some(&[]), parsed);
    if let (Some(folder), Some(zones)) = (&folder, &zones)
        && folder.value == OFF
        && let Some(zone) = zones.first()
    {
        let refusal = Refusal::new("there is no folder with its key", "zones beside a folder");
        section.refuse(&zone.place, refusal);
    }
    section.finish();
    let (folder, validity, zones) = (folder?.value, validity?.value, zones?);
    let zones = zones.into_iter().map(|zone| zone.value).collect::<std::collections::BTreeSet<_>>();
    let config = DnssecConfig {
        folder: resolve(base_dir, &folder),
        validity,
        zones: (!zones.is_empty()).then_some(zones),
    };
    Some((folder != OFF).then_some(config))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use expect_test::expect;

    use super::super::{Config, tests::MINIMAL};

    fn parse(text: &str) -> Result<Config, String> {
        let text = format!("{MINIMAL}\n[dns.dnssec]\n{text}");
        Config::parse(&text, Path::new("/base")).map_err(|errors| format!("{errors}\n"))
    }

    #[test]
    fn zones_are_signed_with_the_keys_of_a_folder() {
        assert!(parse("").unwrap().dns[0].dnssec.is_none());
        let config = parse("folder = \"keys\"\nzones = [\"cdn.example\"]").unwrap();
        let dnssec = config.dns[0].dnssec.as_ref().unwrap();
        assert_eq!(dnssec.folder, Path::new("/base/keys"));
        assert_eq!(dnssec.validity, headroom_dns::limits::SIGNATURE_VALIDITY);
        assert_eq!(dnssec.zones.as_ref().unwrap().len(), 1);
        assert!(
            parse("folder = \"keys\"").unwrap().dns[0].dnssec.as_ref().unwrap().zones.is_none()
        );
    }

    #[test]
    fn mistakes_are_told() {
        let told = parse("validity = \"1d\"\nzones = [\"cdn.example\"]").unwrap_err();
        expect![[r#"
            the configuration has 2 mistakes:
              line 16: dns.dnssec.validity = "1d": it is too short; accepted is a duration from 3d to 90d in ms, s, m, h or d, such as "20s" or "1h30m"
              line 17: dns.dnssec.zones[0] = "cdn.example": there is no folder with its key; accepted is zones beside a folder
        "#]]
        .assert_eq(&told);
    }
}
