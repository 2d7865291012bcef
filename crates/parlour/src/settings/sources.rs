//! Where settings come from.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::Fault;
use super::fields::{FIELDS, SECRETS};

/// Settings with a flag of their own; all others are flags by way of `--set`.
const FLAGS: [&str; 13] = [
    "data",
    "listen",
    "grpc",
    "token_key_file",
    "insecure",
    "log",
    "log_json",
    "etcd",
    "journal",
    "cluster_key_file",
    "node",
    "link",
    "cluster",
];

const ENVIRONMENT_PREFIX: &str = "PARLOUR_";

/// What was given, in the order in which the later wins.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// What could not be read at all.
    pub faults: Vec<Fault>,
    /// A TOML file's name and text.
    pub file: Option<(PathBuf, String)>,
    /// Variables that begin with `PARLOUR_`; others are ignored.
    pub environment: Vec<(String, String)>,
    /// Flags, by the name of the setting.
    pub flags: Vec<(String, String)>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A line of a file.
    File(PathBuf, usize),
    /// A variable.
    Environment(String),
    /// A flag.
    Flag(String),
}

impl Origin {
    pub(super) fn place(&self) -> String {
        match self {
            Origin::Default => String::new(),
            Origin::File(path, line) => format!("{}:{line}", path.display()),
            Origin::Environment(name) => name.clone(),
            Origin::Flag(key) if FLAGS.contains(&key.as_str()) => {
                format!("--{}", key.replace('_', "-"))
            }
            Origin::Flag(key) => format!("--set {key}"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            other => f.write_str(&other.place()),
        }
    }
}

/// One value as it was given.
pub(super) struct Given {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) origin: Origin,
}

impl Sources {
    pub(super) fn gather(&self, faults: &mut Vec<Fault>) -> Vec<Given> {
        let mut given = Vec::new();
        faults.extend(self.faults.iter().cloned());
        if let Some((path, text)) = &self.file {
            from_file(path, text, &mut given, faults);
        }
        for (name, value) in &self.environment {
            if let Some(key) = name.strip_prefix(ENVIRONMENT_PREFIX).and_then(key_of_variable) {
                let origin = Origin::Environment(name.clone());
                given.push(Given { key: key.to_owned(), value: value.clone(), origin });
            } else if name.starts_with(ENVIRONMENT_PREFIX) {
                let text = "there is no such setting; `parlour config` lists them".to_owned();
                faults.push(Fault { place: name.clone(), text });
            }
        }
        given.extend(self.flags.iter().map(|(key, value)| Given {
            key: key.clone(),
            value: value.clone(),
            origin: Origin::Flag(key.clone()),
        }));
        given
    }
}

fn key_of_variable(name: &str) -> Option<&'static str> {
    let wanted = name.to_ascii_lowercase();
    FIELDS.iter().map(|field| field.key).find(|key| key.replace('.', "_") == wanted)
}

/// In the order of the lines, whatever order the tables are kept in.
fn from_file(path: &Path, text: &str, all: &mut Vec<Given>, faults: &mut Vec<Fault>) {
    let mut given: Vec<Given> = Vec::new();
    let line_at = |offset: usize| 1 + text[..offset.min(text.len())].matches('\n').count();
    match DeTable::parse(text) {
        Ok(table) => flatten("", table.get_ref(), &mut |key, value, offset| {
            let origin = Origin::File(path.to_owned(), line_at(offset));
            match (key.as_str(), value) {
                (secret, Some(_)) if SECRETS.contains(&secret) => faults.push(Fault {
                    place: origin.place(),
                    text: format!(
                        "{secret} does not belong into a file that many read: set {secret}_file, \
                         or PARLOUR_{} in the environment",
                        secret.to_ascii_uppercase()
                    ),
                }),
                (_, Some(value)) => given.push(Given { key, value, origin }),
                (_, None) => faults.push(Fault {
                    place: origin.place(),
                    text: format!("{key} is not a text, a number, true, false or a list of texts"),
                }),
            }
        }),
        Err(error) => {
            let line = line_at(error.span().map_or(0, |span| span.start));
            let place = Origin::File(path.to_owned(), line).place();
            faults.push(Fault { place, text: error.message().to_owned() });
        }
    }
    given.sort_by_key(|given| match given.origin {
        Origin::File(_, line) => line,
        _ => 0,
    });
    all.append(&mut given);
}

/// Walks the tables; a list of texts becomes lines.
fn flatten(
    prefix: &str,
    table: &DeTable<'_>,
    emit: &mut impl FnMut(String, Option<String>, usize),
) {
    for (name, value) in table {
        let name_text: &str = name.get_ref();
        let key =
            if prefix.is_empty() { name_text.to_owned() } else { format!("{prefix}.{name_text}") };
        let offset = name.span().start;
        match value.get_ref() {
            DeValue::Table(inner) => flatten(&key, inner, emit),
            DeValue::Array(items) => {
                let texts: Option<Vec<&str>> =
                    items.iter().map(|item| item.get_ref().as_str()).collect();
                emit(key, texts.map(|texts| texts.join("\n")), offset);
            }
            other => emit(key, scalar(other), offset),
        }
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Boolean(switch) => Some(switch.to_string()),
        _ => None,
    }
}
