//! What a process costs, as the kernel counts it.

use std::fmt;

/// Why a process cannot be measured; a sentence that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessError(String);

impl fmt::Display for ProcessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ProcessError {}

/// A process of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
}

impl Process {
    /// User and system time of all its threads so far, in microseconds; the kernel's unit is a clock
    /// tick, usually 10 ms.
    ///
    /// # Errors
    /// There is no such process, or `/proc` is not Linux's.
    pub fn cpu_us(self) -> Result<u64, ProcessError> {
        let stat = self.read("stat")?;
        let ticks = ticks(&stat).ok_or_else(|| self.fault("stat", "cannot be understood"))?;
        Ok(ticks * 1_000_000 / rustix::param::clock_ticks_per_second().max(1))
    }

    /// Resident memory, in bytes.
    ///
    /// # Errors
    /// As for [`cpu_us`](Process::cpu_us).
    pub fn resident_bytes(self) -> Result<u64, ProcessError> {
        let statm = self.read("statm")?;
        let pages =
            statm.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
        let pages = pages.ok_or_else(|| self.fault("statm", "cannot be understood"))?;
        Ok(pages * rustix::param::page_size() as u64)
    }

    fn read(self, file: &str) -> Result<String, ProcessError> {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.pid))
            .map_err(|error| self.fault(file, &error.to_string()))
    }

    fn fault(self, file: &str, why: &str) -> ProcessError {
        ProcessError(format!("/proc/{}/{file}: {why}", self.pid))
    }
}

/// `utime` + `stime` of `/proc/PID/stat`. The second field is a name that may hold anything, so fields are
/// counted behind its closing bracket.
fn ticks(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("7 (a"), None);
    }

    #[test]
    fn our_own_process_can_be_measured_and_an_absent_one_is_named() {
        let own = Process { pid: std::process::id() };
        assert!(own.resident_bytes().expect("we are here") > 4_096);
        own.cpu_us().expect("we are here");
        let error = Process { pid: u32::MAX }.cpu_us().expect_err("no such process");
        assert!(error.to_string().starts_with("/proc/4294967295/stat: "), "{error}");
    }
}
