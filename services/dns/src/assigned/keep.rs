//! The last good texts on local disk, so that a start needs no other name server.
//!
//! One line for each site: its id, the host that provides, the text. The file is replaced as a whole.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
};

use headroom_steer::Assignment;
use headroom_units::{HostName, SiteId};

use crate::{limits, replace::replace};

/// The texts in the file at `path`; lines that are not sound are left out.
pub(super) fn load(path: &Path) -> io::Result<Vec<(SiteId, HostName, Assignment)>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(limits::PROVIDED_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text.lines().filter_map(line).collect())
}

fn line(line: &str) -> Option<(SiteId, HostName, Assignment)> {
    let mut parts = line.splitn(3, ' ');
    let (site, host, text) = (parts.next()?, parts.next()?, parts.next()?);
    let read = || Some((site.parse().ok()?, host.parse().ok()?, text.parse().ok()?));
    let read = read();
    if read.is_none() {
        tracing::warn!(site, "a saved assignment is not used: it is damaged");
    }
    read
}

/// Replaces the file at `path`.
pub(super) fn save<'a>(
    path: &Path,
    texts: impl Iterator<Item = (&'a SiteId, &'a HostName, &'a Assignment)>,
) -> io::Result<()> {
    let lines = texts.map(|(site, host, assignment)| format!("{site} {host} {assignment}\n"));
    replace(path, 0o644, &[lines.collect::<String>().as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_and_damaged_lines_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ns1").join("assignments");
        assert!(load(&path).unwrap().is_empty());
        let text = "v=headroom1; algorithm=region; check=tcp:443; server=192.0.2.1,region=east";
        let kept: (SiteId, HostName, Assignment) =
            ("shop".parse().unwrap(), "www.shop.example".parse().unwrap(), text.parse().unwrap());
        save(&path, std::iter::once((&kept.0, &kept.1, &kept.2))).unwrap();
        assert_eq!(load(&path).unwrap(), std::slice::from_ref(&kept));
        let damaged = format!(
            "shop\nshop www.shop.example v=headroom1; algo\n\nshop www.shop.example {text}\n"
        );
        fs::write(&path, damaged).unwrap();
        assert_eq!(load(&path).unwrap(), [kept]);
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(load(&path).is_err());
    }
}
