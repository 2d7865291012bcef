//! JSON lines.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::BenchError;

/// Something that was done during a run.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventMark {
    /// Milliseconds since the epoch.
    pub at_ms: u64,
    /// In a few words.
    pub what: String,
}

/// Every line that is not empty.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, BenchError> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| BenchError::Io(format!("{}: {error}", path.display())))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parsed = lines.map(|(nth, line)| {
        serde_json::from_str(line).map_err(|error| {
            BenchError::Usage(format!("{}, line {}: {error}", path.display(), nth + 1))
        })
    });
    parsed.collect()
}
