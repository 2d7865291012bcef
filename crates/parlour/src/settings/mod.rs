//! Settings: from a TOML file, the environment and flags; the later wins.
//!
//! One table ([`fields::FIELDS`]) holds every setting once, with its name, its sentence and how it is
//! read and shown; file, environment, flags and `parlour config` all walk that table. Every fault is
//! collected before anything is refused, each with the place it came from.

mod cluster;
mod fields;
mod retention;
mod sources;
mod units;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use edge::Secret;
use model::Limits;

pub use cluster::ClusterSettings;
pub use retention::Retention;
pub use sources::{Origin, Sources};

/// What the process is going to be: some settings are needed by some roles only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything in one process.
    Serve,
    /// A room server of a cluster.
    Room,
    /// An edge of a cluster.
    Edge,
}

impl Role {
    /// The command that starts it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Serve => "serve",
            Role::Room => "room",
            Role::Edge => "edge",
        }
    }
}

/// What is in force.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder of the embedded journal.
    pub data: PathBuf,
    /// HTTP and WebSocket.
    pub listen: SocketAddr,
    /// gRPC.
    pub grpc: SocketAddr,
    /// Listen beyond loopback without a token key.
    pub insecure: bool,
    /// Verifies HS256 tokens.
    pub token_key: Option<Secret>,
    /// Origins of pages that may connect, beside the server's own.
    pub origins: Vec<String>,
    /// Logs as JSON.
    pub log_json: bool,
    /// What is logged, in the syntax of `RUST_LOG`.
    pub log: String,
    /// Threads that hold sockets; 0: one per core.
    pub shards: usize,
    /// Streams from the edge to the owner of rooms.
    pub lanes: usize,
    /// Milliseconds that a drain may take.
    pub drain_within_ms: u64,
    /// Clients that the gateway sends on in a second.
    pub connects_per_second: u32,
    /// Free bytes of disk below which publishes are refused.
    pub headroom_bytes: u64,
    /// Milliseconds until a redacted text has left the disk.
    pub erase_within_ms: u64,
    /// What is trimmed when; the first pattern that matches a room counts.
    pub retention: Vec<Retention>,
    /// Milliseconds between two rounds of retention.
    pub retention_interval_ms: u64,
    /// Bounds of sessions and rooms.
    pub limits: Limits,
    /// For the roles of a cluster.
    pub cluster: ClusterSettings,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            data: PathBuf::from("./parlour-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            grpc: SocketAddr::from(([127, 0, 0, 1], 9090)),
            insecure: false,
            token_key: None,
            origins: Vec::new(),
            log_json: false,
            log: "info,fjall=warn,lsm_tree=warn".to_owned(),
            shards: 0,
            lanes: 2,
            drain_within_ms: 10_000,
            connects_per_second: edge::CONNECTS_PER_SECOND,
            headroom_bytes: 256 * 1024 * 1024,
            erase_within_ms: 600_000,
            retention: Vec::new(),
            retention_interval_ms: room_server::RETENTION_INTERVAL_MS,
            limits: Limits::default(),
            cluster: ClusterSettings::default(),
        }
    }
}

/// One thing that is wrong, and where it was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `parlour.toml:12`, `PARLOUR_LISTEN`, `--listen`, all of them where two do not go together.
    pub place: String,
    /// What is wrong and what would be right.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_empty() {
            f.write_str(&self.text)
        } else {
            write!(f, "{}: {}", self.place, self.text)
        }
    }
}

/// The settings in force, and where each came from.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    origins: Vec<Origin>,
}

impl Loaded {
    /// Reads all sources and checks everything.
    ///
    /// # Errors
    /// Every fault at once.
    pub fn from(sources: &Sources, role: Role) -> Result<Loaded, Vec<Fault>> {
        let mut loaded = Loaded {
            settings: Settings::default(),
            origins: vec![Origin::Default; fields::FIELDS.len()],
        };
        let mut faults = Vec::new();
        for given in sources.gather(&mut faults) {
            let Some(index) = fields::index_of(&given.key) else {
                faults.push(Fault { place: given.origin.place(), text: unknown(&given.key) });
                continue;
            };
            match (fields::FIELDS[index].set)(&mut loaded.settings, &given.value) {
                Ok(()) => loaded.origins[index] = given.origin,
                Err(text) => faults.push(Fault {
                    place: given.origin.place(),
                    text: format!("{}: {text}", given.key),
                }),
            }
        }
        let relations = loaded.settings.check(role).into_iter();
        faults.extend(relations.map(|text| Fault { place: loaded.places(&text), text }));
        if faults.is_empty() { Ok(loaded) } else { Err(faults) }
    }

    /// Where the settings that a sentence names were given: of two that do not go together either may
    /// be the wrong one.
    fn places(&self, sentence: &str) -> String {
        let words: Vec<&str> = sentence.split_whitespace().collect();
        let named = fields::FIELDS.iter().zip(&self.origins).filter(|(field, origin)| {
            let name = field.key.rsplit('.').next().unwrap_or(field.key);
            **origin != Origin::Default && words.contains(&name)
        });
        named.map(|(_, origin)| origin.place()).collect::<Vec<_>>().join(", ")
    }

    /// `parlour config`: a TOML file with everything that is in force, and where it came from.
    #[must_use]
    pub fn print(&self) -> String {
        let mut text = String::new();
        let mut section = "";
        for (field, origin) in fields::FIELDS.iter().zip(&self.origins) {
            let (table, name) = field.key.rsplit_once('.').unwrap_or(("", field.key));
            if table != section {
                text.push_str(&format!("\n[{table}]\n"));
                section = table;
            }
            if fields::SECRETS.contains(&field.key) || field.key == fields::JOURNAL {
                text.push_str(&format!("# {}: {origin}\n", field.sentence));
                continue;
            }
            let value = (field.get)(&self.settings);
            text.push_str(&format!("# {}\n{name} = {value}  # {origin}\n", field.sentence));
        }
        text
    }
}

fn unknown(key: &str) -> String {
    let close = fields::FIELDS.iter().map(|field| field.key).find(|known| {
        known.ends_with(key) || known.rsplit('.').next().is_some_and(|last| key.ends_with(last))
    });
    match close {
        Some(known) => format!("there is no setting {key:?}; did you mean {known:?}?"),
        None => format!("there is no setting {key:?}; `parlour config` lists them"),
    }
}

impl Settings {
    /// Relations between settings that do not hold, each as a sentence.
    fn check(&self, role: Role) -> Vec<String> {
        let mut faults = self.limits.check();
        faults.extend(self.cluster.check(role));
        let open = [("listen", self.listen), ("grpc", self.grpc)];
        if self.token_key.is_none() && !self.insecure {
            for (name, address) in open.iter().filter(|(_, a)| !a.ip().is_loopback()) {
                faults.push(format!(
                    "{name} = {address} is reachable from other machines, where anybody could \
                     claim any name: set token_key_file (or PARLOUR_TOKEN_KEY), or pass --insecure \
                     if that is what you want"
                ));
            }
        }
        if self.listen == self.grpc && self.listen.port() != 0 {
            faults.push(format!("listen and grpc are both {}; they need a port each", self.listen));
        }
        if let Some(key) = &self.token_key
            && !key.is_strong()
        {
            faults
                .push("the token key has less than 32 bytes, which HS256 is not safe with".into());
        }
        if self.retention_interval_ms == 0 {
            faults.push("retention_interval_ms must be more than 0".into());
        }
        if self.connects_per_second == 0 {
            faults.push("connects_per_second must be more than 0".into());
        }
        if self.lanes == 0 {
            faults.push("lanes must be more than 0".into());
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(
        toml: &str,
        environment: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> Result<Loaded, Vec<Fault>> {
        let own = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let sources = Sources {
            faults: Vec::new(),
            file: Some((PathBuf::from("parlour.toml"), toml.to_owned())),
            environment: own(environment),
            flags: own(flags),
        };
        Loaded::from(&sources, Role::Serve)
    }

    #[test]
    fn a_node_of_a_cluster_is_told_everything_that_it_lacks() {
        let none = Sources::default();
        assert!(Loaded::from(&none, Role::Serve).is_ok());
        let lacks = |role| Loaded::from(&none, role).expect_err("faults").len();
        assert_eq!((lacks(Role::Room), lacks(Role::Edge)), (3, 2));
        let key = "0123456789abcdef0123456789abcdef";
        let given = Sources {
            environment: vec![("PARLOUR_CLUSTER_KEY".into(), key.into())],
            flags: vec![
                ("etcd".into(), "http://127.0.0.1:1,http://127.0.0.1:2".into()),
                ("journal".into(), "postgres://parlour:hunter2@127.0.0.1/parlour".into()),
            ],
            ..Sources::default()
        };
        let loaded = Loaded::from(&given, Role::Room).expect("no fault");
        assert_eq!(loaded.settings.cluster.etcd.len(), 2);
        let told = format!("{} {loaded:?}", loaded.print());
        assert!(!told.contains("hunter2") && !told.contains(key), "{told}");
    }

    #[test]
    fn the_later_source_wins_and_is_named() {
        let loaded = load(
            "listen = \"127.0.0.1:1\"\ngrpc = \"127.0.0.1:2\"\n[limits]\nheartbeat_ms = 1_000\n",
            &[("PARLOUR_LISTEN", "127.0.0.1:3"), ("PARLOUR_LIMITS_IDLE_MS", "5000")],
            &[("listen", "127.0.0.1:4")],
        )
        .expect("no fault");
        assert_eq!(loaded.settings.listen.port(), 4);
        assert_eq!(loaded.settings.grpc.port(), 2);
        assert_eq!(loaded.settings.limits.idle_ms, 5_000);
        let printed = loaded.print();
        assert!(printed.contains("listen = \"127.0.0.1:4\"  # --listen"), "{printed}");
        assert!(printed.contains("heartbeat_ms = 1000  # parlour.toml:4"), "{printed}");
        assert!(printed.contains("idle_ms = 5000  # PARLOUR_LIMITS_IDLE_MS"), "{printed}");
    }

    #[test]
    fn what_config_prints_can_be_read_again() {
        let printed = load("retention = [\"team:* age=30d\"]", &[], &[]).expect("no fault").print();
        let again = load(&printed, &[], &[]).expect("no fault");
        assert_eq!(again.settings.retention.len(), 1);
    }

    #[test]
    fn all_faults_are_reported_at_once_with_their_places() {
        let faults = load(
            "listen = 7\nlimmits.x = 1\nretention = [\"team:* age=soon\"]\n[limits]\nheartbeat_ms = -3\n",
            &[("PARLOUR_GRPC", "nowhere")],
            &[("limits.room_queue_max", "many")],
        )
        .expect_err("faults");
        let places: Vec<_> = faults.iter().map(|fault| fault.place.as_str()).collect();
        assert_eq!(
            places,
            [
                "parlour.toml:1",
                "parlour.toml:2",
                "parlour.toml:3",
                "parlour.toml:5",
                "PARLOUR_GRPC",
                "--set limits.room_queue_max"
            ],
            "{faults:#?}"
        );
    }

    /// `rooms_per_session_max must be more than 0` came without the line that said so, and `--set foo=1`
    /// was called `--foo`, a flag that there is not.
    #[test]
    fn a_value_that_is_out_of_bounds_is_reported_with_its_place() {
        let faults = load(
            "connects_per_second = 0\n[limits]\nrooms_per_session_max = 0\nheartbeat_ms = 70000\n",
            &[("PARLOUR_RETENTION_INTERVAL_MS", "0"), ("PARLOUR_LIMITS_IDLE_MS", "80000")],
            &[("lanes", "0"), ("foo", "1")],
        )
        .expect_err("faults");
        let mut places: Vec<_> = faults.iter().map(|fault| fault.place.as_str()).collect();
        places.sort_unstable();
        let want = [
            "--set foo",
            "--set lanes",
            "PARLOUR_RETENTION_INTERVAL_MS",
            "parlour.toml:1",
            "parlour.toml:3",
            "parlour.toml:4, PARLOUR_LIMITS_IDLE_MS",
        ];
        assert_eq!(places, want, "{faults:#?}");
    }

    /// A syntax fault hides what stands behind it in its file, and must not hide the other sources.
    #[test]
    fn a_file_that_cannot_be_parsed_hides_no_fault_elsewhere() {
        let faults = load(
            "listen = \n",
            &[("PARLOUR_GRPC", "nowhere"), ("PARLOUR_NONSENSE", "1")],
            &[("limits.room_queue_max", "many"), ("lanes", "0")],
        )
        .expect_err("faults");
        let places: Vec<_> = faults.iter().map(|fault| fault.place.as_str()).collect();
        let want = [
            "parlour.toml:1",
            "PARLOUR_NONSENSE",
            "PARLOUR_GRPC",
            "--set limits.room_queue_max",
            "--set lanes",
        ];
        assert_eq!(places, want, "{faults:#?}");
    }

    #[test]
    fn beyond_loopback_it_wants_a_key_or_to_be_told() {
        let faults = load("", &[], &[("listen", "0.0.0.0:8080")]).expect_err("refused");
        assert!(faults[0].text.contains("--insecure"), "{faults:?}");
        assert!(load("", &[], &[("listen", "0.0.0.0:8080"), ("insecure", "true")]).is_ok());
        let key = "0123456789abcdef0123456789abcdef";
        assert!(load("", &[("PARLOUR_TOKEN_KEY", key)], &[("listen", "0.0.0.0:8080")]).is_ok());
        assert!(load("", &[("PARLOUR_TOKEN_KEY", "short")], &[]).is_err());
    }

    #[test]
    fn a_secret_is_never_printed() {
        let key = "0123456789abcdef0123456789abcdef";
        let loaded = load("", &[("PARLOUR_TOKEN_KEY", key)], &[]).expect("no fault");
        assert!(!loaded.print().contains(key));
        assert!(!format!("{loaded:?}").contains(key));
    }
}
