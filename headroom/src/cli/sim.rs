//! `sim`: controllers compared in a simulated world. Needs no running exchange and no network.

use std::{
    io::{self, IsTerminal as _, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use headroom_sim::{Approach, Comparison, Figures, Settings, compare, svg};
use serde_json::{Value, json};

use super::{WRONG_INPUT, table::Table};

const EXAMPLES: &str = "Examples:
  headroom sim control                                    ours and the ways of others, steady demand
  headroom sim control --controller ledger --skew 0.53    heavier resolvers
  headroom sim control --scenario step --plot step.svg    demand doubles; draws the first seed
  headroom sim control --scenario edge-loss --json        one edge stops

The same arguments give the same figures on every machine. Exits with 2 if an argument is wrong.";

/// What can be simulated.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Hold a purchase through DNS: ours compared with the ways of others
    #[command(after_help = EXAMPLES)]
    Control(ControlArgs),
}

/// The world and who controls it.
#[derive(Debug, clap::Args)]
pub struct ControlArgs {
    /// Who controls: ledger, pi, linear, switch or static; all are compared if it is not given
    #[arg(long, value_name = "NAME")]
    controller: Option<String>,
    /// The load share of the heaviest hundredth of the resolvers
    #[arg(long, default_value_t = 0.36, value_name = "SHARE")]
    skew: f64,
    /// How long steered answers may be cached
    #[arg(long, default_value = "20s", value_parser = seconds, value_name = "DURATION")]
    ttl: Duration,
    /// How many worlds: the seeds 1 to this
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    seeds: u64,
    /// What happens: steady, step, flash, diurnal, partition, edge-loss or exchange-loss
    #[arg(long, default_value = "steady", value_name = "NAME")]
    scenario: String,
    /// How long an idle bucket of an edge saves up
    #[arg(long, default_value = "250ms", value_parser = seconds, value_name = "DURATION")]
    burst: Duration,
    /// How late what edges and name servers report arrives
    #[arg(long, default_value = "10s", value_parser = seconds, value_name = "DURATION")]
    report_delay: Duration,
    /// By how much reports are wrong of each client, as a part of what it brought
    #[arg(long, default_value_t = 0.3, value_name = "PART")]
    report_noise: f64,
    /// How long a budget is in force without renewal: control.budget_lifetime
    #[arg(long, default_value = "3s", value_parser = seconds, value_name = "DURATION")]
    budget_lifetime: Duration,
    /// An edge that has not reported for this long is down: exchange.edge_timeout
    #[arg(long, default_value = "3s", value_parser = seconds, value_name = "DURATION")]
    edge_timeout: Duration,
    /// Suppose it is known so long after an edge stopped that it did; nothing tells the product so
    #[arg(long, value_parser = seconds, value_name = "DURATION")]
    fence: Option<Duration>,
    /// How long each world is judged, in seconds, after it has warmed up
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    seconds: u64,
    /// Draw the first seed's traffic into this file, as SVG
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration; accepted are such as 20s, 250ms or 2m");
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?);
    let number: u32 = digits.parse().map_err(|_| wrong())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number.into())),
        "s" => Ok(Duration::from_secs(number.into())),
        "m" => Ok(Duration::from_secs(60) * number),
        _ => Err(wrong()),
    }
}

pub(super) fn run(command: &Command, json: bool, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let Command::Control(args) = command;
    let (settings, approaches) = match understand(args) {
        Ok(understood) => understood,
        Err(wrong) => {
            complain(&wrong);
            return Ok(ExitCode::from(WRONG_INPUT));
        }
    };
    let courses = args.seeds * u64::try_from(approaches.len()).unwrap_or(1);
    let compared = compare(&settings, &approaches, args.seeds, |done| tell(done, courses));
    if let Some(path) = &args.plot {
        let drawing = svg(&settings, &compared);
        std::fs::write(path, drawing)
            .with_context(|| format!("cannot write the drawing to {}", path.display()))?;
    }
    let text = if json { as_json(args, &compared) } else { as_table(args, &compared) };
    write!(out, "{text}")?;
    Ok(ExitCode::SUCCESS)
}

fn understand(args: &ControlArgs) -> Result<(Settings, Vec<Approach>), String> {
    let approaches = match &args.controller {
        Some(name) => {
            vec![name.parse().map_err(|wrong: headroom_sim::WrongSettings| wrong.to_string())?]
        }
        None => Approach::ALL.to_vec(),
    };
    let most = headroom_sim::limits::SEEDS_MAX;
    if !(1..=most).contains(&args.seeds) {
        return Err(format!("seeds is {}; accepted are 1 to {most}", args.seeds));
    }
    let settings = Settings {
        scenario: args
            .scenario
            .parse()
            .map_err(|wrong: headroom_sim::WrongSettings| wrong.to_string())?,
        top_share: args.skew,
        ttl: args.ttl,
        burst: args.burst,
        report_delay: args.report_delay,
        report_noise: args.report_noise,
        budget_lifetime: args.budget_lifetime,
        edge_timeout: args.edge_timeout,
        fence: args.fence,
        seconds: args.seconds,
        ..Settings::default()
    };
    Ok((settings.checked().map_err(|wrong| wrong.to_string())?, approaches))
}

#[expect(clippy::print_stderr, reason = "what is wrong belongs there")]
fn complain(wrong: &str) {
    eprintln!("error: {wrong}");
}

/// Progress, on a terminal alone.
#[expect(clippy::print_stderr, reason = "progress belongs there")]
fn tell(done: u64, courses: u64) {
    if io::stderr().is_terminal() {
        let end = if done == courses { "\r\x1b[K" } else { "" };
        eprint!("\r{done} of {courses} worlds{end}");
    }
}

fn as_json(args: &ControlArgs, compared: &[Comparison]) -> String {
    let world = json!({
        "scenario": args.scenario,
        "skew": args.skew,
        "ttl_seconds": args.ttl.as_secs(),
        "seeds": args.seeds,
    });
    let mut answer = match compared {
        [only] => figures_json(&only.figures),
        _ => {
            let each = compared.iter();
            let each = each.map(|one| (one.approach.name().to_owned(), figures_json(&one.figures)));
            json!({ "by_controller": Value::Object(each.collect()) })
        }
    };
    if let ([only], Some(fields)) = (compared, answer.as_object_mut()) {
        fields.insert("controller".to_owned(), json!(only.approach.name()));
    }
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("world".to_owned(), world);
    }
    format!("{answer:#}\n")
}

fn figures_json(figures: &Figures) -> Value {
    json!({
        "use_of_purchase": rounded(figures.use_of_purchase),
        "refused_share": rounded(figures.refused_share),
        "p99_offered_over_purchased_10s": rounded(figures.p99_offered_over_purchased_10s),
        "max_admitted_over_purchased_1s": rounded(figures.max_admitted_over_purchased_1s),
        "recovered_after_seconds": figures.recovered_after.map(rounded),
        "learned_share": figures.learned.map(rounded),
    })
}

fn rounded(figure: f64) -> f64 {
    (figure * 1e5).round() / 1e5
}

fn as_table(args: &ControlArgs, compared: &[Comparison]) -> String {
    let mut table = Table::new(&[
        "controller",
        ">use",
        ">refused",
        ">p99 offered, 10 s",
        ">most admitted, 1 s",
        ">recovered after",
        ">weights known",
    ]);
    for one in compared {
        let figures = &one.figures;
        let percent = |part: f64| format!("{:.2} %", part * 100.0);
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        table.row([
            one.approach.to_string(),
            percent(figures.use_of_purchase),
            percent(figures.refused_share),
            format!("{:.3}", figures.p99_offered_over_purchased_10s),
            format!("{:.3}", figures.max_admitted_over_purchased_1s),
            or_none(figures.recovered_after.map(|after| format!("{after:.1} s"))),
            or_none(figures.learned.map(percent)),
        ]);
    }
    format!(
        "{}: the heaviest 1 % of the resolvers carry {:.0} %, TTL {} s, {} seeds; parts of the \
         purchase\n\n{table}",
        args.scenario,
        args.skew * 100.0,
        args.ttl.as_secs(),
        args.seeds,
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use expect_test::expect;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: ControlArgs,
    }

    fn wrong(line: &str) -> String {
        let words = std::iter::once("control").chain(line.split_whitespace());
        match Line::try_parse_from(words) {
            Ok(line) => understand(&line.args).unwrap_err(),
            Err(error) => error.to_string().lines().next().unwrap_or_default().to_owned(),
        }
    }

    #[test]
    fn wrong_arguments_are_told_with_what_would_be_accepted() {
        expect![[r#"
            scenario is "flood"; accepted are steady, step, flash, diurnal, partition, edge-loss, exchange-loss
            controller is "pid"; accepted are ledger, pi, linear, switch, static
            skew is "1.5"; accepted are 0.01 to 0.8
            seeds is 0; accepted are 1 to 10000
            budget lifetime is "1s"; accepted are 2s to 120s
            error: invalid value '20' for '--ttl <DURATION>': "20" is no duration; accepted are such as 20s, 250ms or 2m
        "#]]
        .assert_eq(
            &[
                "--scenario flood",
                "--controller pid",
                "--skew 1.5",
                "--seeds 0",
                "--budget-lifetime 1s",
                "--ttl 20",
            ]
            .map(|line| wrong(line) + "\n")
            .concat(),
        );
    }

    #[test]
    fn one_controller_is_told_flat_and_several_by_name() {
        let one = |approach| Comparison {
            approach,
            figures: Figures { use_of_purchase: 0.991_234_567, ..Figures::default() },
            seconds: Vec::new(),
        };
        let args = Line::try_parse_from(["control"]).unwrap().args;
        let only = as_json(&args, &[one(Approach::Ledger)]);
        assert!(only.contains("\"use_of_purchase\": 0.99123"), "{only}");
        let both = as_json(&args, &[one(Approach::Ledger), one(Approach::Pi)]);
        let both: Value = serde_json::from_str(&both).unwrap();
        assert_eq!(both["by_controller"]["pi"]["use_of_purchase"], json!(0.99123));
        let table = as_table(&args, &[one(Approach::Ledger)]);
        assert!(table.contains("ledger") && table.contains("99.12 %"), "{table}");
    }
}
