//! The servers that remainders are assigned to: what purchasers report of them, what name servers
//! find out, and how both are shown.

use std::net::IpAddr;

use headroom_steer::{AssignAlgorithm, Server, ServerCheck, ServerReport};
use headroom_units::{Fraction, NameServerId, RegionId, SiteId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{AlgorithmDocument, Text, Time};

/// What a purchaser reports of servers of a site. Each report stands for itself: servers that are
/// not named keep theirs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewServerReports {
    /// For how long it counts, unless it is reported again: 1 s to an hour.
    pub expires_seconds: u64,
    /// The servers.
    pub servers: Vec<NewServerReport>,
}

/// What is reported of one server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewServerReport {
    /// One of its addresses.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// Whether visitors may be sent to it.
    #[serde(default = "yes")]
    pub healthy: bool,
    /// The part of it that is in use, "42 %".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub load: Option<Text<Fraction>>,
}

fn yes() -> bool {
    true
}

/// The servers of a site, and what is known of each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServersView {
    /// The site.
    #[schema(value_type = String)]
    pub site: Text<SiteId>,
    /// How one is chosen; none while nothing was provided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<AlgorithmDocument>,
    /// How they are checked by the network, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub check: Option<Text<ServerCheck>>,
    /// The servers, in their order.
    pub servers: Vec<ServerView>,
    /// For a site that is assigned by its own DNS: what each name server has been provided with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub provided: Vec<ProvidedView>,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServerView {
    /// Where it serves.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
    /// Its part relative to the others.
    pub weight: u32,
    /// The region of the network that it is near to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub region: Option<Text<RegionId>>,
    /// What its purchaser last reported, while it counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reports: Vec<ReportView>,
    /// What each name server's checks find.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checked: Vec<CheckedView>,
}

/// What is reported of a server, while it counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReportView {
    /// The address it was reported by.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// Whether visitors may be sent to it.
    pub healthy: bool,
    /// The part of it that is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub load: Option<Text<Fraction>>,
    /// Until when it counts.
    #[schema(value_type = String)]
    pub expires_at: Time,
}

/// What the checks of a name server find of a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckedView {
    /// The name server.
    #[schema(value_type = String)]
    pub name_server: Text<NameServerId>,
    /// Whether it is up.
    pub up: bool,
}

/// What a name server has been provided with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProvidedView {
    /// The name server.
    #[schema(value_type = String)]
    pub name_server: Text<NameServerId>,
    /// The TXT record that is in force; none if there was no good one yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What is wrong with the newest one, if anything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What purchasers report, from the exchange to the name servers. Each report replaces the one of
/// the same address that was made before it; what is not here is as it was.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ServerReportsMessage {
    /// The sites.
    pub sites: Vec<SiteReportsMessage>,
}

/// What is reported of the servers of one site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteReportsMessage {
    /// The site.
    pub site: Text<SiteId>,
    /// The reports.
    pub servers: Vec<ServerReportMessage>,
}

/// One report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerReportMessage {
    /// An address of the server.
    pub address: IpAddr,
    /// Whether visitors may be sent to it.
    pub healthy: bool,
    /// The part of it that is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Text<Fraction>>,
    /// When it was said.
    pub reported_at: Time,
    /// Until when it counts.
    pub expires_at: Time,
}

/// What a name server knows of the servers of one site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AssignmentMessage {
    /// The site.
    pub site: Text<SiteId>,
    /// The assignment that the purchaser's name server has provided, as its TXT record says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provided: Option<String>,
    /// What is wrong with the newest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Each server that is checked, by its first address, and whether it is up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checked: Vec<(IpAddr, bool)>,
}

impl From<(IpAddr, &ServerReport)> for ServerReportMessage {
    fn from((address, report): (IpAddr, &ServerReport)) -> Self {
        Self {
            address,
            healthy: report.healthy,
            load: report.load.map(Text),
            reported_at: Time(report.reported_at),
            expires_at: Time(report.expires_at),
        }
    }
}

impl From<ServerReportMessage> for (IpAddr, ServerReport) {
    fn from(message: ServerReportMessage) -> Self {
        let report = ServerReport {
            healthy: message.healthy,
            load: message.load.map(|load| load.0),
            reported_at: message.reported_at.0,
            expires_at: message.expires_at.0,
        };
        (message.address, report)
    }
}

impl From<(IpAddr, &ServerReport)> for ReportView {
    fn from((address, report): (IpAddr, &ServerReport)) -> Self {
        Self {
            address,
            healthy: report.healthy,
            load: report.load.map(Text),
            expires_at: Time(report.expires_at),
        }
    }
}

impl ServersView {
    /// The servers of a site about which nothing is known yet.
    #[must_use]
    pub fn new(
        site: SiteId,
        algorithm: Option<AssignAlgorithm>,
        check: Option<ServerCheck>,
        servers: &[Server],
    ) -> Self {
        let view = |server: &Server| ServerView {
            addresses: server.addresses.clone(),
            weight: server.weight,
            region: server.region.clone().map(Text),
            reports: Vec::new(),
            checked: Vec::new(),
        };
        Self {
            site: Text(site),
            algorithm: algorithm.map(Into::into),
            check: check.map(Text),
            servers: servers.iter().map(view).collect(),
            provided: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use headroom_units::Timestamp;

    use super::*;

    #[test]
    fn a_report_goes_over_the_bus_and_comes_back() {
        let report = ServerReport {
            healthy: false,
            load: Fraction::from_millionths(420_000),
            reported_at: Timestamp::from_millis(1_500),
            expires_at: Timestamp::from_seconds(30),
        };
        let address: IpAddr = "2001:db8::1".parse().unwrap();
        let message = ServerReportMessage::from((address, &report));
        let text = serde_json::to_string(&message).unwrap();
        assert_eq!(
            text,
            r#"{"address":"2001:db8::1","healthy":false,"load":"42 %","reported_at":"1970-01-01T00:00:01.5Z","expires_at":"1970-01-01T00:00:30Z"}"#
        );
        let message: ServerReportMessage = serde_json::from_str(&text).unwrap();
        assert_eq!(<(IpAddr, ServerReport)>::from(message), (address, report));
    }

    #[test]
    fn a_server_is_healthy_unless_it_is_said_otherwise() {
        let of = |text: &str| serde_json::from_str::<NewServerReport>(text);
        assert!(of(r#"{"address":"192.0.2.1"}"#).unwrap().healthy);
        assert!(of(r#"{"address":"192.0.2.1","load":0.4}"#).is_err(), "a number without a unit");
        assert!(of(r#"{"address":"192.0.2.1","helthy":false}"#).is_err());
    }
}
