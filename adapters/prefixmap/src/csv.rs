//! Lines of `prefix,region`, with comments behind `#`.

use std::{collections::HashMap, net::IpAddr, str::from_utf8};

use headroom_steer::{client_prefix, is_too_fine, limits as steer};
use headroom_units::RegionId;
use ipnet::IpNet;

use crate::{Entry, Mistakes, shown, too_fine};

/// The line that may stand above the others.
const HEADER: &str = "prefix,region";

/// What one line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    pub(crate) prefix: IpNet,
    /// The number of the line, counted from 1.
    number: usize,
    /// The number of the region.
    pub(crate) region: u16,
}

/// The lines, in the order of their prefixes; or every mistake.
pub(crate) fn read(octets: &[u8], regions: &[RegionId]) -> Result<Vec<Line>, Mistakes> {
    let text = from_utf8(octets).map_err(|error| {
        let line = octets[..error.valid_up_to()].iter().filter(|octet| **octet == b'\n').count();
        let mut mistakes = Mistakes::default();
        mistakes.add(line + 1, "it is not text in UTF-8".to_owned());
        mistakes
    })?;
    let numbers: HashMap<&str, u16> = regions.iter().map(RegionId::as_str).zip(0..).collect();
    let (mut lines, mut mistakes) = (Vec::new(), Mistakes::default());
    let mut is_first = true;
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let is_header =
            std::mem::take(&mut is_first) && line.replace(' ', "").eq_ignore_ascii_case(HEADER);
        if is_header {
            continue;
        }
        if lines.len() == steer::PREFIXES_MAX {
            mistakes
                .add(number + 1, format!("it holds more than {} prefixes", steer::PREFIXES_MAX));
            return Err(mistakes);
        }
        match parse(line, &numbers) {
            Ok((prefix, region)) => lines.push(Line { prefix, number: number + 1, region }),
            Err(reason) => mistakes.add(number + 1, reason),
        }
    }
    lines.sort_unstable();
    let twice = lines.windows(2).filter(|pair| pair[0].prefix == pair[1].prefix);
    for pair in twice {
        let (first, second) = (pair[0].number, pair[1].number);
        mistakes.add(second, format!("{} stands in line {first} already", pair[1].prefix));
    }
    match mistakes == Mistakes::default() {
        true if lines.is_empty() => Err(Mistakes::of("it holds no prefix")),
        true => Ok(lines),
        false => Err(mistakes),
    }
}

fn parse(line: &str, regions: &HashMap<&str, u16>) -> Result<(IpNet, u16), String> {
    let form =
        || format!("{:?} is not a prefix and a region, such as 10.0.0.0/8,east", shown(line));
    let (prefix, region) = line.split_once(',').ok_or_else(form)?;
    let (prefix, region) = (prefix.trim(), region.trim());
    if region.contains(',') {
        return Err(form());
    }
    let parsed: IpNet = prefix
        .parse()
        .map_err(|_| format!("{:?} is not a prefix, such as 10.0.0.0/8", shown(prefix)))?;
    if parsed != parsed.trunc() {
        return Err(format!("{parsed} has bits beyond its length; accepted is {}", parsed.trunc()));
    }
    if is_too_fine(parsed) {
        return Err(too_fine(parsed));
    }
    match regions.get(region) {
        Some(number) => Ok((parsed, *number)),
        None => {
            let mut known: Vec<_> = regions.keys().copied().collect();
            known.sort_unstable();
            Err(format!(
                "there is no region {:?}; accepted are {}",
                shown(region),
                known.join(", ")
            ))
        }
    }
}

/// The line that decides about an address: of the longest prefix that holds it.
pub(crate) fn entry(lines: &[Line], address: IpAddr) -> Option<Entry> {
    let client = client_prefix(address, u8::MAX);
    let holding = lines.iter().filter(|line| line.prefix.contains(&client));
    let line = holding.max_by_key(|line| line.prefix.prefix_len())?;
    Some(Entry { prefix: line.prefix, at: format!("line {}", line.number) })
}
