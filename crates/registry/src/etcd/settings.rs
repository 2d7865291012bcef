//! How etcd is reached, and what is checked of it before anything is dialled.

use std::fmt;
use std::time::Duration;

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};

/// How long a node stays on the list without a sign of life. A change of etcd's leader takes 1.5 to
/// 2.5 seconds, in which no sign of life arrives.
pub const LEASE_TTL_DEFAULT: Duration = Duration::from_secs(5);

/// etcd grants no less: one and a half times its election time-out, rounded up.
const LEASE_TTL_MIN: Duration = Duration::from_secs(2);

/// A longer one would keep dead nodes on the list for as long.
const LEASE_TTL_MAX: Duration = Duration::from_secs(60);

/// How long one member may take for one call before the next is asked: a call that was on its way
/// through a leader when that died hangs for ever, and so does one to a stopped member.
pub const CALL_TIMEOUT_DEFAULT: Duration = Duration::from_millis(700);

const CALL_TIMEOUT_MIN: Duration = Duration::from_millis(50);

/// Signs of life in one TTL: four may be lost in a row.
const BEATS_PER_TTL: u32 = 5;

/// Longest name of a cluster in the keys.
const CLUSTER_BYTES_MAX: usize = 64;

/// A secret text, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text`.
    #[must_use]
    pub fn new(text: String) -> Secret {
        Secret(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Who we are to an etcd that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

/// How `https` members are known, and how we are known to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The authority that signed the members' certificates, PEM.
    pub ca_pem: String,
    /// Our certificate and its key, both PEM, where members ask for one.
    pub identity: Option<(String, Secret)>,
    /// The name in the members' certificates where it is not the host of their URLs.
    pub domain: Option<String>,
}

/// How etcd is reached. [`Settings::new`] has the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The members' client URLs, such as `http://10.0.0.1:2379`; all of them are used.
    pub endpoints: Vec<String>,
    /// The name under which the cluster's keys lie: `/parlour/<cluster>/`.
    pub cluster: String,
    /// How long this node stays on the list without a sign of life; whole seconds.
    pub lease_ttl: Duration,
    /// How long one member may take for one call.
    pub call_timeout: Duration,
    /// Name and password, where etcd asks for them.
    pub login: Option<Login>,
    /// TLS, for `https` URLs.
    pub tls: Option<Tls>,
}

impl Settings {
    /// These members and this cluster, and defaults for the rest.
    #[must_use]
    pub fn new(endpoints: Vec<String>, cluster: String) -> Settings {
        Settings {
            endpoints,
            cluster,
            lease_ttl: LEASE_TTL_DEFAULT,
            call_timeout: CALL_TIMEOUT_DEFAULT,
            login: None,
            tls: None,
        }
    }

    /// Everything that is wrong with them, a sentence each; none quotes a secret.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.endpoints.is_empty() {
            faults.push("no URL of an etcd member is given".to_owned());
        }
        for (at, url) in self.endpoints.iter().enumerate() {
            if let Some(fault) = self.endpoint_fault(url) {
                faults.push(format!("etcd's URL number {} {fault}", at + 1));
            }
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if !(1..=CLUSTER_BYTES_MAX).contains(&self.cluster.len())
            || !self.cluster.bytes().all(allowed)
        {
            faults.push(format!(
                "the cluster's name {:?} is not 1 to {CLUSTER_BYTES_MAX} letters, digits and ._-",
                self.cluster
            ));
        }
        if !(LEASE_TTL_MIN..=LEASE_TTL_MAX).contains(&self.lease_ttl)
            || self.lease_ttl.subsec_nanos() != 0
        {
            faults.push(format!(
                "the lease's {:?} are not {LEASE_TTL_MIN:?} to {LEASE_TTL_MAX:?} in whole seconds",
                self.lease_ttl
            ));
        }
        if self.call_timeout < CALL_TIMEOUT_MIN || self.call_timeout * 2 > self.lease_ttl {
            faults.push(format!(
                "a call's {:?} are not between {CALL_TIMEOUT_MIN:?} and half of the lease's {:?}",
                self.call_timeout, self.lease_ttl
            ));
        }
        faults
    }

    fn endpoint_fault(&self, url: &str) -> Option<&'static str> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        match scheme {
            // Without quoting it: what stands there is a password.
            _ if rest.contains('@') => Some("names a user; that is a setting of its own"),
            "http" if self.tls.is_some() => Some("is http, but TLS is set"),
            "https" if self.tls.is_none() => Some("is https; name the authority that signed it"),
            "http" | "https" if !rest.is_empty() => None,
            _ => Some("does not begin with http:// or https:// and a host"),
        }
    }

    /// How often a sign of life is given.
    pub(super) fn beat(&self) -> Duration {
        self.lease_ttl / BEATS_PER_TTL
    }

    /// What the client crate makes of them. Without HTTP/2 keepalive: etcd closes connections that
    /// ping more often than every 5 seconds, and each call and stream has a time-out of its own.
    pub(super) fn connect_options(&self) -> ConnectOptions {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(self.call_timeout)
            .with_auto_token_refresh(true)
            // Else a watch on a member that is cut off from its leader is silent for ever.
            .with_require_leader(true);
        if let Some(login) = &self.login {
            options = options.with_user(&*login.user, &*login.password.0);
        }
        if let Some(tls) = &self.tls {
            let mut config = TlsOptions::new().ca_certificate(Certificate::from_pem(&tls.ca_pem));
            if let Some((certificate, key)) = &tls.identity {
                config = config.identity(Identity::from_pem(certificate, &key.0));
            }
            if let Some(domain) = &tls.domain {
                config = config.domain_name(domain);
            }
            options = options.with_tls(config);
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::new(vec!["http://127.0.0.1:2379".to_owned()], "main".to_owned())
    }

    #[test]
    fn the_defaults_have_no_fault_and_all_faults_are_told_at_once() {
        assert_eq!(settings().faults(), Vec::<String>::new());
        let wrong = Settings {
            endpoints: vec!["127.0.0.1:2379".to_owned(), "https://a".to_owned()],
            cluster: "a/b".to_owned(),
            lease_ttl: Duration::from_millis(2500),
            call_timeout: Duration::from_secs(2),
            ..settings()
        };
        assert_eq!(wrong.faults().len(), 5, "{:?}", wrong.faults());
        let none = Settings { endpoints: Vec::new(), ..settings() };
        assert_eq!(none.faults(), ["no URL of an etcd member is given"]);
    }

    #[test]
    fn no_secret_is_shown() {
        let secret = || Secret::new("hunter2".to_owned());
        let settings = Settings {
            endpoints: vec!["http://root:hunter2@127.0.0.1:2379".to_owned()],
            login: Some(Login { user: "root".to_owned(), password: secret() }),
            tls: Some(Tls {
                ca_pem: String::new(),
                identity: Some((String::new(), secret())),
                domain: None,
            }),
            ..settings()
        };
        assert!(!format!("{:?}", settings.faults()).contains("hunter2"));
        let without_url = Settings { endpoints: Vec::new(), ..settings };
        assert!(!format!("{without_url:?}").contains("hunter2"));
    }
}
