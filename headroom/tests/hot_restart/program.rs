//! A process of the program under test, which another one replaces.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take that has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A process under test. What it says is in `log` until the test ends.
pub(crate) struct Program {
    process: Child,
    log: PathBuf,
}

impl Program {
    pub(crate) fn start(folder: &Path, role: &[&str]) -> Self {
        let count = fs::read_dir(folder).unwrap().count();
        let log = folder.join(format!("process-{count}.log"));
        let process = Command::new(env!("CARGO_BIN_EXE_headroom"))
            .args(role)
            .arg("--config")
            .arg(folder.join("headroom.toml"))
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { process, log }
    }

    /// Waits until `ask` gets an answer.
    pub(crate) fn wait_until_it_serves<E: std::fmt::Display>(
        &self,
        mut ask: impl FnMut() -> Result<(), E>,
    ) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = ask() {
            assert!(Instant::now() < deadline, "it does not serve: {error}\n{}", self.said());
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn ends_by_itself(&mut self) {
        let status = self.ended();
        assert!(status.success(), "{status}\n{}", self.said());
    }

    fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.said());
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn terminate(&self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
    }

    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
