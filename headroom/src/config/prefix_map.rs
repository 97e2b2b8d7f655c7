//! `dns.prefix_map`: which clients are in which region, by a file. What stands in the file is read when
//! a name server starts, and by `check-config`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use headroom_prefixmap::{Field, Form, PrefixFile};
use headroom_units::RegionId;

use super::{
    mistake::Refusal,
    network::Network,
    reader::{Placed, Section},
    resolve, values,
};

/// Where the file is, and how it is read.
#[derive(Debug)]
pub(super) struct PrefixMap {
    path: Option<PathBuf>,
    field: Option<Field>,
}

pub(super) fn read(dns: &Section<'_>, base_dir: &Path) -> Option<PrefixMap> {
    let path = dns.maybe("prefix_map", values::path);
    let is_broken = path.is_none() && dns.has("prefix_map");
    let field = dns.optional("prefix_map_field", "", field);
    if let Some(Placed { value: Some(_), place }) = &field
        && path.is_none()
        && !is_broken
    {
        dns.refuse(
            place,
            Refusal::new("there is no file to read it from", "dns.prefix_map as well"),
        );
    }
    let field = field?.value;
    let path = path.map(|path| resolve(base_dir, &path.value));
    (!is_broken).then_some(PrefixMap { path, field })
}

/// None if nothing is given.
fn field(text: &str) -> Result<Option<Field>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    let refused = |error: headroom_prefixmap::FieldError| Refusal {
        reason: error.to_string(),
        accepted: None,
    };
    text.parse().map(Some).map_err(refused)
}

impl PrefixMap {
    /// Finds values of a field that nobody reads.
    pub(super) fn check(&self, root: &Section<'_>, network: &Network) {
        if let (None, Some(value)) = (&self.field, network.client_values.first()) {
            let reason = "there is no field that could have this value";
            root.refuse(&value.0.place, Refusal::new(reason, "dns.prefix_map_field as well"));
        }
    }

    /// What the name servers of a network are told.
    pub(super) fn of(&self, network: &Network) -> Option<PrefixFile> {
        let values = network.client_values.iter();
        let values: BTreeMap<String, RegionId> =
            values.map(|(value, region)| (value.value.clone(), region.clone())).collect();
        let form = match self.field.clone() {
            Some(field) => Form::MaxMind { field, values },
            None => Form::Csv,
        };
        let regions = network.fleet.regions.keys().cloned().collect();
        Some(PrefixFile { path: self.path.clone()?, form, regions })
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::super::{Config, tests::MINIMAL};
    use super::*;

    fn prefix_map(more: &str, values: &str) -> Result<Option<PrefixFile>, String> {
        let text = MINIMAL.replace("[[regions.edges]]", &format!("{values}\n[[regions.edges]]"));
        let config = Config::parse(&format!("{text}\n[dns]\n{more}"), Path::new("/base"));
        let mut config = config.map_err(|errors| errors.to_string())?;
        Ok(config.dns.remove(0).prefix_map)
    }

    #[test]
    fn a_file_is_lines_or_a_database() {
        assert_eq!(prefix_map("", "").unwrap(), None);
        let regions = vec!["east".parse().unwrap()];
        let path = PathBuf::from("/base/clients.csv");
        let lines = PrefixFile { path, form: Form::Csv, regions: regions.clone() };
        assert_eq!(prefix_map("prefix_map = \"clients.csv\"", "").unwrap(), Some(lines));
        let said = "prefix_map = \"c.mmdb\"\nprefix_map_field = \"country.iso_code\"";
        let field = "country.iso_code".parse().unwrap();
        let values = [("US".to_owned(), regions[0].clone())].into();
        let path = PathBuf::from("/base/c.mmdb");
        let database = PrefixFile { path, form: Form::MaxMind { field, values }, regions };
        assert_eq!(prefix_map(said, "client_values = [\"US\"]").unwrap(), Some(database));
    }

    fn refused(more: &str, values: &str, expected: Expect) {
        expected.assert_eq(&prefix_map(more, values).unwrap_err());
    }

    #[test]
    fn what_does_not_fit_together_is_told() {
        refused(
            "prefix_map_field = \"country..code\"",
            "",
            expect![[r#"
            the configuration has a mistake:
              line 17: dns.prefix_map_field = "country..code": it is no field: accepted are up to 8 keys with dots between them, such as "country.iso_code""#]],
        );
        refused(
            "prefix_map_field = \"country.iso_code\"",
            "",
            expect![[r#"
            the configuration has a mistake:
              line 17: dns.prefix_map_field = "country.iso_code": there is no file to read it from; accepted is dns.prefix_map as well"#]],
        );
        refused(
            "prefix_map = \"clients.csv\"",
            "client_values = [\"US\"]",
            expect![[r#"
            the configuration has a mistake:
              line 10: regions[0].client_values[0] = "US": there is no field that could have this value; accepted is dns.prefix_map_field as well"#]],
        );
        refused(
            "prefix_map = \"\"",
            "client_values = [\"US\", \"US\"]",
            expect![[r#"
            the configuration has 2 mistakes:
              line 10: regions[0].client_values[1] = "US": it already stands at regions[0].client_values[0]
              line 17: dns.prefix_map = "": it is empty; accepted is a path, such as "./headroom-data""#]],
        );
    }
}
