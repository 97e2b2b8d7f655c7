//! Purges: what edges must no longer serve from their caches.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{StatusCode, Uri},
    response::Response,
};
use headroom_steer::limits::{PURGE_TAG_LEN_MAX, PURGE_TEXT_LEN_MAX};
use headroom_units::{HostName, SiteId};
use headroom_wire::{NewPurge, Problem, PurgeScopeDocument, PurgesView, Text};

use super::{
    auth::Caller,
    body::{Json, json},
    path::Id,
    problem::{ApiError, ApiResult},
    sites,
};
use crate::{limits::PURGES_PER_CALL_MAX, start::Shared};

/// Purges stored responses of a site at all edges. It is in force at an edge when the edge has the
/// next plan.
#[utoipa::path(post, path = "/v1/sites/{id}/purges", tag = "sites", operation_id = "purgeSite",
    params(("id" = String, Path)), request_body = NewPurge,
    responses((status = 202, body = PurgesView), (status = "4XX", body = Problem)))]
pub(crate) async fn create(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Id(id): Id,
    body: Json<NewPurge>,
) -> ApiResult<Response> {
    let (site, hosts) = find(&shared, &caller, &id).await?;
    let scopes = scopes(body.value, &hosts)?;
    let purges = shared.store.add_purges(&site, scopes).await?;
    shared.plan_wanted.notify_one();
    Ok(json(StatusCode::ACCEPTED, &PurgesView { site: Text(site), purges }))
}

/// The site with its host names, if it exists and the caller may change it. The operator may purge
/// every site, and alone its own.
async fn find(shared: &Shared, caller: &Caller, id: &str) -> ApiResult<(SiteId, Vec<HostName>)> {
    let own = shared.config.own_sites.iter().find(|own| own.id.as_str() == id);
    if let (Caller::Operator, Some(own)) = (caller, own) {
        return Ok((own.id.clone(), own.hosts.iter().map(|(host, _)| host.clone()).collect()));
    }
    let site = sites::find(shared, caller, id).await?;
    Ok((site.site.id.0, site.hosts.into_iter().map(|host| host.host).collect()))
}

fn scopes(asked: NewPurge, hosts: &[HostName]) -> ApiResult<Vec<PurgeScopeDocument>> {
    let NewPurge { all, urls, prefixes, tags } = asked;
    let count = urls.len() + prefixes.len() + tags.len();
    match (all, count) {
        (true, 0) => return Ok(vec![PurgeScopeDocument::All]),
        (true, _) => return Err(invalid("all stands alone: it purges every URL and tag")),
        (false, 0) => {
            return Err(invalid(
                "nothing is named; accepted is \"all\": true, or \"urls\", \"prefixes\" or \"tags\"",
            ));
        }
        (false, _) if count > PURGES_PER_CALL_MAX => {
            return Err(invalid(&format!(
                "{count} entries are too many for one call; accepted are {PURGES_PER_CALL_MAX}"
            )));
        }
        (false, _) => {}
    }
    let urls = urls.iter().map(|url| target(url, hosts).map(PurgeScopeDocument::Url));
    let prefixes = prefixes.iter().map(|url| target(url, hosts).map(PurgeScopeDocument::Prefix));
    let tags = tags.into_iter().map(|text| tag(text).map(PurgeScopeDocument::Tag));
    urls.chain(prefixes).chain(tags).collect()
}

/// Host, path and query of an absolute URL of the site. Scheme and port are not looked at, as both
/// lead to the same content.
fn target(url: &str, hosts: &[HostName]) -> ApiResult<String> {
    let refuse = |reason: &str| {
        Err(invalid(&format!(
            "{:?}: {reason}; accepted is a URL such as \"https://www.shop.example/img/a.png\"",
            told(url)
        )))
    };
    if url.len() > PURGE_TEXT_LEN_MAX {
        return refuse(&format!("it is longer than {PURGE_TEXT_LEN_MAX} bytes"));
    }
    let Ok(uri) = url.parse::<Uri>() else { return refuse("it is not a URL") };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return refuse("it does not begin with http:// or https://");
    }
    if url.contains('#') {
        return refuse("it has a fragment, which is never sent to a server");
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return refuse("it has user information");
    }
    let host = uri.host().unwrap_or_default().parse::<HostName>().ok();
    let Some(host) = host.filter(|host| hosts.contains(host)) else {
        return refuse("its host is not one of the site's");
    };
    let path_and_query = uri.path_and_query().map_or("/", |target| target.as_str());
    let root = if path_and_query.starts_with('/') { "" } else { "/" };
    Ok(format!("{host}{root}{path_and_query}"))
}

fn tag(text: String) -> ApiResult<String> {
    let fits = (1..=PURGE_TAG_LEN_MAX).contains(&text.len());
    if fits && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',') {
        return Ok(text);
    }
    Err(invalid(&format!(
        "{:?}: it is not a tag; accepted are 1 to {PURGE_TAG_LEN_MAX} visible ASCII characters \
         without space and comma",
        told(&text)
    )))
}

/// What a refusal repeats of an entry.
fn told(text: &str) -> String {
    text.chars().take(headroom_units::limits::TEXT_LEN_MAX).collect()
}

fn invalid(detail: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "invalid-purge").because(detail)
}
