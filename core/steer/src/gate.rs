//! The gate of one contract at one edge: admits a request if both figures of the share allow it.

use std::{sync::Arc, time::Duration};

use headroom_units::{BitRate, ContractId, RequestRate, Timestamp};

use crate::{Allowance, Bucket, Entitlement, limits, share};

/// One request, in tokens of the request bucket: millionths of a request.
const REQUEST: u64 = 1_000_000;
/// One byte, in tokens of the egress bucket: thousandths of a byte.
const BYTE: u64 = 1_000;

/// See [`limits::EGRESS_PIECE_BYTES`].
const PIECE: u64 = limits::EGRESS_PIECE_BYTES * BYTE;
/// See [`limits::EGRESS_BUCKET_BYTES_MIN`].
const EGRESS_MIN: u64 = limits::EGRESS_BUCKET_BYTES_MIN * BYTE;

/// What a gate says to bytes that are to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Egress {
    /// So many may be sent now. They are paid.
    Granted(u64),
    /// None may be sent now; ask again after this long.
    Wait(Duration),
    /// The contract's slots are over.
    Over,
}

/// Why a request was not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The contract's slots have not begun or are over.
    NotActive,
    /// The share's requests per second are used up.
    Requests,
    /// The share's egress is used up.
    Egress,
}

/// What one edge may serve of one contract. Cheap to renew: the buckets go on.
#[derive(Debug, Clone)]
pub struct Gate {
    contract: ContractId,
    from: Timestamp,
    entitled: (RequestRate, BitRate),
    requests: Allowance,
    egress: Allowance,
    buckets: Arc<Buckets>,
}

#[derive(Debug, Default)]
struct Buckets {
    requests: Bucket,
    egress: Bucket,
}

impl Gate {
    /// The gate of a contract in a region of `edges` edges, at its safe share, with room for one
    /// request: an edge that starts anew must not sell its bucket twice. `burst` is how long an idle
    /// bucket saves up.
    #[must_use]
    pub fn new(entitlement: &Entitlement, edges: usize, burst: Duration, now: Timestamp) -> Self {
        let safe = share::safe_share(entitlement.requests, edges);
        let allowance = |rate: u64, depth_min: u64, begin: u64| Allowance {
            since: now,
            accrued: begin,
            rate,
            expires: Timestamp::EPOCH,
            safe_rate: rate,
            from: entitlement.from,
            until: entitlement.until,
            burst,
            depth_min,
        };
        let entitled = (entitlement.requests, entitlement.egress);
        Self {
            contract: entitlement.contract,
            from: entitlement.from,
            entitled,
            requests: allowance(request_tokens(safe), REQUEST, REQUEST),
            egress: allowance(egress_tokens(entitled, safe), EGRESS_MIN, PIECE),
            buckets: Arc::default(),
        }
    }

    /// The gate of an edge that begins within a purchase: it admits nothing before it is given a
    /// share, or was alone for [`limits::ALONE_AFTER`]. What it had before it stopped may be in use
    /// elsewhere ([`crate::Controller::fence`]).
    #[must_use]
    pub fn waiting(
        entitlement: &Entitlement,
        edges: usize,
        burst: Duration,
        now: Timestamp,
    ) -> Self {
        let alone = now.after(limits::ALONE_AFTER);
        let mut gate = Self::new(entitlement, edges, burst, now);
        for allowance in [&mut gate.requests, &mut gate.egress] {
            allowance.from = allowance.from.max(alone);
        }
        gate
    }

    /// The same gate with a new share of the contract's requests, and as much of its egress, from
    /// `now` until `expires`.
    #[must_use]
    pub fn renewed(&self, share: RequestRate, expires: Timestamp, now: Timestamp) -> Self {
        self.buckets.requests.settle(&self.requests, now);
        self.buckets.egress.settle(&self.egress, now);
        let mut renewed = Self {
            requests: self.requests.renewed(now, request_tokens(share), expires),
            egress: self.egress.renewed(now, egress_tokens(self.entitled, share), expires),
            ..self.clone()
        };
        // One that waited waits no more.
        (renewed.requests.from, renewed.egress.from) = (self.from, self.from);
        renewed
    }

    /// The contract it is for.
    #[must_use]
    pub fn contract(&self) -> ContractId {
        self.contract
    }

    /// Admits one request, or says why not.
    ///
    /// # Errors
    /// The [`Refusal`]; nothing is taken then.
    pub fn admit(&self, now: Timestamp) -> Result<(), Refusal> {
        if now < self.requests.from || now >= self.requests.until {
            return Err(Refusal::NotActive);
        }
        if self.buckets.egress.held(&self.egress, now) < self.least(now) {
            return Err(Refusal::Egress);
        }
        if self.buckets.requests.take(&self.requests, now, REQUEST) {
            Ok(())
        } else {
            Err(Refusal::Requests)
        }
    }

    /// Pays for up to `wanted` bytes that are to be sent now. In no window is more granted than has
    /// accrued in it, and one bucket.
    #[must_use]
    pub fn take_egress(&self, wanted: u64, now: Timestamp) -> Egress {
        if now >= self.egress.until {
            return Egress::Over;
        }
        let cost = wanted.saturating_mul(BYTE);
        let least = self.least(now).min(cost);
        match self.buckets.egress.take_up_to(&self.egress, now, (least, cost), BYTE) {
            0 if wanted == 0 => Egress::Granted(0),
            0 => Egress::Wait(
                self.egress
                    .time_for(least, now)
                    .clamp(limits::EGRESS_WAIT_MIN, limits::EGRESS_WAIT_MAX),
            ),
            taken => Egress::Granted(taken / BYTE),
        }
    }

    /// Pays for all of `bytes`, or for nothing. True if it did.
    #[must_use]
    pub fn pay_egress(&self, bytes: u64, now: Timestamp) -> bool {
        now < self.egress.until
            && self.buckets.egress.take(&self.egress, now, bytes.saturating_mul(BYTE))
    }

    /// What the egress bucket must hold before something is sent.
    fn least(&self, now: Timestamp) -> u64 {
        PIECE.min(self.egress.depth(now)).max(BYTE)
    }

    /// Accounts for `bytes` that were sent already. They are paid before anything else is sent.
    pub fn charge_egress(&self, bytes: u64, now: Timestamp) {
        self.buckets.egress.charge(&self.egress, now, bytes.saturating_mul(BYTE));
    }

    /// How much this edge held available so far, in thousandths of a request; rises with time.
    #[must_use]
    pub fn available_millirequests(&self, now: Timestamp) -> u64 {
        self.requests.accrued(now) / (REQUEST / 1_000)
    }

    /// The share at `now`, in requests per second.
    #[must_use]
    pub fn share(&self, now: Timestamp) -> RequestRate {
        let rate =
            if now < self.requests.expires { self.requests.rate } else { self.requests.safe_rate };
        RequestRate::from_millirequests_per_second(rate / (REQUEST / 1_000))
    }
}

fn request_tokens(share: RequestRate) -> u64 {
    share.millirequests_per_second().saturating_mul(REQUEST / 1_000)
}

/// The part of the contract's egress that goes with `share` of its requests, in tokens per second.
fn egress_tokens((requests, egress): (RequestRate, BitRate), share: RequestRate) -> u64 {
    let whole = u128::from(requests.millirequests_per_second().max(1));
    let tokens = u128::from(egress.bits_per_second())
        * u128::from(BYTE / 8)
        * u128::from(share.millirequests_per_second())
        / whole;
    u64::try_from(tokens).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::testing;

    fn gate() -> Gate {
        let (_, entitlement) = testing::entitlement("shop", "east", 1, 100, 200, 100);
        Gate::new(&entitlement, 2, Duration::from_millis(250), Timestamp::EPOCH)
    }

    fn admitted(gate: &Gate, from_millis: u64, until_millis: u64) -> usize {
        (from_millis..until_millis)
            .filter(|millis| gate.admit(Timestamp::from_millis(*millis)).is_ok())
            .count()
    }

    #[test]
    fn without_budgets_an_edge_serves_its_safe_share() {
        let gate = gate();
        assert_eq!(gate.share(Timestamp::from_seconds(100)).to_string(), "25 req/s");
        assert_eq!(admitted(&gate, 110_000, 120_000), 250 + 6);
    }

    #[test]
    fn nothing_is_admitted_outside_the_slots() {
        let gate = gate();
        assert_eq!(gate.admit(Timestamp::from_millis(99_999)), Err(Refusal::NotActive));
        assert_eq!(gate.admit(Timestamp::from_seconds(100)), Ok(()));
        assert_eq!(gate.admit(Timestamp::from_seconds(200)), Err(Refusal::NotActive));
    }

    #[test]
    fn a_share_is_held_and_falls_back_when_it_expires() {
        let now = Timestamp::from_seconds(110);
        let share = RequestRate::from_requests_per_second(75);
        let gate = gate().renewed(share, now.after(Duration::from_secs(3)), now);
        assert_eq!(admitted(&gate, 110_000, 113_000), 3 * 75 + 6);
        assert_eq!(admitted(&gate, 114_000, 116_000), 2 * 25 + 6);
    }

    #[test]
    fn a_gate_that_is_made_within_its_slots_begins_with_one_request() {
        let (_, entitlement) = testing::entitlement("shop", "east", 1, 100, 200, 100);
        let now = Timestamp::from_seconds(150);
        let gate = Gate::new(&entitlement, 2, Duration::from_millis(250), now);
        assert_eq!((gate.admit(now), gate.admit(now)), (Ok(()), Err(Refusal::Requests)));
    }

    #[test]
    fn a_gate_that_waits_admits_nothing_before_it_is_given_a_share_or_was_alone_for_long() {
        let (_, entitlement) = testing::entitlement("shop", "east", 1, 100, 900, 100);
        let at = Timestamp::from_seconds;
        let waiting = Gate::waiting(&entitlement, 2, Duration::from_millis(250), at(150));
        assert_eq!(admitted(&waiting, 150_000, 269_000), 0);
        assert_eq!(admitted(&waiting, 280_000, 290_000), 250 + 6);
        let waiting = Gate::waiting(&entitlement, 2, Duration::from_millis(250), at(150));
        let share = RequestRate::from_requests_per_second(10);
        let given = waiting.renewed(share, at(160), at(155));
        assert_eq!(admitted(&given, 155_000, 160_000), 50);
    }

    #[test]
    fn no_request_is_admitted_while_egress_is_used_up() {
        let gate = gate();
        let now = Timestamp::from_seconds(150);
        assert!(gate.admit(now).is_ok());
        // A quarter of 50 Mbit/s is 1.5625 MB/s; the bucket holds 250 ms of it.
        gate.charge_egress(1_953_125, now);
        assert_eq!(gate.admit(Timestamp::from_millis(150_500)), Err(Refusal::Egress));
        assert_eq!(gate.admit(Timestamp::from_millis(151_100)), Ok(()));
    }

    #[test]
    fn egress_in_any_window_is_what_accrued_in_it_and_one_bucket() {
        let gate = gate();
        let (mut now, mut sent) = (Timestamp::from_seconds(150), Vec::new());
        while now < Timestamp::from_seconds(153) {
            match gate.take_egress(1_000_000, now) {
                Egress::Granted(bytes) => sent.push((now, bytes)),
                Egress::Wait(pause) => now = now.after(pause),
                Egress::Over => panic!("the contract goes on"),
            }
        }
        let within = |from: Timestamp| {
            let window = sent.iter().filter(|(at, _)| *at >= from && at.since(from).as_secs() < 1);
            window.map(|(_, bytes)| bytes).sum::<u64>()
        };
        let most = sent.iter().map(|(at, _)| within(*at)).max().unwrap();
        assert!(most <= 1_562_500 + 390_625, "{most}");
        assert!(sent.iter().map(|(_, bytes)| bytes).sum::<u64>() > 3 * 1_562_500, "all is used");
        assert_eq!(gate.take_egress(1, Timestamp::from_seconds(200)), Egress::Over);
    }

    #[test]
    fn what_was_available_is_told_exactly() {
        let gate = gate();
        let at = |seconds| gate.available_millirequests(Timestamp::from_seconds(seconds));
        assert_eq!(at(110) - at(109), 25_000);
        assert_eq!(at(100) - at(90), 0);
        assert_eq!(at(300) - at(200), 0);
    }
}
