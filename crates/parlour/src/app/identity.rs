//! The keys of this process.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use edge::Secret;

const KEY_FILE: &str = "cluster.key";
const KEY_BYTES: usize = 32;

/// The key that signs resume tokens: made once, readable by its owner only, and kept beside the
/// journal, so that sessions go on after a restart.
///
/// # Errors
/// A sentence that names the file.
pub(super) fn cluster_key(data: &Path) -> Result<Secret, String> {
    let path = data.join(KEY_FILE);
    let tell = |error: std::io::Error| format!("{}: {error}", path.display());
    match fs::read(&path) {
        Ok(bytes) if bytes.len() == KEY_BYTES => return Ok(Secret::new(bytes)),
        Ok(bytes) => {
            return Err(format!(
                "{} has {} bytes and should have {KEY_BYTES}; remove it and a new one is made \
                 (open sessions then count as new ones)",
                path.display(),
                bytes.len()
            ));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(tell(error)),
    }
    let mut key = vec![0u8; KEY_BYTES];
    getrandom::fill(&mut key).map_err(|error| format!("no random bytes: {error}"))?;
    let draft = path.with_extension("draft");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .map_err(tell)?;
    file.write_all(&key).and_then(|()| file.sync_all()).map_err(tell)?;
    fs::rename(&draft, &path).map_err(tell)?;
    Ok(Secret::new(key))
}

/// A seed for jitter and ids.
pub(super) fn random() -> u64 {
    let mut bytes = [0u8; 8];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_is_nobody_elses_to_read() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a folder");
        cluster_key(dir.path()).expect("made");
        let path = dir.path().join(KEY_FILE);
        let first = fs::read(&path).expect("there");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        cluster_key(dir.path()).expect("read");
        assert_eq!(fs::read(&path).expect("there"), first);
        fs::write(&path, b"short").expect("written");
        assert!(cluster_key(dir.path()).expect_err("refused").contains("should have 32"));
    }
}
