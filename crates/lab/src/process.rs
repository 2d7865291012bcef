//! One process that was started here: its log, its signals, its end.

use std::collections::VecDeque;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

pub use rustix::process::Signal;

/// How often a condition is looked at that cannot be awaited.
const LOOK: Duration = Duration::from_millis(10);
/// Lines of a log that a fault shows.
const LOG_LINES: usize = 12;

/// What went wrong, for the person who ran it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(String);

impl Fault {
    /// A sentence.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Fault {
        Fault(text.into())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

/// Where a program is: on the PATH, or in one of these folders, the last match first.
///
/// # Errors
/// A sentence that says which package has it.
pub fn find_program(name: &str, folders: &[PathBuf], package: &str) -> Result<PathBuf, Fault> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).collect::<Vec<_>>();
    on_path
        .iter()
        .chain(folders.iter().rev())
        .map(|folder| folder.join(name))
        .find(|it| it.is_file())
        .ok_or_else(|| {
            Fault::new(format!("{name} is not installed; on Debian it is in the package {package}"))
        })
}

/// A running process. It is killed when this is dropped, and when the process that started it ends.
#[derive(Debug)]
pub struct Process {
    /// What it is called in faults and events.
    pub name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a command whose output goes to `NAME.log` in `folder`, behind what is there.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Process, Fault> {
        let log = folder.join(format!("{name}.log"));
        let open = || OpenOptions::new().create(true).append(true).open(&log);
        let fault =
            |error: std::io::Error| Fault::new(format!("{name} cannot be started: {error}"));
        let out = open().map_err(fault)?;
        let error = open().map_err(fault)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(error)
            .kill_on_drop(true)
            .spawn()
            .map_err(fault)?;
        Ok(Process { name: name.to_owned(), child, log })
    }

    /// Its id; `None` once it has ended and was waited for.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Sends a signal; nothing happens if it has ended.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            // It may have ended this moment, which is as good.
            let _ = kill_process(pid, signal);
        }
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it runs on.
    pub async fn ended(&mut self, within: Duration) -> Result<ExitStatus, Fault> {
        match timeout(within, self.child.wait()).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(error)) => Err(Fault::new(format!("{}: {error}", self.name))),
            Err(_) => Err(self.fault(&format!("did not end within {within:?}"))),
        }
    }

    /// `kill -9`, and waits until it is gone.
    pub async fn kill(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.child.kill().await;
    }

    /// Waits until a line of its log holds `text`, and gives that line. `from` is where the log stood
    /// before ([`Process::log_end`]).
    ///
    /// # Errors
    /// When it ends before, or says nothing of the kind in time.
    pub async fn says(&mut self, text: &str, from: u64, within: Duration) -> Result<String, Fault> {
        let deadline = Instant::now() + within;
        loop {
            // Whether it runs is looked at first: what it said before it ended is read below.
            let running = self.is_running();
            if let Some(line) = read_from(&self.log, from).lines().find(|line| line.contains(text))
            {
                return Ok(line.to_owned());
            }
            if !running {
                return Err(self.fault("ended"));
            }
            if Instant::now() >= deadline {
                return Err(self.fault(&format!("did not say {text:?} within {within:?}")));
            }
            sleep(LOOK).await;
        }
    }

    /// Where the log of that name stands now.
    #[must_use]
    pub fn log_end(name: &str, folder: &Path) -> u64 {
        folder.join(format!("{name}.log")).metadata().map_or(0, |meta| meta.len())
    }

    fn fault(&self, what: &str) -> Fault {
        let text = read_from(&self.log, 0);
        let mut last: VecDeque<&str> = VecDeque::with_capacity(LOG_LINES);
        for line in text.lines() {
            if last.len() == LOG_LINES {
                last.pop_front();
            }
            last.push_back(line);
        }
        let last: Vec<&str> = last.into();
        Fault::new(format!("{} {what}; it said last:\n{}", self.name, last.join("\n")))
    }
}

fn read_from(path: &Path, from: u64) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(from))?;
        file.read_to_end(&mut bytes)
    });
    match read {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => String::new(),
    }
}

/// Runs a program to its end.
///
/// # Errors
/// With what it said, when it fails.
pub(crate) async fn run(command: &mut Command) -> Result<String, Fault> {
    let shown = format!("{:?}", command.as_std());
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| Fault::new(format!("{shown}: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Fault::new(format!("{shown} failed ({}): {said}", output.status)))
}

/// Tries until it works or the time is over.
pub(crate) async fn until_ok<T, F>(
    within: Duration,
    mut attempt: impl FnMut() -> F,
) -> Result<T, Fault>
where
    F: Future<Output = Result<T, Fault>>,
{
    let deadline = Instant::now() + within;
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(fault) if Instant::now() >= deadline => return Err(fault),
            Err(_) => sleep(LOOK * 5).await,
        }
    }
}

/// A command that ends with the thread that starts it, so that nothing outlives a lab that was killed.
///
/// # Errors
/// When util-linux is missing.
pub(crate) fn bound(program: &Path) -> Result<Command, Fault> {
    let setpriv = find_program("setpriv", &[], "util-linux")?;
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    Ok(command)
}
