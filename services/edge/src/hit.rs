//! The short way: a response from memory to a request whose head still lies in the buffer.
//!
//! The phases are those of [`crate::proxy`], without a wait between them, so that one look at the
//! table and one lock of the counters do for all. What is not answered here goes the long way with
//! what is known already: it is admitted and counted once.

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytes::Bytes;
use headroom_cache::CacheKey;
use headroom_units::Timestamp;
use http::{HeaderMap, Request};

use crate::{
    access_log::Asked,
    cache::Variants,
    connection::Line,
    meter::Account,
    metrics::Outcome,
    object::{StoredBody, StoredObject},
    proxy::{Decided, Visit, Worker, decide, identify},
    reply::HeadWriter,
    respond::{CACHE_STATUS, HIT},
    table::ServedSite,
    trace::TraceContext,
};

/// The head of a request, whatever the protocol is in which it came.
pub(crate) trait RequestHead {
    /// Whether it is a GET (true) or HEAD (false) that any fresh response answers; `None` if it has
    /// to be looked at more closely.
    fn asks_plainly(&self) -> Option<bool>;

    /// The host without port, in lower case, if it is well formed.
    fn host(&self) -> Option<Cow<'_, str>>;

    /// The path, and the query if there is one.
    fn path_and_query(&self) -> (&str, Option<&str>);

    /// The same as an owned request; `None` if it is malformed.
    fn request<B>(&self, body: B) -> Option<Request<B>>;
}

/// What became of a request.
pub(crate) enum Hit {
    /// Its response is written, but for the body.
    Written(Bytes),
    /// It goes the long way, with what is known of it.
    Not(Option<Visit>),
}

impl Worker {
    /// Answers a request without content into `out`, if there is a fresh response to it in memory.
    /// `key` is a buffer.
    #[tracing::instrument(level = "trace", skip_all)]
    pub(crate) fn hit(
        &self,
        line: &Line,
        head: &impl RequestHead,
        key: &mut String,
        out: &mut impl HeadWriter,
    ) -> Hit {
        let (Some(with_body), Some(host)) = (head.asks_plainly(), head.host()) else {
            return Hit::Not(None);
        };
        let table = self.shared.table.load();
        let Ok((host, site)) = identify(&table, &host, line.server_name.as_deref()) else {
            return Hit::Not(None);
        };
        let now = headroom_clock::now();
        let (path, query) = head.path_and_query();
        let (scheme, rule) = (line.peer.scheme, site.query_rule());
        let key = CacheKey::write(key, &site.id, scheme, host, (path, query), rule);
        let written = self.counts.count(now, |counts| {
            let verdict = self.admit(counts, &table, site, line.peer.address, now);
            let account = verdict.account();
            let found =
                (account != Account::Nobody).then(|| self.shared.cache.get_by_text(key.as_str()));
            let (object, age) =
                found.flatten().and_then(|held| fresh(&held, head, site, now)).ok_or(verdict)?;
            let StoredBody::Whole(body) = &object.body else { return Err(verdict) };
            let begun = out.length();
            write_head(out, &object, age);
            let length = if with_body { body.len() } else { 0 };
            let bytes = u64::try_from(out.length() - begun + length).unwrap_or(u64::MAX);
            if let Account::Contract(contract) = account
                && !table.pay_egress(contract, bytes, now)
            {
                out.truncate(begun);
                return Err(verdict);
            }
            self.meter(counts, account, true, bytes);
            Ok((account, object, bytes))
        });
        let (account, object, bytes) = match written {
            Ok(written) => written,
            Err(verdict) => {
                let visit = Visit::new(line.peer, host, site, verdict, now);
                return Hit::Not(Some(visit.asking_plainly(key.to_key())));
            }
        };
        self.shared.metrics.count(Outcome::Hit);
        self.log_hit(line, head, (site, account), (&object, bytes), now);
        Hit::Written(match &object.body {
            StoredBody::Whole(body) if with_body => body.clone(),
            _ => Bytes::new(),
        })
    }

    fn log_hit(
        &self,
        line: &Line,
        head: &impl RequestHead,
        (site, account): (&Arc<ServedSite>, Account),
        (object, bytes): (&StoredObject, u64),
        now: Timestamp,
    ) {
        let Some(log) = &self.log else { return };
        let Some(request) = head.request(()) else { return };
        let trace = TraceContext::of(request.headers(), || fastrand::u64(..));
        let mut record = log.begin(Asked::of(&request, line.peer.address, now, trace));
        record.judged(site, account);
        record.answered(object.status, Outcome::Hit, bytes);
        record.complete();
    }
}

/// What answers the request without a question to the origin, with its age.
fn fresh(
    held: &Variants,
    head: &impl RequestHead,
    site: &ServedSite,
    now: Timestamp,
) -> Option<(Arc<StoredObject>, Duration)> {
    let varies = held.as_slice().iter().any(|object| !object.policy.vary().is_empty());
    // What nothing varies on need not be read.
    let request = if varies { head.request(())?.into_parts().0.headers } else { HeaderMap::new() };
    match decide(Some(held), &request, now) {
        Decided::Serve(object, age) if object.stamp >= site.newest_purge() => Some((object, age)),
        _ => None,
    }
}

fn write_head(out: &mut impl HeadWriter, object: &StoredObject, age: Duration) {
    out.status(object.status);
    object.write_shown_fields(out);
    out.number("age", age.as_secs());
    out.field(CACHE_STATUS.as_str().as_bytes(), HIT.as_bytes());
    out.end();
}
