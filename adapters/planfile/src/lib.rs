//! The last plan on local disk, so that `dns` and `edge` start with everything else gone.
//!
//! A file is replaced as a whole: written beside, synced, renamed. It is never half a plan.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use headroom_steer::{Plan, Severity, check};
use headroom_wire::PlanDocument;

/// Why a plan file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanFileError {
    /// The file cannot be read.
    #[error("cannot read the plan file {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write the plan file {}: {source}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not a plan.
    #[error("{} is not a plan: {source}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The plan fails its check.
    #[error("the plan in {} fails its check: {finding}", path.display())]
    Unsound {
        /// Which file.
        path: PathBuf,
        /// The first finding.
        finding: String,
    },
}

/// The plan in the file at `path`; `None` if there is no such file.
///
/// # Errors
/// If the file cannot be read, is not a plan, or the plan fails its check.
pub fn load(path: &Path) -> Result<Option<Plan>, PlanFileError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(PlanFileError::Read { path: path.to_owned(), source }),
    };
    let document: PlanDocument = serde_json::from_slice(&bytes)
        .map_err(|source| PlanFileError::Malformed { path: path.to_owned(), source })?;
    let plan = Plan::from(document);
    match check(&plan).into_iter().find(|note| note.severity == Severity::Error) {
        None => Ok(Some(plan)),
        Some(note) => {
            Err(PlanFileError::Unsound { path: path.to_owned(), finding: note.to_string() })
        }
    }
}

/// Replaces the file at `path` with `plan`.
///
/// # Errors
/// If it cannot be written; the file is as before then.
pub fn save(path: &Path, plan: &Plan) -> Result<(), PlanFileError> {
    let failed = |source| PlanFileError::Write { path: path.to_owned(), source };
    let json = serde_json::to_vec_pretty(&PlanDocument::from(plan))
        .map_err(|error| failed(error.into()))?;
    let beside = path.with_extension("new");
    let mut file = fs::File::create(&beside).map_err(failed)?;
    file.write_all(&json).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use headroom_steer::{Edge, NameServer, Region};
    use headroom_units::{Generation, Timestamp};

    use super::*;

    fn plan() -> Plan {
        let edge = Edge { addresses: vec!["192.0.2.1".parse().unwrap()], healthy: true };
        let region = Region {
            client_prefixes: vec!["10.0.0.0/8".parse().unwrap()],
            edges: BTreeMap::from([("east-1".parse().unwrap(), edge)]),
        };
        let server = NameServer {
            host: "ns1.cdn.example".parse().unwrap(),
            addresses: vec!["192.0.2.53".parse().unwrap()],
        };
        Plan {
            generation: Generation::new(7),
            made_at: Timestamp::from_seconds(1_000),
            zone: "cdn.example".parse().unwrap(),
            name_servers: BTreeMap::from([("ns1".parse().unwrap(), server)]),
            ttl: Duration::from_secs(20),
            default_region: "east".parse().unwrap(),
            regions: BTreeMap::from([("east".parse().unwrap(), region)]),
            sites: BTreeMap::new(),
        }
    }

    #[test]
    fn a_plan_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        assert!(load(&path).unwrap().is_none());
        save(&path, &plan()).unwrap();
        save(&path, &plan()).unwrap();
        assert_eq!(load(&path).unwrap().unwrap(), plan());
    }

    #[test]
    fn what_is_not_a_sound_plan_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        fs::write(&path, "{}").unwrap();
        assert!(load(&path).unwrap_err().to_string().contains("is not a plan"));
        let mut unsound = plan();
        unsound.regions.clear();
        save(&path, &unsound).unwrap();
        assert!(load(&path).unwrap_err().to_string().contains("fails its check"));
    }
}
