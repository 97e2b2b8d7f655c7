//! The forecaster through its own surface, on made series.

use super::*;

#[test]
fn leads_cover_the_horizon_and_come_once() {
    let leads = |season, horizon| leads(season, horizon).collect::<Vec<_>>();
    assert_eq!(leads(288, 432), [1, 3, 12, 48, 144, 288, 432]);
    assert_eq!(leads(288, 288), [1, 3, 12, 48, 144, 288, 432]);
    assert_eq!(leads(288, 60), [1, 3, 12, 48, 144]);
    assert_eq!(leads(288, 2_000), [1, 3, 12, 48, 144, 288, 432, 864, 2_016]);
    assert_eq!(leads(96, 144), [1, 4, 16, 48, 96, 144]);
    assert_eq!(leads(8, 8), [1, 4, 8, 12]);
    assert_eq!(leads(4, 1), [1, 2]);
}
