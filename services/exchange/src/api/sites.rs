//! Sites and proofs of control over their host names.

use std::{collections::BTreeSet, sync::Arc};

use axum::{extract::State, http::StatusCode, response::Response};
use headroom_steer::{self as steer, PlanInput, Severity};
use headroom_store::{ProofOutcome, StoredHost, StoredSite};
use headroom_units::{HostName, PurchaserId};
use headroom_wire::{HostView, NewSite, Problem, RemainderDocument, SiteView, Text};

use super::{
    auth::Caller,
    body::{Json, json},
    path::Id,
    problem::{ApiError, ApiResult},
};
use crate::{
    ExchangeConfig, limits::SITES_PER_PURCHASER_MAX, proof, reconcile::plan, secret, start::Shared,
};

/// Registers a site. Its host names are served after control of them was proved.
#[utoipa::path(post, path = "/v1/sites", tag = "sites", operation_id = "createSite", request_body = NewSite,
    responses((status = 201, body = SiteView), (status = 200, body = SiteView),
              (status = "4XX", body = Problem)))]
pub(crate) async fn create(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    body: Json<NewSite>,
) -> ApiResult<Response> {
    let purchaser = caller.require_purchaser()?;
    let site = body.value;
    let names: BTreeSet<&HostName> = site.hosts.iter().map(|host| &host.0).collect();
    if names.is_empty() || names.len() != site.hosts.len() {
        return Err(ApiError::invalid("a site has at least one host name, and none twice"));
    }
    check_remainder(&shared.config, &site)?;
    let sites = shared.store.sites().await?;
    if let Some(known) = sites.iter().find(|known| known.site.id == site.id) {
        return same_again(&shared, purchaser, known, &site);
    }
    if shared.config.own_sites.iter().any(|own| own.id == site.id.0) {
        return Err(id_taken(&site));
    }
    if sites.iter().filter(|known| known.purchaser == *purchaser).count() >= SITES_PER_PURCHASER_MAX
    {
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too-many-sites")
            .because(format!("a purchaser has at most {SITES_PER_PURCHASER_MAX} sites")));
    }
    for host in &site.hosts {
        refuse_taken(&shared.config, &sites, &site, &host.0)?;
    }
    let hosts = site
        .hosts
        .iter()
        .map(|host| {
            let challenge = secret::new("headroom-site=")?;
            Ok(StoredHost { host: host.0.clone(), challenge, proved: false })
        })
        .collect::<ApiResult<_>>()?;
    let stored = StoredSite { purchaser: purchaser.clone(), site, hosts };
    check(&shared, &stored).await?;
    if !shared.store.add_site(&stored).await? {
        // Somebody was faster; if that was the same call, it is the same site.
        let sites = shared.store.sites().await?;
        let known = sites.iter().find(|known| known.site.id == stored.site.id);
        let known = known.ok_or_else(|| id_taken(&stored.site))?;
        return same_again(&shared, purchaser, known, &stored.site);
    }
    Ok(json(StatusCode::CREATED, &view(&shared, &stored)?))
}

/// The caller's sites.
#[utoipa::path(get, path = "/v1/sites", tag = "sites", operation_id = "listSites",
    responses((status = 200, body = Vec<SiteView>), (status = "4XX", body = Problem)))]
pub(crate) async fn list(State(shared): State<Arc<Shared>>, caller: Caller) -> ApiResult<Response> {
    let sites = shared.store.sites().await?;
    let views = sites
        .iter()
        .filter(|site| caller.may_see(&site.purchaser))
        .map(|site| view(&shared, site))
        .collect::<ApiResult<Vec<_>>>()?;
    Ok(json(StatusCode::OK, &views))
}

/// One site.
#[utoipa::path(get, path = "/v1/sites/{id}", tag = "sites", operation_id = "showSite", params(("id" = String, Path)),
    responses((status = 200, body = SiteView), (status = "4XX", body = Problem)))]
pub(crate) async fn show(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Id(id): Id,
) -> ApiResult<Response> {
    let site = find(&shared, &caller, &id).await?;
    Ok(json(StatusCode::OK, &view(&shared, &site)?))
}

/// Looks up the TXT records of all host names that are not proved yet, and takes them in.
#[utoipa::path(post, path = "/v1/sites/{id}/verify", tag = "sites", operation_id = "verifySite", params(("id" = String, Path)),
    responses((status = 200, body = SiteView), (status = "4XX", body = Problem)))]
pub(crate) async fn verify(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Id(id): Id,
) -> ApiResult<Response> {
    let site = find(&shared, &caller, &id).await?;
    let mut missing = Vec::new();
    for host in site.hosts.iter().filter(|host| !host.proved) {
        let wanted = format!(
            "accepted is a TXT record {} that says {:?}",
            proof::challenge_name(&host.host),
            host.challenge
        );
        match proof::look_up(&host.host, &shared.config.resolvers).await {
            Ok(texts) if texts.contains(&host.challenge) => {
                let now = headroom_clock::now();
                match shared.store.prove_host(&site.site.id.0, &host.host, now).await? {
                    ProofOutcome::Proved => {}
                    ProofOutcome::TakenByAnother => {
                        missing.push(format!("{} is proved by another site", host.host));
                    }
                }
            }
            Ok(_) => missing.push(format!("the record says something else: {wanted}")),
            Err(reason) => missing.push(format!("{reason}: {wanted}")),
        }
    }
    shared.plan_wanted.notify_one();
    if !missing.is_empty() {
        return Err(ApiError::new(StatusCode::CONFLICT, "not-proved")
            .because(format!("control was not proved: {}", missing.join("; "))));
    }
    let site = find(&shared, &caller, &id).await?;
    Ok(json(StatusCode::OK, &view(&shared, &site)?))
}

/// The site if it exists and the caller may see it.
pub(super) async fn find(shared: &Shared, caller: &Caller, id: &str) -> ApiResult<StoredSite> {
    shared
        .store
        .sites()
        .await?
        .into_iter()
        .find(|site| site.site.id.0.as_str() == id && caller.may_see(&site.purchaser))
        .ok_or_else(|| ApiError::not_found(format!("you have no site {id:?}")))
}

/// Refuses an assignment that contradicts the site or the network. A plan lives with it: hosts may
/// not be proved yet, and the operator may take regions away.
fn check_remainder(config: &ExchangeConfig, site: &NewSite) -> ApiResult<()> {
    match &site.remainder {
        RemainderDocument::AssignByDns { host } if !site.hosts.contains(host) => {
            Err(ApiError::invalid(format!(
                "{} is no host name of the site; accepted is the one below which the TXT record \
                 _headroom-assign stands",
                host.0
            )))
        }
        RemainderDocument::Assign { servers, .. } => {
            let regions = &config.fleet.regions;
            let named = servers.iter().filter_map(|server| server.region.as_ref());
            let Some(unknown) = named.map(|region| &region.0).find(|id| !regions.contains_key(*id))
            else {
                return Ok(());
            };
            let known: Vec<_> = regions.keys().map(ToString::to_string).collect();
            let accepted = known.join(", ");
            Err(ApiError::invalid(format!(
                "there is no region {unknown} for a server; accepted are {accepted}"
            )))
        }
        _ => Ok(()),
    }
}

/// Refuses a site that no plan could serve: what a plan with it is found to have wrong, and a plan
/// without it has not.
async fn check(shared: &Shared, stored: &StoredSite) -> ApiResult<()> {
    let errors = |input: &PlanInput| -> BTreeSet<String> {
        let notes = steer::check(&steer::plan(input)).into_iter();
        notes
            .filter(|note| note.severity == Severity::Error)
            .map(|note| format!("{}: {}", note.about, note.finding))
            .collect()
    };
    let mut input = plan::input(shared).await?;
    let before = errors(&input);
    let mut site = plan::site(stored);
    site.hosts.iter_mut().for_each(|(_, proved)| *proved = true);
    input.sites.push(site);
    let found: Vec<_> = errors(&input).difference(&before).cloned().collect();
    if found.is_empty() { Ok(()) } else { Err(ApiError::invalid(found.join("; "))) }
}

fn same_again(
    shared: &Shared,
    purchaser: &PurchaserId,
    known: &StoredSite,
    asked: &NewSite,
) -> ApiResult<Response> {
    if known.purchaser == *purchaser && known.site == *asked {
        return Ok(json(StatusCode::OK, &view(shared, known)?));
    }
    Err(id_taken(asked))
}

fn id_taken(site: &NewSite) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, "site-exists")
        .because(format!("the site id {} is taken; choose another", site.id.0))
}

/// A name that was proved for another site, or is the operator's own, cannot be claimed.
fn refuse_taken(
    config: &ExchangeConfig,
    sites: &[StoredSite],
    site: &NewSite,
    host: &HostName,
) -> ApiResult<()> {
    let proved = sites
        .iter()
        .any(|other| other.hosts.iter().any(|known| known.proved && known.host == *host));
    let own = config.own_sites.iter().flat_map(|own| &own.hosts).any(|(known, _)| known == host);
    if proved || own {
        return Err(ApiError::new(StatusCode::CONFLICT, "host-taken").because(format!(
            "{host} is served for another site; choose other host names for site {}",
            site.id.0
        )));
    }
    Ok(())
}

fn view(shared: &Shared, stored: &StoredSite) -> ApiResult<SiteView> {
    let site = &stored.site;
    let cname = shared
        .config
        .fleet
        .zone
        .child(site.id.0.as_str())
        .map_err(|error| ApiError::invalid(error.to_string()))?;
    Ok(SiteView {
        id: site.id.clone(),
        purchaser: Text(stored.purchaser.clone()),
        hosts: stored
            .hosts
            .iter()
            .map(|host| HostView {
                host: Text(host.host.clone()),
                proved: host.proved,
                challenge_name: proof::challenge_name(&host.host),
                challenge_value: host.challenge.clone(),
            })
            .collect(),
        cname: Text(cname),
        origins: site.origins.clone(),
        remainder: site.remainder.clone(),
        over_share: site.over_share,
        fallback: site.fallback.clone(),
        rules: site.rules.clone(),
    })
}
