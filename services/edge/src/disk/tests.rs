//! The disk tier from outside: restarts, kills, damage, a full disk.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    env, fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command as Process, Stdio},
    sync::atomic::Ordering,
    thread,
    time::Instant,
};

use tempfile::TempDir;

use super::*;

const MIB: u64 = 1024 * 1024;
/// How many values are put before they are damaged.
const VALUES: u64 = 1_200;
/// Where the other process of a test works.
const PLACE: &str = "HEADROOM_DISK_TEST";

fn open(directory: &Path, mib: u64) -> Disk {
    Disk::open(&DiskConfig { directory: directory.to_owned(), bytes: mib * MIB }).unwrap()
}

fn key(number: u64) -> Vec<u8> {
    format!("site/https/host/object-{number}").into_bytes()
}

/// A value that tells what it is of: any other is wrong.
fn value(number: u64, version: u64, bytes: usize) -> Bytes {
    let mut random = Random(number ^ version << 32);
    let mut value = [number.to_le_bytes(), version.to_le_bytes()].concat();
    while value.len() < bytes {
        value.extend_from_slice(&random.next().to_le_bytes());
    }
    value.into()
}

/// The version of `found`, if it is one of the values of this key.
fn version(number: u64, found: &Bytes) -> u64 {
    let version = u64::from_le_bytes(found[8..16].try_into().unwrap());
    assert!(*found == value(number, version, found.len()), "{number}: wrong bytes");
    version
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn length(&mut self, end: u64) -> usize {
        usize::try_from(16 + self.below(end)).unwrap()
    }
}

fn get(disk: &Disk, key: &[u8]) -> Option<Bytes> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let found = runtime.block_on(disk.get(key));
    assert!(found.is_none() || disk.may_hold(key));
    found
}

/// Waits until what was put is in the log.
fn written(disk: &Disk) {
    let begun = Instant::now();
    while disk.shared.queued_bytes.load(Ordering::Relaxed) > 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "the queue does not become empty");
        thread::yield_now();
    }
}

/// Puts even if the queue is full just now.
fn put(disk: &Disk, number: u64, version: u64, bytes: usize) {
    if disk.shared.queued_bytes.load(Ordering::Relaxed) > limits::DISK_QUEUE_BYTES_MAX / 2 {
        written(disk);
    }
    assert!(disk.put(key(number), value(number, version, bytes)));
}

#[test]
fn what_was_put_is_there_at_once_and_after_a_restart() {
    let directory = TempDir::new().unwrap();
    let disk = open(directory.path(), 64);
    let lengths = [16, 17, 4_095, 70_000, disk.value_bytes_max()];
    let check = |disk: &Disk| {
        for (number, length) in (0..).zip(lengths) {
            assert_eq!(get(disk, &key(number)), Some(value(number, 1, length)), "{length}");
        }
        assert_eq!(get(disk, b"empty").as_deref(), Some(&b""[..]));
        assert_eq!((get(disk, b"absent"), disk.may_hold(b"absent")), (None, false));
        assert_eq!(disk.entries(), lengths.len() + 1);
    };
    (0..).zip(lengths).for_each(|(number, length)| put(&disk, number, 1, length));
    assert!(disk.put(b"empty".to_vec(), Bytes::new()));
    check(&disk);
    written(&disk);
    check(&disk);
    drop(disk);
    for _ in 0..3 {
        let disk = open(directory.path(), 64);
        check(&disk);
        assert!(disk.bytes() > 1_000_000 && disk.bytes() < 3_000_000, "{}", disk.bytes());
    }
}

#[test]
fn what_is_too_large_is_refused_and_replaces_what_was_there() {
    let directory = TempDir::new().unwrap();
    let disk = open(directory.path(), 16);
    put(&disk, 1, 1, 100);
    assert!(!disk.put(key(1), vec![0; disk.value_bytes_max() + 1].into()));
    assert!(!disk.put(vec![0; limits::DISK_KEY_BYTES_MAX + 1], Bytes::new()));
    assert_eq!(get(&disk, &key(1)), None);
    assert_eq!((disk.counts().puts, disk.counts().refused), (1, 2));
    drop(disk);
    assert_eq!(get(&open(directory.path(), 16), &key(1)), None);
}

#[test]
fn the_disk_is_a_map_over_any_restarts() {
    let directory = TempDir::new().unwrap();
    let mut disk = open(directory.path(), 256);
    let mut model = BTreeMap::new();
    let mut random = Random(1);
    for step in 0..6_000 {
        let number = random.below(300);
        match random.below(400) {
            0 => {
                disk.close();
                disk = open(directory.path(), 256);
            }
            1 => written(&disk),
            2..150 => {
                disk.remove(&key(number));
                model.remove(&number);
            }
            _ => {
                let bytes = random.length(9_000);
                put(&disk, number, step, bytes);
                model.insert(number, value(number, step, bytes));
            }
        }
        let number = random.below(300);
        assert_eq!(disk.may_hold(&key(number)), model.contains_key(&number));
        if step % 10 == 0 {
            assert_eq!(get(&disk, &key(number)).as_ref(), model.get(&number));
        }
    }
    disk.close();
    let disk = open(directory.path(), 256);
    (0..300).for_each(|number| assert_eq!(get(&disk, &key(number)).as_ref(), model.get(&number)));
    assert_eq!(disk.entries(), model.len());
    assert_eq!(disk.counts().corrupt, 0);
}

#[test]
fn what_was_removed_stays_so_over_any_restarts() {
    let directory = TempDir::new().unwrap();
    let mut disk = open(directory.path(), 32);
    (0..2_000).for_each(|number| put(&disk, number, 1, 1_000));
    for round in 0..4 {
        (0..400).for_each(|number| disk.remove(&key(round * 400 + number)));
        disk.close();
        disk = open(directory.path(), 32);
        for number in 0..2_000 {
            let there = get(&disk, &key(number)).is_some();
            assert_eq!(there, number >= (round + 1) * 400, "{number} in round {round}");
        }
    }
}

#[test]
fn the_oldest_makes_room_for_the_newest() {
    let directory = TempDir::new().unwrap();
    let mut disk = open(directory.path(), 16);
    for round in 0..3 {
        let numbers = round * 1_000..(round + 1) * 1_000;
        numbers.clone().for_each(|number| put(&disk, number, 1, 40_000));
        written(&disk);
        let files = fs::read_dir(directory.path()).unwrap();
        let files: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!(files <= 16 * MIB && disk.bytes() <= 16 * MIB, "{files} {}", disk.bytes());
        let there: Vec<_> = numbers.clone().filter(|number| disk.may_hold(&key(*number))).collect();
        assert!(there.len() > 300, "{}", there.len());
        assert_eq!(
            there,
            (numbers.end - u64::try_from(there.len()).unwrap()..numbers.end).collect::<Vec<_>>()
        );
        assert_eq!(disk.entries(), there.len());
        for number in there {
            assert_eq!(version(number, &get(&disk, &key(number)).unwrap()), 1);
        }
        disk.close();
        disk = open(directory.path(), 16);
    }
    // With less room, a start gives up what is too much.
    disk.close();
    let larger = open(directory.path(), 64);
    (0..1_000).for_each(|number| put(&larger, number, 2, 40_000));
    drop(larger);
    let disk = open(directory.path(), 16);
    assert!(disk.bytes() <= 16 * MIB);
    assert_eq!(version(999, &get(&disk, &key(999)).unwrap()), 2);
    assert!(!disk.may_hold(&key(0)));
}

#[test]
fn another_key_with_the_same_hash_is_a_miss() {
    let directory = TempDir::new().unwrap();
    let disk = open(directory.path(), 16);
    put(&disk, 1, 1, 100);
    let (one, two) = (disk.hash(&key(1)), disk.hash(&key(2)));
    let Some(Entry::Queued(queued)) = disk.shared.index.find(one) else { return };
    assert_eq!(value_of(&queued, &key(2)), None);
    drop(queued);
    written(&disk);
    let Some(Entry::Stored(spot)) = disk.shared.index.find(one) else { panic!("not stored") };
    assert_eq!(read(&disk.shared, spot, one, &key(2)).unwrap(), None);
    assert_eq!(read(&disk.shared, spot, one, &key(1)).unwrap(), Some(value(1, 1, 100)));
    // A place that holds something else is damage, and what points there is forgotten.
    disk.shared.index.replay(two, Some(spot));
    assert_eq!(get(&disk, &key(2)), None);
    assert!(!disk.may_hold(&key(2)));
    assert_eq!(disk.counts().corrupt, 1);
}

#[test]
fn a_directory_that_cannot_be_used_is_told() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, b"").unwrap();
    let told = |directory: &Path, bytes| {
        let config = DiskConfig { directory: directory.to_owned(), bytes };
        Disk::open(&config).unwrap_err().to_string()
    };
    for directory in [file.join("cache"), file] {
        let told = told(&directory, 16 * MIB);
        assert!(told.contains(&*directory.to_string_lossy()), "{told}");
        assert!(told.contains("cannot be created"), "{told}");
    }
    assert!(told(directory.path(), 1).contains("less than 16777216 bytes"));
    fs::create_dir(directory.path().join("lock")).unwrap();
    assert!(told(directory.path(), 16 * MIB).contains("cannot be written to"));
}

#[test]
fn a_directory_has_one_user_and_the_next_may_wait() {
    let directory = TempDir::new().unwrap();
    let config = DiskConfig { directory: directory.path().to_owned(), bytes: 16 * MIB };
    let disk = Disk::open(&config).unwrap();
    put(&disk, 1, 1, 100);
    let refused = Disk::open(&config).unwrap_err();
    assert!(matches!(refused, EdgeError::DiskInUse { .. }), "{refused}");
    assert!(refused.to_string().contains("used by another process"), "{refused}");
    let waiting = {
        let config = config.clone();
        thread::spawn(move || Disk::open_within(&config, Duration::from_secs(30)).unwrap())
    };
    disk.close();
    let next = waiting.join().unwrap();
    assert_eq!(get(&next, &key(1)), Some(value(1, 1, 100)));
    // The one before still reads what it had, and writes no more.
    assert_eq!(get(&disk, &key(1)), Some(value(1, 1, 100)));
    assert!(!disk.put(key(2), Bytes::new()));
}

#[test]
fn complaints_come_once_per_interval() {
    let complaints = Complaints { directory: PathBuf::new(), last: Mutex::default() };
    let begun = Instant::now();
    let due = |millis| complaints.due(begun + Duration::from_millis(millis));
    assert_eq!(due(0), Some(0));
    assert_eq!((due(0), due(9_999)), (None, None));
    assert_eq!((due(10_000), due(10_001), due(20_000)), (Some(2), None, Some(1)));
}

/// This test again, in a process of its own, of which `wrap` is told how to start it.
fn other_process(test: &str, place: &Path, wrap: &[&str]) -> Child {
    let this = env::current_exe().unwrap();
    let mut arguments = wrap.iter().map(ToString::to_string).collect::<Vec<_>>();
    arguments.push(this.to_string_lossy().into_owned());
    let test = format!("disk::tests::{test}");
    arguments.extend(["--exact", &test, "--nocapture"].map(str::to_owned));
    Process::new(&arguments[0])
        .args(&arguments[1..])
        .env(PLACE, place)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Puts and removes until it is killed, and tells what is in the log.
fn write_until_killed(place: &str) {
    let disk = open(Path::new(place), 16);
    let seed = u64::from(std::process::id());
    let mut random = Random(seed);
    let mut out = io::stdout();
    for round in 0_u64.. {
        let mut told = String::new();
        for _ in 0..20 {
            let number = random.below(200);
            if random.below(3) == 0 {
                disk.remove(&key(number));
                told += &format!("\nremoved {number} 0");
            } else {
                let version = seed << 24 | round;
                put(&disk, number, version, random.length(20_000));
                told += &format!("\nput {number} {version}");
            }
        }
        // A last value, for removals are not waited for: it follows them in the log.
        put(&disk, 1_000, round, 16);
        written(&disk);
        out.write_all(format!("{told}\ndone 0 0\n").as_bytes()).unwrap();
    }
}

#[test]
fn a_kill_loses_the_newest_values_only() {
    if let Ok(place) = env::var(PLACE) {
        return write_until_killed(&place);
    }
    let directory = TempDir::new().unwrap();
    let mut versions: HashMap<u64, u64> = HashMap::new();
    let mut found = 0;
    for round in 0..6 {
        let mut child = other_process("a_kill_loses_the_newest_values_only", directory.path(), &[]);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut kills_after, mut killed) = (5 + round * 17, false);
        let mut batch = Vec::new();
        // What it said before it was killed is in the pipe and still counts.
        for line in lines {
            let line = line.unwrap();
            let words: Vec<_> = line.split(' ').collect();
            let [what @ ("put" | "removed" | "done"), number, version] = words[..] else {
                continue;
            };
            if what != "done" {
                batch.push((what == "put", number.parse().unwrap(), version.parse().unwrap()));
                continue;
            }
            for (put, number, version) in batch.drain(..) {
                if put {
                    versions.insert(number, version);
                } else {
                    versions.remove(&number);
                }
            }
            kills_after -= 1;
            if kills_after == 0 {
                child.kill().unwrap();
                killed = true;
            }
        }
        child.wait().unwrap();
        assert!(killed);
        // The child goes on until the kill arrives: one batch may be half done.
        let disk = open(directory.path(), 16);
        let mut unlike = HashSet::new();
        for number in 0..200 {
            let now = get(&disk, &key(number)).map(|found| version(number, &found));
            found += u64::from(now.is_some());
            if now != versions.get(&number).copied() {
                unlike.insert(number);
            }
            match now {
                Some(now) => versions.insert(number, now),
                None => versions.remove(&number),
            };
        }
        assert!(unlike.len() <= 40, "{} differ", unlike.len());
        assert_eq!(disk.counts().corrupt, 0);
    }
    assert!(found > 200, "{found}");
}

/// The files of a disk tier that is in use: finished logs and one that is written to.
fn files_in_use() -> (HashMap<String, Vec<u8>>, HashSet<u64>) {
    let directory = TempDir::new().unwrap();
    let disk = open(directory.path(), 16);
    let (mut random, mut removed) = (Random(5), HashSet::new());
    for number in 0..VALUES {
        put(&disk, number, 1, random.length(8_000));
        if number % 5 == 4 {
            let old = random.below(number);
            disk.remove(&key(old));
            removed.insert(old);
        }
    }
    put(&disk, 5_000, 1, 16);
    written(&disk);
    let files = fs::read_dir(directory.path()).unwrap().map(|file| {
        let file = file.unwrap();
        (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())
    });
    (files.filter(|(name, _)| name != "lock").collect(), removed)
}

#[test]
fn damage_is_never_served_and_brings_nothing_back() {
    let (files, removed) = files_in_use();
    let logs = files.keys().filter(|name| name.ends_with(".log")).count();
    assert!(logs >= 4 && files.len() == 2 * logs - 1, "{:?}", files.keys());
    let mut names: Vec<_> = files.keys().cloned().collect();
    names.sort();
    let mut readable = Vec::new();
    for seed in 0..120 {
        let mut random = Random(seed);
        let mut files = files.clone();
        // From one byte to many; often in the part of a log or table where heads are dense.
        for _ in 0..[0, 1, 3, 50, 2_000][usize::try_from(seed % 5).unwrap()] {
            let name = &names[usize::try_from(random.below(names.len() as u64)).unwrap()];
            let bytes = files.get_mut(name).unwrap();
            let end = if random.below(4) == 0 { 300 } else { bytes.len() as u64 };
            let at = usize::try_from(random.below(end)).unwrap();
            bytes[at] ^= 1 << random.below(8);
        }
        match seed % 11 {
            // A file in the middle is gone, or ends early.
            7 => drop(files.remove(&names[usize::try_from(random.below(4)).unwrap()])),
            8 => files.get_mut(&names[0]).unwrap().truncate(300_000),
            9 => files.get_mut(&names[1]).unwrap().truncate(100),
            _ => {}
        }
        let directory = TempDir::new().unwrap();
        for (name, bytes) in &files {
            fs::write(directory.path().join(name), bytes).unwrap();
        }
        for _ in 0..2 {
            let disk = open(directory.path(), 16);
            let found: Vec<_> = (0..VALUES)
                .filter_map(|number| Some((number, get(&disk, &key(number))?)))
                .collect();
            for (number, found) in &found {
                assert!(!removed.contains(number), "{number} came back with seed {seed}");
                assert_eq!(version(*number, found), 1);
            }
            readable.push(found.len());
            put(&disk, 2_000, seed, 100);
            written(&disk);
            assert_eq!(version(2_000, &get(&disk, &key(2_000)).unwrap()), seed);
        }
    }
    let whole = usize::try_from(VALUES).unwrap() - removed.len();
    assert_eq!(readable[0], whole, "without damage");
    let many = readable.iter().filter(|count| **count > whole / 2).count();
    assert!(many * 3 > readable.len(), "damage costs too much: {readable:?}");
}

/// The numbers that `files` still have a value of.
fn start_with(files: &HashMap<String, Vec<u8>>) -> HashSet<u64> {
    let directory = TempDir::new().unwrap();
    for (name, bytes) in files {
        fs::write(directory.path().join(name), bytes).unwrap();
    }
    let disk = open(directory.path(), 16);
    (0..VALUES).filter(|number| get(&disk, &key(*number)).is_some()).collect()
}

#[test]
fn a_finished_log_that_lost_its_end_and_its_table_brings_nothing_back() {
    let (files, removed) = files_in_use();
    let name = |number: usize, kind| format!("segment-{number:010}.{kind}");
    let finished = files.keys().filter(|name| name.ends_with(".tab")).count();
    let mut readable = 0;
    for number in 0..finished {
        let length = files[&name(number, "log")].len();
        for (twelfth, zeros, blind) in (0..=12).flat_map(|twelfth| {
            [(twelfth, false, false), (twelfth, true, false), (twelfth, false, true)]
        }) {
            let mut files = files.clone();
            files.remove(&name(number, "tab"));
            let log = files.get_mut(&name(number, "log")).unwrap();
            log.truncate(length * twelfth / 12);
            if zeros {
                log.resize(length, 0);
            }
            if blind {
                // What the next log tells of this one is damaged as well.
                files.get_mut(&name(number + 1, "log")).unwrap()[20] ^= 1;
            }
            let found = start_with(&files);
            let case = format!("log {number}, {twelfth}/12, zeros {zeros}, blind {blind}");
            assert!(found.is_disjoint(&removed), "{case}: {:?}", found.intersection(&removed));
            assert!(blind || twelfth < 12 || found.len() + removed.len() == 1_200, "{case}");
            readable += found.len();
        }
    }
    assert!(readable > 0);
}

/// With 24 MiB of room for 64.
fn fill_the_disk(place: &str) {
    let place = Path::new(place);
    let mut disk = open(place, 64);
    let mut round = 0..6_u64;
    let fill = |disk: &Disk, from: u64| {
        for number in from..from + 100 {
            // Refused or lost, or there and right: nothing else.
            let _ = disk.put(key(number), value(number, 1, 400_000));
            if number % 5 == 0 {
                written(disk);
            }
            if let Some(found) = get(disk, &key(number)) {
                version(number, &found);
            }
        }
        written(disk);
        (from..from + 100).filter(|number| get(disk, &key(*number)).is_some()).count()
    };
    assert!(fill(&disk, 0) > 20);
    assert!(disk.counts().write_errors > 0 && disk.bytes() <= 24 * MIB);
    // It went on with the room it had: the newest are there.
    assert!(disk.may_hold(&key(99)));
    // Others take all the room that is left, and then what this gives up.
    let ballast = place.join("ballast");
    for _ in 0..3 {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(&ballast).unwrap();
        while file.write_all(&[1; 65_536]).is_ok() {}
        round.next();
        fill(&disk, round.start * 1_000);
    }
    // A removal holds even so.
    let kept: Vec<_> = (0..10_000).filter(|number| disk.may_hold(&key(*number))).collect();
    kept.iter().for_each(|number| disk.remove(&key(*number)));
    disk.close();
    drop(disk);
    disk = open(place, 64);
    assert!(kept.iter().all(|number| !disk.may_hold(&key(*number))));
    // With room again, it stores again.
    fs::remove_file(&ballast).unwrap();
    thread::sleep(limits::DISK_REST);
    assert!(fill(&disk, 50_000) > 20);
}

#[test]
fn a_full_disk_costs_values_and_nothing_else() {
    if let Ok(place) = env::var(PLACE) {
        return fill_the_disk(&place);
    }
    let directory = TempDir::new().unwrap();
    // A small file system of its own, in a name space of its own.
    let mount =
        format!("mount -t tmpfs -o size=24m tmpfs {} && exec \"$@\"", directory.path().display());
    let wrap = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &mount, "sh"];
    let able =
        Process::new("unshare").args(["--user", "--map-root-user", "--mount", "true"]).status();
    if !able.is_ok_and(|status| status.success()) {
        println!("not tested: this system lets nobody make a small file system");
        return;
    }
    let child = other_process("a_full_disk_costs_values_and_nothing_else", directory.path(), &wrap);
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}
