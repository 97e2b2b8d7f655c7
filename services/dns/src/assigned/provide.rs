//! The task that looks for the texts: in a zone held here, else at the purchaser's name server.

use std::{collections::BTreeSet, net::Ipv4Addr, path::PathBuf, sync::Arc, time::Duration};

use domain::base::Rtype;
use headroom_steer::Assignment;
use headroom_units::{HostName, SiteId, Timestamp};
use ipnet::IpNet;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    by_dns, keep,
    metrics::TextOutcome,
    provided::{Provided, Texts},
};
use crate::{
    NameTable,
    forward::{Forwarder, Found as Told, Wish},
    limits,
    message::{Data, ExtendedErrorCode, Name},
    server::Shared,
    tables::Tables,
    zone::Found,
};

/// The label below which a host's text stands.
const LABEL: &str = "_headroom-assign";

type Answer = (SiteId, HostName, Result<Texts, String>);

/// Follows the texts of all sites that are assigned by their own DNS until told to stop.
pub(crate) async fn provide(shared: Arc<Shared>, tables: Arc<Tables>, stop: CancellationToken) {
    let mut changes = shared.assigned.changes();
    changes.mark_changed();
    let mut provider = Provider::new(shared, tables).await;
    let mut questions: JoinSet<Answer> = JoinSet::new();
    loop {
        provider.ask(&mut questions);
        let next = provider.provided.next().filter(|_| questions.len() < limits::PROVIDED_ASKS_MAX);
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changes.changed() => match changed {
                Ok(()) => provider.follow().await,
                Err(_) => return,
            },
            Some(ended) = questions.join_next() => provider.hear(ended),
            () = until(next) => {}
        }
        while let Some(ended) = questions.try_join_next() {
            provider.hear(ended);
        }
        provider.put_in_force().await;
    }
}

async fn until(next: Option<Timestamp>) {
    match next {
        Some(next) => tokio::time::sleep(next.since(headroom_clock::now())).await,
        None => std::future::pending().await,
    }
}

struct Provider {
    shared: Arc<Shared>,
    tables: Arc<Tables>,
    provided: Provided,
    /// The sites for which something else has to be put in force.
    changed: BTreeSet<SiteId>,
    /// What the file has, as long as no plan says whether it is still wanted.
    saved: Vec<(SiteId, HostName, Assignment)>,
    file: Option<PathBuf>,
}

impl Provider {
    async fn new(shared: Arc<Shared>, tables: Arc<Tables>) -> Self {
        let file = shared.assigned.config.file.clone();
        let path = file.clone();
        let load = move || path.map_or(Ok(Vec::new()), |path| keep::load(&path));
        let saved = match tokio::task::spawn_blocking(load).await {
            Ok(Ok(saved)) => saved,
            Ok(Err(error)) => {
                tracing::error!(%error, "saved assignments cannot be read");
                Vec::new()
            }
            Err(_) => Vec::new(),
        };
        let (provided, changed) = (Provided::default(), BTreeSet::new());
        Self { shared, tables, provided, changed, saved, file }
    }

    /// Takes up the sites of the plan in force, and what zones held here say.
    async fn follow(&mut self) {
        let Some(plan) = self.shared.responder().plan() else { return };
        let now = headroom_clock::now();
        self.changed.extend(self.provided.follow(&by_dns(&plan), now));
        for (site, host, assignment) in std::mem::take(&mut self.saved) {
            if self.provided.resume(&site, &host, assignment) {
                tracing::info!(%site, %host, "a saved assignment is in force");
                self.changed.insert(site);
            }
        }
        let hosts: Vec<_> =
            self.provided.hosts().map(|(site, host)| (site.clone(), host.clone())).collect();
        for (site, host) in hosts {
            let held = text_name(&host).and_then(|name| {
                let responder = self.shared.responder();
                held(responder.table(), &name)
            });
            if let Some(found) = held {
                self.take(&site, &host, found);
            }
        }
    }

    /// Begins to ask for what is due, as far as there is room.
    fn ask(&mut self, questions: &mut JoinSet<Answer>) {
        let now = headroom_clock::now();
        let hosts: Vec<_> =
            self.provided.hosts().map(|(site, host)| (site.clone(), host.clone())).collect();
        for (site, host) in hosts {
            if questions.len() >= limits::PROVIDED_ASKS_MAX {
                return;
            }
            if self.provided.begin(&site, now) {
                let shared = Arc::clone(&self.shared);
                questions.spawn(async move {
                    let found = look_for(&shared, &host).await;
                    (site, host, found)
                });
            }
        }
    }

    fn hear(&mut self, ended: Result<Answer, JoinError>) {
        match ended {
            Ok((site, host, found)) => self.take(&site, &host, found),
            Err(error) => tracing::error!(%error, "a text could not be asked for"),
        }
    }

    fn take(&mut self, site: &SiteId, host: &HostName, found: Result<Texts, String>) {
        let before = self.provided.state(site).1.map(str::to_owned);
        let Some(outcome) = self.provided.take(site, host, found, headroom_clock::now()) else {
            return;
        };
        self.shared.assigned.metrics.count_text(outcome);
        self.shared.assigned.metrics.set_sites_failing(self.provided.count_failing());
        let (good, error) = self.provided.state(site);
        if let Some(error) = error.filter(|error| before.as_deref() != Some(*error)) {
            let kept = good.is_some();
            tracing::warn!(%site, %host, error, kept, "an assignment cannot be used");
        }
        let text = good.map(ToString::to_string);
        self.shared.assigned.status().set_provided(site, text, error.map(str::to_owned));
        if outcome == TextOutcome::Changed {
            tracing::info!(%site, %host, "an assignment is provided");
            self.changed.insert(site.clone());
        }
    }

    /// Puts what has changed in force: where zones are signed, when it is signed.
    async fn put_in_force(&mut self) {
        let sites = std::mem::take(&mut self.changed);
        if sites.is_empty() {
            return;
        }
        for site in &sites {
            let mut provided = self.shared.assigned.provided();
            match self.provided.state(site).0 {
                Some(good) => drop(provided.insert(site.clone(), Arc::clone(good))),
                None => drop(provided.remove(site)),
            }
        }
        let tables = Arc::clone(&self.tables);
        if let Err(error) = tokio::task::spawn_blocking(move || tables.sign_provided()).await {
            tracing::error!(%error, "what is provided could not be signed");
        }
        for site in &sites {
            let (good, error) = self.provided.state(site);
            if let Some(assignments) = self.shared.responder().assignments_mut() {
                match good {
                    Some(good) => assignments.provide(site.clone(), (**good).clone()),
                    None => assignments.withdraw(site),
                }
            }
            let (text, error) = (good.map(ToString::to_string), error.map(str::to_owned));
            self.shared.assigned.status().set_provided(site, text, error);
        }
        // There may be other servers to check.
        self.shared.assigned.change();
        self.save().await;
    }

    /// A restart falls back to what is saved.
    async fn save(&self) {
        let Some(path) = self.file.clone() else { return };
        let good = self.provided.good();
        let texts: Vec<_> =
            good.map(|(site, host, good)| (site.clone(), host.clone(), Arc::clone(good))).collect();
        let work =
            move || keep::save(&path, texts.iter().map(|(site, host, good)| (site, host, &**good)));
        if let Ok(Err(error)) = tokio::task::spawn_blocking(work).await {
            tracing::error!(%error, "assignments are in force but not saved");
        }
    }
}

/// The name of a host's text; none if there is no room for the label.
fn text_name(host: &HostName) -> Option<Name> {
    Name::bytes_from_str(&format!("{LABEL}.{host}")).ok()
}

/// What stands at the name of a host's text.
async fn look_for(shared: &Shared, host: &HostName) -> Result<Texts, String> {
    let name = text_name(host).ok_or("the name of its TXT record would be too long")?;
    let found = held(shared.responder().table(), &name);
    match found {
        Some(found) => found,
        None => ask(&shared.forwarder, name).await,
    }
}

/// What a zone that is held here has at a name, behind CNAMEs if need be; `None` if none has it.
fn held(table: &NameTable, name: &Name) -> Option<Result<Texts, String>> {
    let mut name = name.clone();
    let mut ttl_max = u32::MAX;
    for step in 0..limits::CHAIN_MAX {
        let zone = table.zone(&name, Rtype::TXT).filter(|zone| !zone.is_assumed());
        let zone = zone.filter(|zone| !matches!(zone.find(&name, Rtype::TXT), Found::Cut(..)));
        let Some(zone) = zone else {
            let elsewhere = || Err(format!("it is an alias of {name}, which no zone here has"));
            return (step > 0).then(elsewhere);
        };
        if let Some(why) = zone.why_absent() {
            let is_new = why == ExtendedErrorCode::NOT_READY;
            let word = if is_new { "not there yet" } else { "expired" };
            return Some(Err(format!("the zone {} is {word}", zone.name())));
        }
        let node = match zone.find(&name, Rtype::TXT) {
            Found::Node(node) => Some(node),
            _ => None,
        };
        let set = |rtype| node.and_then(|node| node.set(rtype));
        let alias = set(Rtype::CNAME).and_then(|set| match set.data.first() {
            Some(Data::Cname(cname)) => Some((cname.cname().clone(), set.ttl)),
            _ => None,
        });
        if let Some((target, ttl)) = alias {
            (name, ttl_max) = (target, ttl_max.min(ttl));
            continue;
        }
        let set = set(Rtype::TXT);
        let texts = set.map(|set| texts(&set.data)).unwrap_or_default();
        let ttl = set.map_or(limits::NEGATIVE_TTL, |set| set.ttl).min(ttl_max);
        return Some(Ok(Texts { texts, ttl: Duration::from_secs(ttl.into()) }));
    }
    Some(Err("its aliases do not end".to_owned()))
}

/// What the purchaser's name server has there. It is told nothing of clients: all get the same.
async fn ask(forwarder: &Forwarder, name: Name) -> Result<Texts, String> {
    if !forwarder.covers(&name) {
        return Err(format!(
            "no zone that is held here has {name}, and nobody can be asked for it"
        ));
    }
    let client = IpNet::new(Ipv4Addr::UNSPECIFIED.into(), 0).map_err(|error| error.to_string())?;
    let Told { data, ttl, .. } = forwarder.ask(&Wish { name, rtype: Rtype::TXT, client }).await?;
    Ok(Texts { texts: texts(&data), ttl })
}

/// The TXT records among these, the strings of each joined.
fn texts(data: &[Data]) -> Vec<Vec<u8>> {
    let text = |data: &Data| match data {
        Data::Txt(txt) => Some(txt.iter().flatten().copied().collect()),
        _ => None,
    };
    data.iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Zone;

    #[test]
    fn a_text_is_found_in_a_zone_behind_aliases_too() {
        let zone = "$ORIGIN shop.example.\n@ 60 SOA ns1 a 7 2 3 4 5\n@ NS ns1\n\
             _headroom-assign.www 300 TXT \"v=headroom1; \" \"x\"\n\
             _headroom-assign.www TXT \"v=spf1\"\n\
             _headroom-assign.img 30 CNAME _headroom-assign.www\n\
             _headroom-assign.out CNAME text.other.example.\n\
             _headroom-assign.loop CNAME _headroom-assign.loop\n\
             sub NS ns1.other.example.\nbare A 192.0.2.1\n";
        let table = NameTable::of_zones(&[Arc::new(Zone::parse(zone).unwrap())]);
        let told = |host: &str| {
            let name = text_name(&host.parse().unwrap()).unwrap();
            held(&table, &name).map(|found| {
                let Texts { texts, ttl } = found?;
                let texts: Vec<_> =
                    texts.iter().map(|text| String::from_utf8_lossy(text)).collect();
                Ok::<_, String>(format!("{} {}", texts.join("|"), ttl.as_secs()))
            })
        };
        let texts = |ttl: u64| Some(Ok(format!("v=headroom1; x|v=spf1 {ttl}")));
        assert_eq!(told("www.shop.example"), texts(300));
        assert_eq!(told("img.shop.example"), texts(30));
        assert_eq!(told("bare.shop.example"), Some(Ok(" 60".to_owned())));
        assert!(told("out.shop.example").unwrap().unwrap_err().contains("text.other.example"));
        assert!(told("loop.shop.example").unwrap().unwrap_err().contains("do not end"));
        assert_eq!(told("x.sub.shop.example"), None, "it is delegated");
        assert_eq!(told("www.other.example"), None);
    }
}
