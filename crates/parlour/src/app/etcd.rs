//! How this process reaches etcd.

use std::path::Path;

use registry::etcd::{Login, Secret, Settings, Tls};

use crate::settings::ClusterSettings;

/// What the registry's client is told.
///
/// # Errors
/// A sentence that names the file which cannot be read.
pub(crate) fn settings(cluster: &ClusterSettings) -> Result<Settings, String> {
    let login = match (&cluster.etcd_user, &cluster.etcd_password) {
        (Some(user), Some(password)) => {
            Some(Login { user: user.clone(), password: text("etcd_password", password.expose())? })
        }
        _ => None,
    };
    let identity = match (&cluster.etcd_cert_file, &cluster.etcd_key_file) {
        (Some(cert), Some(key)) => {
            Some((pem("etcd_cert_file", cert)?, Secret::new(pem("etcd_key_file", key)?)))
        }
        _ => None,
    };
    let tls = match &cluster.etcd_ca_file {
        Some(ca) => Some(Tls { ca_pem: pem("etcd_ca_file", ca)?, identity, domain: None }),
        None => None,
    };
    Ok(Settings { login, tls, ..Settings::new(cluster.etcd.clone(), cluster.name.clone()) })
}

fn pem(name: &str, path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path)
        .map_err(|error| format!("{name}: cannot read {}: {error}", path.display()))
}

fn text(name: &str, bytes: &[u8]) -> Result<Secret, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| format!("{name} is not a text"))?;
    Ok(Secret::new(text.to_owned()))
}
