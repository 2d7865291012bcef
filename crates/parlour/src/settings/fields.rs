//! The table of settings.

use std::path::PathBuf;

use edge::Secret;

use super::units::{number, switch};
use super::{Retention, Settings};

/// One setting.
pub(super) struct Field {
    /// Its name in a file (`limits.heartbeat_ms`); in the environment `PARLOUR_LIMITS_HEARTBEAT_MS`.
    pub(super) key: &'static str,
    /// What it is for.
    pub(super) sentence: &'static str,
    /// Reads it.
    pub(super) set: fn(&mut Settings, &str) -> Result<(), String>,
    /// Shows it, as TOML.
    pub(super) get: fn(&Settings) -> String,
}

/// Settings that are never written down; each may also be named by its file.
pub(super) const SECRETS: [&str; 3] = ["token_key", "cluster_key", "etcd_password"];

/// May hold a password, and is not shown for that.
pub(super) const JOURNAL: &str = "journal";

/// The index of a setting's row.
pub(super) fn index_of(key: &str) -> Option<usize> {
    FIELDS.iter().position(|field| field.key == key)
}

macro_rules! count {
    ($key:expr, $sentence:literal, $($path:ident).+) => {
        Field {
            key: $key,
            sentence: $sentence,
            set: |settings, text| number(text).map(|value| settings.$($path).+ = value),
            get: |settings| settings.$($path).+.to_string(),
        }
    };
}

macro_rules! limit {
    ($name:ident, $sentence:literal) => {
        count!(concat!("limits.", stringify!($name)), $sentence, limits.$name)
    };
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

fn listed<'a>(items: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", items.map(quoted).collect::<Vec<_>>().join(", "))
}

fn address(text: &str) -> Result<std::net::SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is not an address such as 127.0.0.1:8080"))
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(['\n', ';']).map(str::trim).filter(|item| !item.is_empty())
}

/// Reads a file's text, without the line's end that editors add.
fn secret_in(path: &str) -> Result<Option<Secret>, String> {
    if path.is_empty() {
        return Ok(None);
    }
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {path:?}: {error}"))?;
    Ok(Some(Secret::new(bytes.trim_ascii().to_vec())))
}

fn secret(text: &str) -> Option<Secret> {
    (!text.is_empty()).then(|| Secret::new(text.as_bytes().to_vec()))
}

/// A text that may be left out.
macro_rules! optional {
    ($key:literal, $sentence:literal, $($path:ident).+) => {
        Field {
            key: $key,
            sentence: $sentence,
            set: |settings, text| {
                settings.$($path).+ = (!text.is_empty()).then(|| text.into());
                Ok(())
            },
            get: |settings| {
                let given = settings.$($path).+.as_ref();
                quoted(&given.map(|it| AsRef::<std::path::Path>::as_ref(it).display().to_string()).unwrap_or_default())
            },
        }
    };
}

macro_rules! text {
    ($key:literal, $sentence:literal, $($path:ident).+) => {
        Field {
            key: $key,
            sentence: $sentence,
            set: |settings, text| {
                settings.$($path).+ = text.to_owned();
                Ok(())
            },
            get: |settings| quoted(&settings.$($path).+),
        }
    };
}

/// A secret by its file, and the secret itself.
macro_rules! secret {
    ($key:literal, $file:literal, $sentence:literal, $itself:literal, $($path:ident).+) => {
        (
            Field {
                key: $file,
                sentence: $sentence,
                set: |settings, text| {
                    if let Some(secret) = secret_in(text)? {
                        settings.$($path).+ = Some(secret);
                    }
                    Ok(())
                },
                get: |_| quoted(""),
            },
            Field {
                key: $key,
                sentence: $itself,
                set: |settings, text| {
                    if let Some(secret) = secret(text) {
                        settings.$($path).+ = Some(secret);
                    }
                    Ok(())
                },
                get: |_| quoted(""),
            },
        )
    };
}

const TOKEN_KEY: (Field, Field) = secret!(
    "token_key",
    "token_key_file",
    "A file whose bytes are the key of HS256 tokens (or PARLOUR_TOKEN_KEY, the key itself).",
    "The key itself comes from PARLOUR_TOKEN_KEY only, as files are read by too many",
    token_key
);
const CLUSTER_KEY: (Field, Field) = secret!(
    "cluster_key",
    "cluster_key_file",
    "A file whose bytes are the key that all nodes of the cluster share (or PARLOUR_CLUSTER_KEY).",
    "The key itself comes from PARLOUR_CLUSTER_KEY only",
    cluster.cluster_key
);
const ETCD_PASSWORD: (Field, Field) = secret!(
    "etcd_password",
    "etcd_password_file",
    "A file with the password of etcd_user (or PARLOUR_ETCD_PASSWORD).",
    "The password itself comes from PARLOUR_ETCD_PASSWORD only",
    cluster.etcd_password
);

/// Every setting, in the order in which `parlour config` prints them.
pub(super) const FIELDS: &[Field] = &[
    Field {
        key: "data",
        sentence: "The folder in which everything is kept.",
        set: |settings, text| {
            settings.data = PathBuf::from(text);
            if text.is_empty() { Err("a folder's name is not empty".into()) } else { Ok(()) }
        },
        get: |settings| quoted(&settings.data.display().to_string()),
    },
    Field {
        key: "listen",
        sentence: "HTTP and WebSocket; port 0 picks one.",
        set: |settings, text| address(text).map(|value| settings.listen = value),
        get: |settings| quoted(&settings.listen.to_string()),
    },
    Field {
        key: "grpc",
        sentence: "gRPC; port 0 picks one.",
        set: |settings, text| address(text).map(|value| settings.grpc = value),
        get: |settings| quoted(&settings.grpc.to_string()),
    },
    Field {
        key: "insecure",
        sentence: "Listen beyond loopback without a token key: anybody may claim any name.",
        set: |settings, text| switch(text).map(|value| settings.insecure = value),
        get: |settings| settings.insecure.to_string(),
    },
    TOKEN_KEY.0,
    TOKEN_KEY.1,
    Field {
        key: "origins",
        sentence: "Origins of pages that may connect beside the server's own, such as https://app.example.",
        set: |settings, text| {
            settings.origins = items(text).map(str::to_owned).collect();
            match settings.origins.iter().find(|o| *o != "*" && !o.contains("://")) {
                Some(bad) => Err(format!("{bad:?} is not an origin such as https://app.example")),
                None => Ok(()),
            }
        },
        get: |settings| listed(settings.origins.iter().map(String::as_str)),
    },
    Field {
        key: "log",
        sentence: "What is logged: error, warn, info, debug, trace, or per module as in RUST_LOG.",
        set: |settings, text| {
            tracing_subscriber::EnvFilter::try_new(text)
                .map(|_| settings.log = text.to_owned())
                .map_err(|error| format!("{text:?}: {error}"))
        },
        get: |settings| quoted(&settings.log),
    },
    Field {
        key: "log_json",
        sentence: "Log JSON lines, for machines.",
        set: |settings, text| switch(text).map(|value| settings.log_json = value),
        get: |settings| settings.log_json.to_string(),
    },
    count!("shards", "Threads that hold sockets; 0: one per core.", shards),
    count!("lanes", "Streams from the edge to the owner of rooms.", lanes),
    count!("drain_within_ms", "Milliseconds that leaving may take.", drain_within_ms),
    count!(
        "connects_per_second",
        "Clients that the gateway sends on in a second; more are told when to ask again.",
        connects_per_second
    ),
    count!(
        "headroom_bytes",
        "Free bytes of disk below which publishes are refused; at most a twentieth of the disk counts, and \
         the log says at the start how many that is.",
        headroom_bytes
    ),
    count!(
        "erase_within_ms",
        "Milliseconds until a redacted text has left the disk.",
        erase_within_ms
    ),
    Field {
        key: "retention",
        sentence: "What is trimmed, such as [\"team:* age=30d\", \"* count=100000 bytes=1GiB\"]; the first match counts.",
        set: |settings, text| {
            settings.retention = items(text).map(Retention::parse).collect::<Result<_, _>>()?;
            Ok(())
        },
        get: |settings| {
            let shown: Vec<String> = settings.retention.iter().map(ToString::to_string).collect();
            listed(shown.iter().map(String::as_str))
        },
    },
    count!(
        "retention_interval_ms",
        "Milliseconds between two rounds of retention.",
        retention_interval_ms
    ),
    text!("cluster", "The cluster's name: part of every key in etcd.", cluster.name),
    Field {
        key: "node",
        sentence: "This process's id in the cluster; empty: a fresh one.",
        set: |settings, text| {
            settings.cluster.node = match text {
                "" => None,
                id => Some(model::NodeId::new(id).map_err(|error| error.to_string())?),
            };
            Ok(())
        },
        get: |settings| quoted(settings.cluster.node.as_ref().map_or("", |id| id.as_str())),
    },
    Field {
        key: "etcd",
        sentence: "The members of etcd, such as http://10.0.0.1:2379,http://10.0.0.2:2379.",
        set: |settings, text| {
            settings.cluster.etcd = text
                .split([',', '\n', ';'])
                .map(|url| url.trim().to_owned())
                .filter(|url| !url.is_empty())
                .collect();
            match settings.cluster.etcd.iter().find(|url| !url.starts_with("http")) {
                Some(bad) => Err(format!("{bad:?} is not a URL such as http://10.0.0.1:2379")),
                None => Ok(()),
            }
        },
        get: |settings| quoted(&settings.cluster.etcd.join(",")),
    },
    optional!("etcd_user", "How this process shows itself to etcd.", cluster.etcd_user),
    ETCD_PASSWORD.0,
    ETCD_PASSWORD.1,
    optional!(
        "etcd_ca_file",
        "The authority that signed etcd's certificates.",
        cluster.etcd_ca_file
    ),
    optional!("etcd_cert_file", "This process's certificate for etcd.", cluster.etcd_cert_file),
    optional!("etcd_key_file", "The key of etcd_cert_file.", cluster.etcd_key_file),
    Field {
        key: JOURNAL,
        sentence: "The journal that all room servers share, such as postgres://parlour@10.0.0.1,10.0.0.2/parlour; not shown, as it may hold a password.",
        set: |settings, text| {
            settings.cluster.journal = secret(text);
            match text {
                "" => Ok(()),
                _ if text.starts_with("postgres://") || text.starts_with("postgresql://") => Ok(()),
                _ => Err("this is not a URL such as postgres://parlour@10.0.0.1/parlour".into()),
            }
        },
        get: |_| quoted(""),
    },
    count!(
        "journal_writers",
        "Connections to the journal that append; each carries many slots.",
        cluster.journal_writers
    ),
    count!("journal_readers", "Connections to the journal that read.", cluster.journal_readers),
    Field {
        key: "link",
        sentence: "Where other nodes reach this room server; port 0 picks one.",
        set: |settings, text| address(text).map(|value| settings.cluster.link = value),
        get: |settings| quoted(&settings.cluster.link.to_string()),
    },
    CLUSTER_KEY.0,
    CLUSTER_KEY.1,
    text!(
        "advertise_link",
        "HOST:PORT of link as other nodes dial it; empty: link itself.",
        cluster.advertise_link
    ),
    text!(
        "advertise_ws",
        "The WebSocket's URL as clients dial it; empty: made of listen.",
        cluster.advertise_ws
    ),
    text!(
        "advertise_grpc",
        "The URL of gRPC as clients dial it; empty: made of grpc.",
        cluster.advertise_grpc
    ),
    count!(
        "weight",
        "This room server's share of the slots relative to others'; 0 takes none.",
        cluster.weight
    ),
    limit!(rooms_per_session_max, "Rooms of one session."),
    limit!(publishes_per_second, "Publishes and signals a second of one session."),
    limit!(subscribes_per_second, "Subscribes a second of one session, beyond those of its hello."),
    limit!(requests_per_second, "Other requests a second of one session."),
    limit!(sessions_per_address_max, "Sessions from one address."),
    limit!(sessions_max, "Sessions in all."),
    limit!(hello_within_ms, "Milliseconds within which hello must come."),
    limit!(heartbeat_ms, "Milliseconds between two heartbeats."),
    limit!(idle_ms, "Milliseconds of silence after which a session is taken for dead."),
    limit!(replay_max, "Raw entries of a resume; more is a snapshot."),
    limit!(recent_default, "Posts of a snapshot when the client names no number."),
    limit!(publish_wait_ms, "Milliseconds that a publish may wait for its room."),
    limit!(
        presence_grace_ms,
        "Milliseconds during which somebody whose connection broke still counts as present."
    ),
    limit!(presence_interval_ms, "Milliseconds between two presence pushes of a room."),
    limit!(presence_list_max, "Users listed by presence; beyond, only the count is told."),
    limit!(summary_interval_ms, "Milliseconds between two summaries of a room."),
    limit!(marks_interval_ms, "Milliseconds between two writes of a room's markers."),
    limit!(room_queue_max, "Publishes that may wait in one room."),
    limit!(batch_entries_max, "Entries of one append of one room."),
    limit!(dedup_window, "Recent entries whose ids a room keeps in memory."),
    limit!(log_entries_max, "Entries of a room's live tail in an edge's memory."),
    limit!(log_bytes_max, "Bytes of the same."),
    limit!(control_bytes_max, "Bytes of answers that may wait for a client that does not read."),
    limit!(room_idle_ms, "Milliseconds after which an unused room is closed in memory."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_stands_in_the_table() {
        let shown = format!("{:?}", model::Limits::default());
        let names = shown.trim_start_matches("Limits { ").trim_end_matches(" }").split(", ");
        for name in names.filter_map(|pair| pair.split(':').next()) {
            assert!(index_of(&format!("limits.{name}")).is_some(), "{name} is missing");
        }
    }

    #[test]
    fn a_default_reads_back_as_itself() {
        let defaults = Settings::default();
        for field in FIELDS {
            let shown = (field.get)(&defaults);
            let mut settings = Settings::default();
            let text = shown.trim_matches('"').trim_matches(['[', ']']);
            (field.set)(&mut settings, text)
                .unwrap_or_else(|error| panic!("{}: {error}", field.key));
            assert_eq!((field.get)(&settings), shown, "{}", field.key);
        }
    }
}
