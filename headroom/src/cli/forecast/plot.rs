//! A backtest as a drawing (SVG): the load in the fan of its quantiles, and where it was short.
//!
//! Two panels: all that was counted, and its busiest week if there is more. It decides nothing.

use std::fmt::Write as _;

use headroom_forecast::backtest::{Answered, Backtest};
use headroom_units::SlotLength;
use headroom_wire::Time;

const WIDTH: f64 = 1_200.0;
const PANEL: f64 = 300.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 1_184.0;
const TOP: f64 = 86.0;
const GAP: f64 = 74.0;
const DAY_SECONDS: u64 = 86_400;
const WEEK_DAYS: u64 = 7;
/// More days than this are not told apart one by one on the axis.
const DATES: u64 = 11;

/// The colours of the fan from its outside in, of the load, of the capacity and of a shortage.
const RARE: &str = "#d3e3f4";
const HIGH: &str = "#a8c8e8";
const MEDIAN: &str = "#2a6fbb";
const LOAD: &str = "#222";
const CAPACITY: &str = "#7a7a7a";
const SHORT: &str = "#d0342c";

/// What is drawn.
pub(super) struct Drawn<'d> {
    pub(super) backtest: &'d Backtest,
    pub(super) title: &'d str,
    pub(super) length: SlotLength,
}

/// The drawing.
pub(super) fn svg(drawn: &Drawn<'_>) -> String {
    let counted: Vec<Answered> =
        drawn.backtest.slots.iter().copied().filter(|answered| answered.counts).collect();
    let week = busiest(&counted, drawn.length);
    let panels = if week.len() < counted.len() { 2.0 } else { 1.0 };
    let height = TOP + panels * (PANEL + GAP) - GAP + 44.0;
    let mut out = String::new();
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"#222\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"15\" font-weight=\"600\">{}</text>\n",
        escaped(drawn.title)
    );
    legend(&mut out);
    panel(&mut out, drawn, &counted, TOP, "all slots that count");
    if week.len() < counted.len() {
        panel(&mut out, drawn, week, TOP + PANEL + GAP, "the busiest week of them");
    }
    out.push_str("</svg>\n");
    out
}

/// The seven days with the most load, from midnight.
fn busiest(slots: &[Answered], length: SlotLength) -> &[Answered] {
    let in_day = DAY_SECONDS / length.seconds();
    let in_week = usize::try_from(WEEK_DAYS * in_day).unwrap_or(usize::MAX).min(slots.len());
    let load = |week: &[Answered]| week.iter().filter_map(|answered| answered.load).sum::<f64>();
    let whole = slots.windows(in_week.max(1));
    let weeks = whole.filter(|week| week[0].slot.number().is_multiple_of(in_day));
    weeks.max_by(|a, b| load(a).total_cmp(&load(b))).unwrap_or(slots)
}

fn legend(out: &mut String) {
    let entries = [
        (RARE, "up to the quantile at the stated risk"),
        (HIGH, "up to the 90 % quantile"),
        (MEDIAN, "median"),
        (LOAD, "load"),
        (CAPACITY, "capacity"),
        (SHORT, "short"),
    ];
    let mut x = LEFT;
    for (colour, text) in entries {
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"38\" width=\"18\" height=\"9\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"47\">{text}</text>",
            x + 24.0
        );
        x += 46.0 + 6.3 * count(text.len());
    }
}

/// Where things are in a panel.
struct Scale {
    /// Slots in all.
    slots: f64,
    highest: f64,
    bottom: f64,
}

impl Scale {
    fn x(&self, slot: usize) -> f64 {
        LEFT + count(slot) / self.slots * (RIGHT - LEFT)
    }

    fn y(&self, load: f64) -> f64 {
        self.bottom - load.clamp(0.0, self.highest) / self.highest * PANEL
    }
}

fn panel(out: &mut String, drawn: &Drawn<'_>, slots: &[Answered], top: f64, name: &str) {
    let capacity = drawn.backtest.capacity;
    let loads = slots.iter().filter_map(|answered| answered.load);
    let highest = loads.fold(capacity, f64::max).max(f64::MIN_POSITIVE) * 1.06;
    let scale = Scale { slots: count(slots.len()).max(1.0), highest, bottom: top + PANEL };
    let _ = writeln!(
        out,
        "<text x=\"{LEFT}\" y=\"{:.0}\" font-weight=\"600\">{name}</text>\
         <text x=\"{RIGHT}\" y=\"{:.0}\" text-anchor=\"end\" fill=\"#666\">requests/s</text>",
        top - 8.0,
        top - 8.0
    );
    fan(out, slots, &scale);
    axes(out, slots, drawn.length, &scale);
    let _ = writeln!(
        out,
        "<path d=\"M{LEFT} {0:.1}H{RIGHT}\" stroke=\"{CAPACITY}\" stroke-width=\"1.4\" \
         stroke-dasharray=\"6 4\"/>",
        scale.y(capacity)
    );
}

/// Slots that share a place on the paper, from the first one on.
struct Place<'s> {
    first: usize,
    slots: &'s [Answered],
}

impl Place<'_> {
    fn said(&self, which: usize) -> Option<f64> {
        let said = self.slots.iter().filter_map(|answered| answered.said);
        said.map(|said| said[which]).reduce(f64::max)
    }

    fn loads(&self) -> Option<(f64, f64)> {
        let loads = self.slots.iter().filter_map(|answered| answered.load);
        loads
            .map(|load| (load, load))
            .reduce(|(low, high), (load, _)| (low.min(load), high.max(load)))
    }
}

fn fan(out: &mut String, slots: &[Answered], scale: &Scale) {
    let together = slots.len().div_ceil(1_100).max(1);
    let places: Vec<Place<'_>> = slots
        .chunks(together)
        .enumerate()
        .map(|(number, slots)| Place { first: number * together, slots })
        .collect();
    for (which, colour) in [(2, RARE), (1, HIGH)] {
        let band = |place: &Place<'_>| place.said(which).map(|load| (0.0, load));
        area(out, &places, scale, colour, band);
    }
    let median = |place: &Place<'_>| place.said(0).map(|load| (load, load));
    area(out, &places, scale, MEDIAN, median);
    area(out, &places, scale, LOAD, Place::loads);
    let short = slots.iter().enumerate().filter(|(_, answered)| answered.is_short());
    for (slot, load) in short.filter_map(|(slot, answered)| Some((slot, answered.load?))) {
        let _ = writeln!(
            out,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.2\" fill=\"{SHORT}\"/>",
            scale.x(slot),
            scale.y(load)
        );
    }
}

/// Fills what lies between two loads at each place, and what is between the places; gaps stay.
fn area<'s>(
    out: &mut String,
    places: &[Place<'s>],
    scale: &Scale,
    colour: &str,
    between: impl Fn(&Place<'s>) -> Option<(f64, f64)>,
) {
    let known: Vec<_> = places.iter().map(|place| (place.first, between(place))).collect();
    for run in known.split(|(_, between)| between.is_none()).filter(|run| !run.is_empty()) {
        let (mut there, mut back) = (String::new(), String::new());
        for (slot, between) in run {
            let (low, high) = between.unwrap_or_default();
            let x = scale.x(*slot);
            let command = if there.is_empty() { 'M' } else { 'L' };
            let _ = write!(there, "{command}{x:.1} {:.1}", scale.y(high));
            back.insert_str(0, &format!("L{x:.1} {:.1}", scale.y(low)));
        }
        let line = colour == MEDIAN || colour == LOAD;
        let stroke = if line { format!(" stroke=\"{colour}\"") } else { String::new() };
        let _ = writeln!(out, "<path d=\"{there}{back}Z\" fill=\"{colour}\"{stroke}/>");
    }
}

fn axes(out: &mut String, slots: &[Answered], length: SlotLength, scale: &Scale) {
    let step = round_step(scale.highest / 5.0);
    let mut mark = 0.0;
    while mark <= scale.highest {
        let y = scale.y(mark);
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"#000\" stroke-opacity=\"0.1\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#666\">{}</text>",
            LEFT - 7.0,
            y + 4.0,
            told(mark, step)
        );
        mark += step;
    }
    let in_day = DAY_SECONDS / length.seconds();
    let days = count(slots.len()) / count(usize::try_from(in_day).unwrap_or(1));
    let every = (1..).find(|every| days / f64::from(*every) <= count_of(DATES)).unwrap_or(1);
    let midnights = slots.iter().enumerate();
    let midnights = midnights.filter(|(_, answered)| answered.slot.number().is_multiple_of(in_day));
    for (slot, answered) in midnights.step_by(usize::try_from(every).unwrap_or(1)) {
        let (x, date) = (scale.x(slot), Time(length.start(answered.slot)).to_string());
        let date = date.get(..10).unwrap_or_default();
        let anchor = if RIGHT - x < 40.0 { "end" } else { "middle" };
        let _ = writeln!(
            out,
            "<path d=\"M{x:.1} {:.1}V{:.1}\" stroke=\"#666\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" fill=\"#666\">{date}</text>",
            scale.bottom,
            scale.bottom + 5.0,
            scale.bottom + 20.0
        );
    }
    let _ = writeln!(
        out,
        "<path d=\"M{LEFT} {0:.1}H{RIGHT}M{LEFT} {0:.1}V{1:.1}\" stroke=\"#666\" fill=\"none\"/>",
        scale.bottom,
        scale.bottom - PANEL
    );
}

/// 1, 2 or 5 times a power of ten, at least `least`.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(f64::MIN_POSITIVE).log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= least);
    factor.unwrap_or(10.0) * power
}

/// A mark with as many decimals as its steps need.
fn told(mark: f64, step: f64) -> String {
    let decimals = (0..12_u8).find(|decimals| step * 10_f64.powi(i32::from(*decimals)) >= 0.999);
    format!("{mark:.*}", usize::from(decimals.unwrap_or(12)))
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace(char::is_control, "?")
}

#[expect(clippy::cast_precision_loss, reason = "slots of a backtest are limited")]
fn count(number: usize) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "there are few dates")]
fn count_of(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_told_shortly() {
        for (least, step, text) in
            [(0.7, 1.0, "3"), (17.0, 20.0, "60"), (1_234.0, 2_000.0, "6000"), (0.04, 0.05, "0.15")]
        {
            assert!((round_step(least) / step - 1.0).abs() < 1e-9, "{least}");
            assert_eq!(told(3.0 * step, step), text);
        }
        assert_eq!(escaped("a<b>&\n"), "a&lt;b&gt;&amp;?");
    }
}
