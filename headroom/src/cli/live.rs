//! `live`: what is measured now, a line per second.

use std::fmt::Write as _;

use headroom_wire::LiveView;

use super::Context;

pub(super) const EXAMPLES: &str = "Examples:
  headroom live
  headroom live --json | jq .contracts

Ends with Ctrl-C. Each line: the moment, the plan's generation, own load of capacity per region,
then each active contract with its units and, of the last second, requests served, refused, and
the part of its mapping requests that was sent to the edges.";

pub(super) fn run(context: &mut Context<'_>) -> anyhow::Result<()> {
    let mut events = Events::default();
    for line in context.client.lines("/v1/live")? {
        let Some(data) = events.line(&line?) else { continue };
        if context.json {
            writeln!(context.out, "{data}")?;
        } else {
            let live: LiveView = serde_json::from_str(&data)?;
            writeln!(context.out, "{}", describe(&live))?;
        }
        context.out.flush()?;
    }
    anyhow::bail!("the exchange has ended the stream")
}

/// Puts server-sent events together from lines; comments and names of events are passed over.
#[derive(Debug, Default)]
struct Events {
    data: Option<String>,
}

impl Events {
    /// Takes one line; gives the data of an event that it ends.
    fn line(&mut self, line: &str) -> Option<String> {
        if line.is_empty() {
            return self.data.take();
        }
        if let Some(data) = line.strip_prefix("data:") {
            let data = data.strip_prefix(' ').unwrap_or(data);
            match &mut self.data {
                Some(begun) => {
                    begun.push('\n');
                    begun.push_str(data);
                }
                None => self.data = Some(data.to_owned()),
            }
        }
        None
    }
}

fn describe(live: &LiveView) -> String {
    let mut text = format!("{} plan {}", live.at, live.generation);
    for region in &live.regions {
        let own = region.own_requests.map_or_else(String::new, |own| format!("{own} own of "));
        let (capacity, up) = (region.capacity_units, region.edges_up.len());
        let _ = write!(text, " | {} {own}{capacity} units, {up} up", region.region.0);
    }
    for contract in &live.contracts {
        let _ = write!(
            text,
            " | {} {}@{}: {} units, served {}, refused {}, mapped {:.0} %",
            contract.id.0,
            contract.site.0,
            contract.region.0,
            contract.units,
            contract.served,
            contract.refused,
            contract.fraction * 100.0
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn events_are_put_together() {
        let mut events = Events::default();
        let lines = [": hello", "event: live", "data: {\"a\":", "data:1}", "", "", "data: x", ""];
        let data: Vec<_> = lines.iter().filter_map(|line| events.line(line)).collect();
        assert_eq!(data, ["{\"a\":\n1}", "x"]);
    }

    #[test]
    fn a_second_is_a_line() {
        let live: LiveView = serde_json::from_value(serde_json::json!({
            "at": "2026-11-22T18:00:01Z", "generation": 7,
            "regions": [{ "region": "east", "capacity_units": 1000, "own_requests": 420,
                          "edges_up": ["east-1", "east-2"] }],
            "contracts": [{ "id": "contract-1", "site": "shop", "region": "east", "units": 100,
                            "offered": 110, "served": 100, "refused": 10,
                            "mapping_requests": 12, "fraction": 0.42, "leased": 99.5 }],
        }))
        .unwrap();
        expect!["2026-11-22T18:00:01Z plan 7 | east 420 own of 1000 units, 2 up | contract-1 shop@east: 100 units, served 100, refused 10, mapped 42 %"].assert_eq(&describe(&live));
    }
}
