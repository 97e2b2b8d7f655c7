//! A contract becomes text.

use expect_test::expect;

use super::*;

#[test]
fn a_contract_is_shown_with_its_settlements() {
    let contract: ContractView = serde_json::from_value(serde_json::json!({
        "id": "contract-1", "bid": "bid-2", "purchaser": "shop-inc", "site": "shop",
        "region": "east", "first_slot": "2026-11-22T18:00:00Z",
        "last_slot": "2026-11-22T18:15:00Z", "units": 300, "class": "firm",
        "prices_micro": [350, 400], "stage": "active", "ends_at": "2026-11-22T18:30:00Z",
        "stages": [{ "stage": "sold", "at": "2026-11-22T17:00:01Z" },
                   { "stage": "active", "at": "2026-11-22T18:00:00.1Z" }],
        "settlements": [
            { "slot": "2026-11-22T18:00:00Z", "served": 269_990, "refused": 12,
              "undelivered_millirequests": 10_000, "charge_micro": 105_000,
              "refund_micro": 4, "penalty_micro": 22 },
        ],
        "indicative": [
            { "slot": "2026-11-22T18:15:00Z", "served": 7, "refused": 0,
              "undelivered_millirequests": 0, "charge_micro": 120_000,
              "refund_micro": 0, "penalty_micro": 0 },
        ],
    }))
    .unwrap();
    expect![[r#"
        contract    bid    site  region  first slot            last slot             units  class  stage               price  served  refused  charged  refunded
        contract-1  bid-2  shop  east    2026-11-22T18:00:00Z  2026-11-22T18:15:00Z    300  firm   active  0.00035 to 0.0004  269990       12    0.105  0.000004

        ends at 2026-11-22T18:30:00Z

        stage   since
        sold    2026-11-22T17:00:01Z
        active  2026-11-22T18:00:00Z

        settled slots: final
        slot                  served  refused  undelivered  charged  refunded   penalty
        2026-11-22T18:00:00Z  269990       12       10.000    0.105  0.000004  0.000022

        indicative: if no more meters come
        slot                  served  refused  undelivered  charged  refunded  penalty
        2026-11-22T18:15:00Z       7        0        0.000     0.12         0        0
    "#]].assert_eq(&description(&contract));
    assert_eq!(prices(&[]), "-");
}
