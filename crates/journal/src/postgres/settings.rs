//! What an operator may set.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use model::SlotNo;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use super::open_error::OpenError;

/// How the engine runs.
#[derive(Clone)]
pub struct Settings {
    /// Where the database is: `postgres://user:password@one,two/parlour`, or `host=one,two user=…`.
    /// With several hosts the one that can be written is found, and found again after a failover.
    pub url: String,
    /// The cluster's id; fixed by `init`.
    pub cluster: String,
    /// Number of slots; fixed by `init`.
    pub slots: SlotNo,
    /// Name of the algorithm that maps rooms to slots; fixed by `init`.
    pub slot_hash: String,
    /// Connections that append. Each carries one transaction at a time, with the appends of all slots
    /// that waited for it; beyond four the primary's disk is the bound.
    pub writers: usize,
    /// Connections that claim. A takeover of hundreds of slots is short with four.
    pub claimers: usize,
    /// Connections that read, so that a burst of readers costs the primary at most so many processes.
    pub readers: usize,
    /// How long a host may take to accept a connection.
    pub connect_within: Duration,
    /// How long an answer may take. An append that has none by then is unknown: without a standby
    /// that the primary waits for, this is how long a publish hangs.
    pub answer_within: Duration,
    /// How long a claim or an append waits for the slot's row before it ends the session that holds
    /// it. An append holds it for a few milliseconds.
    pub lock_within: Duration,
    /// Appends and claims that may wait: each slot has at most one.
    pub queue_max: usize,
    /// Appends that share one transaction. More would make each of them wait for all others' rows.
    pub group_max: usize,
    /// Bytes of payload that share one transaction, beyond the first append.
    pub group_bytes_max: usize,
    /// Bytes of one room's part of an append: 256 entries of 32 KiB.
    pub part_bytes_max: usize,
}

impl Settings {
    /// The defaults for a database.
    #[must_use]
    pub fn new(url: &str, cluster: &str, slots: SlotNo, slot_hash: &str) -> Settings {
        Settings {
            url: url.to_owned(),
            cluster: cluster.to_owned(),
            slots,
            slot_hash: slot_hash.to_owned(),
            writers: 4,
            claimers: 4,
            readers: 8,
            connect_within: Duration::from_secs(2),
            answer_within: Duration::from_secs(5),
            lock_within: Duration::from_millis(100),
            queue_max: 4_096,
            group_max: 64,
            group_bytes_max: 1024 * 1024,
            part_bytes_max: 8 * 1024 * 1024,
        }
    }

    /// The address, parsed, with what this engine needs of every connection.
    pub(super) fn config(&self) -> Result<Config, OpenError> {
        let unusable = |why: String| OpenError::Settings { why };
        // The parser's messages name keys and single characters, never a value.
        let mut config = Config::from_str(&self.url).map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            unusable(format!("the address cannot be read: {}", cause.unwrap_or_default()))
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(unusable("the address names no host".into()));
        }
        if config.get_ssl_mode() == SslMode::Require {
            return Err(unusable(
                "the address asks for TLS (sslmode=require), which this program does not speak; \
                 reach the database over a private network or a tunnel"
                    .into(),
            ));
        }
        let slots = u64::from(self.slots);
        if slots == 0 || slots > i32::MAX as u64 {
            return Err(unusable(format!("{slots} slots are not possible")));
        }
        config
            .ssl_mode(SslMode::Disable)
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .connect_timeout(self.connect_within)
            .tcp_user_timeout(self.answer_within)
            .keepalives_idle(self.answer_within)
            .keepalives_interval(Duration::from_secs(1))
            .keepalives_retries(3);
        Ok(config)
    }

    /// The database as an operator would name it, without its password.
    pub(super) fn place(&self) -> String {
        let Ok(config) = Config::from_str(&self.url) else {
            return "the database".into();
        };
        let ports = config.get_ports();
        let hosts = config.get_hosts().iter().enumerate().map(|(index, host)| {
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(path) => format!("{}:{port}", path.display()),
            }
        });
        let hosts: Vec<_> = hosts.collect();
        let dbname = config.get_dbname().or(config.get_user()).unwrap_or("");
        format!("the database {dbname:?} at {}", hosts.join(", "))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address holds a password.
        f.debug_struct("Settings")
            .field("place", &self.place())
            .field("cluster", &self.cluster)
            .field("slots", &self.slots)
            .field("slot_hash", &self.slot_hash)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> Settings {
        Settings::new(url, "test", 16, "fnv")
    }

    #[test]
    fn a_password_is_never_shown() {
        let urls = [
            "postgres://ann:s3cret@db1:1111,db2:2222/chat",
            "host=db1 user=ann password=s3cret dbname=chat",
            "host=db1 user=ann password=s3cret port=99999999",
            "postgres://ann:s3cret@db1/chat?target_session_attrs=whatever",
        ];
        for url in urls {
            let settings = settings(url);
            let shown = match settings.config() {
                Ok(_) => settings.place(),
                Err(error) => format!("{error} {error:?}"),
            };
            assert!(!format!("{shown} {settings:?}").contains("s3cret"), "{shown}");
        }
        assert!(settings(urls[0]).place().contains("db1:1111, db2:2222"));
    }

    #[test]
    fn an_address_that_cannot_work_is_refused_with_the_reason() {
        for (url, why) in [
            ("postgres://ann@/chat", "host"),
            ("host=db1 sslmode=require", "TLS"),
            ("nonsense", "address"),
        ] {
            let error = settings(url).config().expect_err(url).to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(Settings { slots: 0, ..settings("host=db1") }.config().is_err());
    }
}
