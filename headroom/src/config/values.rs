//! How single values are read: each function takes a text and refuses it with a reason.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};

use headroom_steer::SiteRules;
use headroom_units::{
    BitRate, Bytes, Currency, Fraction, Origin, OriginHost, Price, QueryRule, SlotLength, UnitSize,
    Units,
};
use ipnet::IpNet;

use super::{duration, limits, mistake::Refusal, reader::parsed};

const DNS_PORT: u16 = 53;

/// A duration within `range`.
pub(super) fn duration(
    range: RangeInclusive<Duration>,
) -> impl Fn(&str) -> Result<Duration, Refusal> {
    move |text| duration::parse(text, &range)
}

/// A duration of whole seconds within `range`.
pub(super) fn seconds(
    range: RangeInclusive<Duration>,
) -> impl Fn(&str) -> Result<Duration, Refusal> {
    move |text| {
        let duration = duration::parse(text, &range)?;
        if duration.subsec_nanos() == 0 {
            return Ok(duration);
        }
        Err(Refusal::new("it is not a number of whole seconds", "whole seconds, such as \"20s\""))
    }
}

/// How long a slot is.
pub(super) fn slot(text: &str) -> Result<SlotLength, Refusal> {
    let duration = duration::parse(text, &limits::SLOT)?;
    let whole = duration.subsec_nanos() == 0;
    SlotLength::from_seconds(duration.as_secs()).filter(|_| whole).ok_or_else(|| {
        Refusal::new(
            "it does not divide a day",
            "whole seconds that divide 24 hours, such as \"10s\", \"5m\", \"15m\" or \"1h\"",
        )
    })
}

/// The egress of one unit.
pub(super) fn unit_size(text: &str) -> Result<UnitSize, Refusal> {
    let egress: BitRate = parsed(text)?;
    UnitSize::new(egress)
        .ok_or_else(|| Refusal::new("it is zero", "more than none, such as \"0.5 Mbit/s\""))
}

/// What an edge can serve.
pub(super) fn capacity(text: &str) -> Result<Units, Refusal> {
    match parsed::<Units>(text)? {
        Units::ZERO => Err(Refusal::new("it is zero", "at least \"1 unit\"")),
        units => Ok(units),
    }
}

/// A price per unit and slot; anything while the currency itself is wrong.
pub(super) fn price(currency: Option<Currency>) -> impl Fn(&str) -> Result<Price, Refusal> {
    move |text| match currency {
        Some(currency) => Price::parse(text, currency).map_err(|error| {
            let accepted = format!("a number and {currency}, such as \"0.0005 {currency}\"");
            Refusal::new(error.reason, accepted)
        }),
        None => Ok(Price::ZERO),
    }
}

/// The risk that less is unused than is offered.
pub(super) fn risk(text: &str) -> Result<Fraction, Refusal> {
    let risk: Fraction = parsed(text)?;
    if risk == Fraction::ZERO || risk > Fraction::of(1, 2) {
        return Err(Refusal::new(
            "it is out of range: no forecast is without risk, and half is a coin flip",
            "more than 0 % up to 50 %, such as \"1 %\"",
        ));
    }
    Ok(risk)
}

/// A size in bytes within `range`.
pub(super) fn bytes(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<Bytes, Refusal> {
    move |text| {
        let bytes: Bytes = parsed(text)?;
        if range.contains(&bytes.count()) {
            return Ok(bytes);
        }
        let (from, to) = (Bytes::new(*range.start()), Bytes::new(*range.end()));
        Err(Refusal::new("it is out of range", format!("a size from \"{from}\" to \"{to}\"")))
    }
}

/// An address that clients can be sent to.
pub(super) fn address(text: &str) -> Result<IpAddr, Refusal> {
    let refuse = |reason: &str| Err(Refusal::new(reason, "an IP address, such as \"192.0.2.1\""));
    match text.parse::<IpAddr>() {
        Err(_) => refuse("it is not an IP address"),
        Ok(ip) if ip.is_unspecified() || ip.is_multicast() => refuse("no client can be sent to it"),
        Ok(IpAddr::V4(ip)) if ip.is_broadcast() => refuse("no client can be sent to it"),
        Ok(ip) => Ok(ip),
    }
}

/// A prefix of client addresses.
pub(super) fn prefix(text: &str) -> Result<IpNet, Refusal> {
    let Ok(prefix) = text.parse::<IpNet>() else {
        return Err(Refusal::new("it is not a prefix", "a prefix, such as \"10.0.0.0/8\""));
    };
    if prefix != prefix.trunc() {
        let accepted = format!("\"{}\"", prefix.trunc());
        return Err(Refusal::new("it has bits beyond its length", accepted));
    }
    if headroom_steer::is_too_fine(prefix) {
        let accepted = format!("\"{}\"", headroom_steer::client_prefix(prefix.addr(), u8::MAX));
        return Err(Refusal::new("it is finer than clients are told apart", accepted));
    }
    Ok(prefix)
}

/// An address and a port.
pub(super) fn socket(text: &str) -> Result<SocketAddr, Refusal> {
    text.parse().map_err(|_| {
        Refusal::new("it is not an IP address and a port", "such as \"192.0.2.1:8080\"")
    })
}

/// An origin server that can be connected to.
pub(super) fn origin(text: &str) -> Result<Origin, Refusal> {
    let origin: Origin = parsed(text)?;
    if let OriginHost::Address(ip) = origin.host {
        address(&ip.to_string())?;
    }
    Ok(origin)
}

/// A DNS server: an address, and a port if it is not 53.
pub(super) fn resolver(text: &str) -> Result<SocketAddr, Refusal> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, DNS_PORT));
    }
    text.parse().map_err(|_| {
        Refusal::new(
            "it is not an IP address",
            "an IP address and a port if it is not 53, such as \"192.0.2.53\"",
        )
    })
}

/// What of a query tells responses apart.
pub(super) fn query_rule(text: &str) -> Result<QueryRule, Refusal> {
    let query: QueryRule = parsed(text)?;
    let rules = SiteRules { query, ..SiteRules::default() };
    match rules.excess() {
        None => Ok(rules.query),
        Some(reason) => Err(Refusal { reason, accepted: None }),
    }
}

/// Whether something is kept: "kept" or "dropped".
pub(super) fn kept(text: &str) -> Result<bool, Refusal> {
    match text {
        "kept" => Ok(true),
        "dropped" => Ok(false),
        _ => Err(Refusal::new("it is neither", "\"kept\" or \"dropped\"")),
    }
}

/// Whether a server tells its id: "off" or "id".
pub(super) fn own_id(text: &str) -> Result<bool, Refusal> {
    match text {
        "off" => Ok(false),
        "id" => Ok(true),
        _ => Err(Refusal::new("it is neither", "\"off\" or \"id\"")),
    }
}

/// When a gate closes, within `range`, or "none" if there is none.
pub(super) fn gate(
    range: RangeInclusive<Duration>,
) -> impl Fn(&str) -> Result<Option<Duration>, Refusal> {
    move |text| match text {
        "none" => Ok(None),
        _ => duration::parse(text, &range).map(Some),
    }
}

/// A path; any text but none.
pub(super) fn path(text: &str) -> Result<String, Refusal> {
    if text.is_empty() {
        return Err(Refusal::new("it is empty", "a path, such as \"./headroom-data\""));
    }
    Ok(text.to_owned())
}
