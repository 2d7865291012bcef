//! An etcd that asks who one is.

use std::path::Path;

use cluster::Registry;
use etcd_client::{
    Certificate, Client, ConnectOptions, Identity, Permission, PermissionType,
    RoleGrantPermissionResponse, TlsOptions,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use registry::etcd::{Etcd, Login, OpenError, Secret, Settings, Tls};

use crate::members::Etcds;
use crate::{constants, names, node, settings, swapped, until};

struct Papers {
    ca: String,
    /// Certificate and key, for members and clients alike.
    ours: (String, String),
}

fn papers() -> Papers {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"));
    let issuer = issuer.expect("signed");
    let key = KeyPair::generate().expect("a key");
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let params = CertificateParams::new(names).expect("names");
    let ours = params.signed_by(&key, &issuer).expect("signed");
    Papers { ca: issuer.pem(), ours: (ours.pem(), key.serialize_pem()) }
}

impl Papers {
    fn arguments(&self, dir: &Path) -> Vec<String> {
        let file = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).expect("written");
            path.display().to_string()
        };
        vec![
            format!("--trusted-ca-file={}", file("ca.pem", &self.ca)),
            format!("--cert-file={}", file("cert.pem", &self.ours.0)),
            format!("--key-file={}", file("key.pem", &self.ours.1)),
            "--client-cert-auth=true".to_owned(),
        ]
    }

    fn tls(&self) -> Tls {
        let (certificate, key) = self.ours.clone();
        Tls {
            ca_pem: self.ca.clone(),
            identity: Some((certificate, Secret::new(key))),
            domain: None,
        }
    }

    async fn root(&self, url: &str) -> Client {
        let tls = TlsOptions::new()
            .ca_certificate(Certificate::from_pem(&self.ca))
            .identity(Identity::from_pem(&self.ours.0, &self.ours.1));
        let options = ConnectOptions::new().with_tls(tls);
        Client::connect([url], Some(options)).await.expect("a URL")
    }
}

/// A user who may touch one cluster's keys and nothing else.
async fn lock_up(root: &mut Client) -> Option<RoleGrantPermissionResponse> {
    root.user_add("root", "root's", None).await.ok()?;
    root.user_grant_role("root", "root").await.ok()?;
    root.user_add("parlour", "hunter2", None).await.ok()?;
    root.role_add("parlour").await.ok()?;
    let keys = Permission::new(PermissionType::Readwrite, "/parlour/main/").with_prefix();
    let granted = root.role_grant_permission("parlour", keys).await.ok()?;
    root.user_grant_role("parlour", "parlour").await.ok()?;
    root.auth_enable().await.ok()?;
    Some(granted)
}

#[tokio::test]
async fn with_papers_and_a_password_one_gets_in_and_without_not() {
    let papers = papers();
    let etcds = Etcds::start_with(1, |dir| papers.arguments(dir)).await;
    let url = format!("https://{}", etcds.at(0));
    let root = papers.root(&url).await;
    until("it answers", || async { root.kv_client().get("a", None).await.ok() }).await;
    lock_up(&mut root.clone()).await.expect("root may");

    let login =
        |word: &str| Login { user: "parlour".to_owned(), password: Secret::new(word.to_owned()) };
    let right = Settings {
        login: Some(login("hunter2")),
        tls: Some(papers.tls()),
        ..settings(vec![url.clone()])
    };
    Etcd::init(right.clone(), constants()).await.expect("made");
    let one = Etcd::open(right.clone(), node("n1")).await.expect("opened");
    let record = swapped(&one, 1, 0, 1).await;
    until("it follows", || async { one.is_following().then_some(()) }).await;
    swapped(&one, 1, record.revision, 2).await;
    assert_eq!(names(&one.view()), ["n1"]);

    let wrong = Settings { login: Some(login("hunter3")), ..right.clone() };
    let refused = Etcd::observe(wrong).await.expect_err("refused");
    assert!(matches!(refused, OpenError::Refused(_)), "{refused:?}");
    assert!(!format!("{refused} {refused:?} {right:?}").contains("hunter"));

    let foreign = Settings { cluster: "other".to_owned(), ..right.clone() };
    let refused = Etcd::observe(foreign).await.expect_err("refused");
    assert!(matches!(refused, OpenError::Refused(_)), "{refused:?}");

    let without = Tls { identity: None, ..papers.tls() };
    let refused = Etcd::observe(Settings { tls: Some(without), ..right }).await;
    assert!(refused.is_err(), "without a certificate of ours");
}
