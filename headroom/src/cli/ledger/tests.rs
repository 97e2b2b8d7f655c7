//! A log becomes a verdict: what was changed is told, and what is no log.

use expect_test::expect;

use super::*;

/// A log as it is exported, of events with these bodies.
fn exported(bodies: &[&str]) -> String {
    let mut text = String::from("{\"currency\":\"EUR\",\"slot_seconds\":60}\n");
    let mut head = ChainHash::START;
    for (sequence, body) in (1_u64..).zip(bodies) {
        head = head.follow(sequence, Timestamp::from_seconds(sequence), body);
        let at = sequence * 1_000_000_000;
        text.push_str(&format!(
            "{{\"sequence\":{sequence},\"at_nanos\":{at},\"hash\":\"{head}\",\"event\":{body}}}\n"
        ));
    }
    text
}

const HONEST: [&str; 3] = [
    r#"{"event":"account-opened","purchaser":"shop"}"#,
    r#"{"event":"credited","purchaser":"shop","amount_micro":1000,"by":"ops"}"#,
    r#"{"event":"bid-placed","id":"bid-1","purchaser":"shop","site":"shop","region":"east","first_slot":1,"last_slot":2,"units":5,"limit_price_micro":30,"class":"firm","placed_at":"1970-01-01T00:00:01Z","held_micro":300}"#,
];

fn told_of(text: &str) -> String {
    match walk_file(text.as_bytes(), None) {
        Ok(walk) => walk.findings.join("\n"),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn an_honest_log_is_walked_to_its_head() {
    let walk = walk_file(exported(&HONEST).as_bytes(), None).unwrap();
    assert_eq!((walk.chain.events, walk.findings.len()), (3, 0));
    assert_eq!(walk.audit.held_micro(), 300);
    let past = walk_file(exported(&HONEST).as_bytes(), Some(walk.chain.head)).unwrap();
    assert!(past.findings.is_empty());
    // Two events less lead to another head: the end is missing.
    let cut = walk_file(exported(&HONEST[..1]).as_bytes(), Some(walk.chain.head)).unwrap();
    assert!(cut.findings[0].contains("its end is missing"), "{:?}", cut.findings);
}

#[test]
fn what_was_changed_is_told() {
    let text = exported(&HONEST).replace("\"amount_micro\":1000", "\"amount_micro\":9000");
    expect![
        "event 2 does not lead to its hash: it, or an event before it, was changed after it was written"
    ]
    .assert_eq(&told_of(&text));
    // Chained anew by somebody who can: then the money tells.
    let mut forged = HONEST.map(str::to_owned);
    forged[2] = forged[2].replace("\"held_micro\":300", "\"held_micro\":3");
    let forged = forged.each_ref().map(String::as_str);
    expect!["event 3: bid-1 holds 3 and could cost 300"].assert_eq(&told_of(&exported(&forged)));
}

#[test]
fn what_is_no_log_is_told() {
    expect![[r#"line 1 is not the header that `headroom ledger export` prints, such as {"currency":"EUR","slot_seconds":900}: EOF while parsing a value at line 1 column 0"#]].assert_eq(&told_of(""));
    expect![[r#"line 1 is not the header that `headroom ledger export` prints, such as {"currency":"EUR","slot_seconds":900}: unknown field `sequence`, expected `currency` or `slot_seconds` at line 1 column 11"#]].assert_eq(&told_of(&exported(&HONEST).lines().skip(1).collect::<String>()));
    expect!["slots of 7 s are none; a slot divides a day"]
        .assert_eq(&told_of("{\"currency\":\"EUR\",\"slot_seconds\":7}\n"));
    expect!["line 2: missing field `sequence` at line 1 column 2"]
        .assert_eq(&told_of("{\"currency\":\"EUR\",\"slot_seconds\":60}\n{}\n"));
}

#[test]
fn each_movement_of_money_is_a_line() {
    let mut market = replaying(SlotLength::from_seconds(60).unwrap());
    let mut csv = Vec::new();
    for line in exported(&HONEST).lines().skip(1) {
        journal(&mut market, &serde_json::from_str(line).unwrap(), &mut csv).unwrap();
    }
    expect![[r#"
        2,1970-01-01T00:00:02Z,credited,external,purchaser:shop:available,1000
        3,1970-01-01T00:00:03Z,bid-placed,purchaser:shop:available,purchaser:shop:held,300
    "#]]
    .assert_eq(&String::from_utf8(csv).unwrap());
}

#[test]
fn the_books_are_a_table() {
    let ledger: LedgerView = serde_json::from_value(serde_json::json!({
        "currency": "EUR", "sum_micro": 0, "charged_micro": 1_500_000,
        "refunded_micro": 20, "penalties_micro": 0, "slot_seconds": 900, "events": 17,
        "head": "00".repeat(32),
        "accounts": [{ "id": "cash", "balance_micro": -100_000_000 },
                     { "id": "purchaser shop-inc", "balance_micro": 98_500_020 }],
    }))
    .unwrap();
    expect![[r#"
        account             balance in EUR
        cash                          -100
        purchaser shop-inc        98.50002

        sum 0, charged 1.5, refunded 0.00002, penalties 0 EUR
        17 events, head 0000000000000000000000000000000000000000000000000000000000000000
    "#]]
    .assert_eq(&table(&ledger));
}
