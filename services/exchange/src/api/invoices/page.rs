//! An invoice as a page: complete in itself, for a screen and for A4.

use std::fmt::Write as _;

use headroom_units::Money;
use headroom_wire::{InvoiceLine, InvoiceView};

const STYLE: &str = "
:root { color-scheme: light; }
body { font: 14px/1.45 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 2.5rem auto;
  max-width: 60rem; padding: 0 1.5rem; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; }
.about { color: #555; margin: 0 0 1.5rem; }
.state { border: 1px solid; border-radius: .25rem; padding: .1rem .5rem; font-size: .85rem; }
.final { color: #17652b; } .provisional { color: #8a5a00; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .4rem .6rem; border-bottom: 1px solid #ddd; white-space: nowrap; }
th { border-bottom: 2px solid #1a1a1a; font-weight: 600; }
.n { text-align: right; font-variant-numeric: tabular-nums; }
tfoot td { border-bottom: 0; font-weight: 600; }
tfoot tr.total td { border-top: 2px solid #1a1a1a; }
.scroll { overflow-x: auto; }
@page { size: A4 landscape; margin: 15mm; }
@media print { body { margin: 0; max-width: none; padding: 0; font-size: 10pt; }
  thead { display: table-header-group; } tr { break-inside: avoid; } .scroll { overflow: visible; } }
";

/// The page of an invoice.
pub(super) fn html(invoice: &InvoiceView) -> String {
    let (number, purchaser) = (escaped(&invoice.number), escaped(invoice.purchaser.0.as_str()));
    let month = invoice.month.0;
    let currency = escaped(&invoice.currency);
    let (class, state) = match (invoice.is_final, invoice.unsettled_slots) {
        (true, _) => ("final", "final".to_owned()),
        (false, 0) => ("provisional", "provisional, the month is not over".to_owned()),
        (false, slots) => ("provisional", format!("provisional, {slots} slots not settled yet")),
    };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Invoice {number}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <h1>Invoice {number}</h1>\n\
         <p class=\"about\">{purchaser}, slots that began in {month} (UTC), amounts in {currency} \
         <span class=\"state {class}\">{state}</span></p>\n<div class=\"scroll\">\n<table>\n\
         <thead><tr><th>Contract</th><th>Site</th><th>Region</th><th>Class</th><th>First slot</th>\
         <th>Last slot</th><th class=\"n\">Slots</th><th class=\"n\">Units</th>\
         <th class=\"n\">Served</th><th class=\"n\">Charge</th><th class=\"n\">Refund</th>\
         <th class=\"n\">Penalty</th></tr></thead>\n<tbody>\n"
    );
    for line in &invoice.lines {
        row(&mut page, line);
    }
    if invoice.lines.is_empty() {
        page.push_str("<tr><td colspan=\"12\">Nothing was settled in this month.</td></tr>\n");
    }
    let [charge, refund, penalty, total] =
        [invoice.charge_micro, invoice.refund_micro, invoice.penalty_micro, invoice.total_micro]
            .map(money);
    let _ = write!(
        page,
        "</tbody>\n<tfoot>\n<tr><td colspan=\"9\">Sum</td><td class=\"n\">{charge}</td>\
         <td class=\"n\">{refund}</td><td class=\"n\">{penalty}</td></tr>\n\
         <tr class=\"total\"><td colspan=\"9\">Total: charges less refunds and penalties, taken from \
         the account as the slots were settled</td><td class=\"n\" colspan=\"3\">{total} {currency}</td>\
         </tr>\n</tfoot>\n</table>\n</div>\n</body>\n</html>\n"
    );
    page
}

fn row(page: &mut String, line: &InvoiceLine) {
    let texts = [
        line.contract.0.to_string(),
        line.site.0.to_string(),
        line.region.0.to_string(),
        line.class.0.to_string(),
        line.first_slot.to_string(),
        line.last_slot.to_string(),
    ];
    let numbers = [
        line.slots.to_string(),
        line.units.to_string(),
        line.served.to_string(),
        money(line.charge_micro),
        money(line.refund_micro),
        money(line.penalty_micro),
    ];
    page.push_str("<tr>");
    for text in texts {
        let _ = write!(page, "<td>{}</td>", escaped(&text));
    }
    for number in numbers {
        let _ = write!(page, "<td class=\"n\">{number}</td>");
    }
    page.push_str("</tr>\n");
}

fn money(micro: i64) -> String {
    Money::from_micro(micro).to_string()
}

/// What others wrote is text, not markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invoice() -> InvoiceView {
        serde_json::from_value(serde_json::json!({
            "number": "shop-2026-11", "purchaser": "shop", "month": "2026-11",
            "currency": "EUR", "final": false, "unsettled_slots": 3,
            "charge_micro": 1_500_000, "refund_micro": 20, "penalty_micro": 0,
            "total_micro": 1_499_980,
            "lines": [{
                "contract": "contract-1", "site": "shop", "region": "east", "class": "firm",
                "first_slot": "2026-11-22T18:00:00Z", "last_slot": "2026-11-22T18:45:00Z",
                "slots": 4, "units": 300, "served": 1_079_990, "charge_micro": 1_500_000,
                "refund_micro": 20, "penalty_micro": 0,
            }],
        }))
        .unwrap()
    }

    #[test]
    fn every_amount_stands_on_the_page() {
        let page = html(&invoice());
        for text in ["Invoice shop-2026-11", "contract-1", "1.5", "0.00002", "1.49998 EUR"] {
            assert!(page.contains(text), "{text}");
        }
        assert!(page.contains("provisional, 3 slots not settled yet"));
        let empty = InvoiceView { lines: Vec::new(), is_final: true, ..invoice() };
        assert!(html(&empty).contains("Nothing was settled in this month."));
    }

    #[test]
    fn what_others_wrote_is_no_markup() {
        let page = html(&InvoiceView { currency: "<b>\"&".to_owned(), ..invoice() });
        assert!(page.contains("&lt;b&gt;&quot;&amp;") && !page.contains("<b>"));
    }
}
