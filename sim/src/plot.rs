//! Courses as a drawing (SVG), a panel per controller.

use std::fmt::Write as _;

use crate::{Comparison, Second, Settings, draw::as_f64};

const WIDTH: f64 = 860.0;
const PANEL: f64 = 150.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 64.0;
const GAP: f64 = 34.0;
/// The axis goes up to this multiple of the purchase; what is above is cut off.
const HIGHEST: f64 = 2.0;

/// Draws what was offered and admitted in each second of the first seed, over the purchase.
#[must_use]
pub fn svg(settings: &Settings, compared: &[Comparison]) -> String {
    let panels = as_f64(u64::try_from(compared.len()).unwrap_or(0));
    let height = TOP + panels * (PANEL + GAP) + 34.0;
    let mut out = String::new();
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"#222\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\" font-weight=\"600\">Traffic at the edges over \
         the purchase: {}, top 1 % carry {:.0} %, TTL {} s</text>\n",
        settings.scenario,
        settings.top_share * 100.0,
        settings.ttl.as_secs(),
    );
    legend(&mut out);
    for (number, compared) in (0_u32..).zip(compared) {
        let top = TOP + f64::from(number) * (PANEL + GAP);
        panel(&mut out, settings, compared, top);
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">seconds since the purchase began</text>",
        f64::midpoint(LEFT, WIDTH - 16.0),
        height - 8.0
    );
    out.push_str("</svg>\n");
    out
}

fn legend(out: &mut String) {
    for (x, colour, text) in [
        (LEFT, "#e0813a", "offered"),
        (LEFT + 90.0, "#2a6fbb", "admitted"),
        (LEFT + 190.0, "#999", "purchased"),
    ] {
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"34\" width=\"18\" height=\"4\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"40\">{text}</text>",
            x + 24.0
        );
    }
}

fn panel(out: &mut String, settings: &Settings, compared: &Comparison, top: f64) {
    let (right, bottom) = (WIDTH - 16.0, top + PANEL);
    let purchased = settings.purchased.as_f64();
    let seconds = &compared.seconds;
    let length = as_f64(u64::try_from(seconds.len()).unwrap_or(0)).max(1.0);
    let x = |second: f64| LEFT + second / length * (right - LEFT);
    let y = |over: f64| bottom - over.min(HIGHEST) / HIGHEST * PANEL;
    let figures = &compared.figures;
    let _ = writeln!(
        out,
        "<text x=\"{LEFT}\" y=\"{:.1}\"><tspan font-weight=\"600\">{}</tspan>  use {:.1} %, refused \
         {:.2} %, p99 of offered in 10 s {:.3}</text>",
        top - 6.0,
        compared.approach,
        figures.use_of_purchase * 100.0,
        figures.refused_share * 100.0,
        figures.p99_offered_over_purchased_10s,
    );
    for mark in [0.0, 0.5, 1.0, 1.5, 2.0] {
        let colour = if mark == 1.0 { "#999" } else { "#e6e6e6" };
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {0:.1}H{right}\" stroke=\"{colour}\"/>\
             <text x=\"{1}\" y=\"{2:.1}\" text-anchor=\"end\" fill=\"#666\">{mark:.1}</text>",
            y(mark),
            LEFT - 6.0,
            y(mark) + 4.0
        );
    }
    let mut time = 0.0;
    while time <= length {
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#666\" font-size=\"10\">{time}</text>",
            x(time),
            bottom + 13.0
        );
        time += 100.0;
    }
    let mut line = |of: fn(&Second) -> u64, colour: &str| {
        out.push_str("<path d=\"");
        for (number, second) in (0_u32..).zip(seconds) {
            let command = if number == 0 { 'M' } else { 'L' };
            let over = as_f64(of(second)) / purchased;
            let _ = write!(out, "{command}{:.1} {:.1}", x(f64::from(number)), y(over));
        }
        let _ = writeln!(out, "\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.2\"/>");
    };
    line(|second| second.offered, "#e0813a");
    line(|second| second.admitted, "#2a6fbb");
}
