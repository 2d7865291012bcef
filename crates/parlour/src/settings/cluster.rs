//! What a process needs to know to be a node of a cluster.

use std::net::SocketAddr;
use std::path::PathBuf;

use edge::Secret;
use model::NodeId;

use super::Role;

/// Settings of the roles `room` and `edge`; `serve` has no use for them.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// The cluster's name: part of every key in etcd.
    pub name: String,
    /// This process; `None`: a fresh id.
    pub node: Option<NodeId>,
    /// The members of etcd, as URLs.
    pub etcd: Vec<String>,
    /// How this process shows itself to etcd.
    pub etcd_user: Option<String>,
    /// Its password.
    pub etcd_password: Option<Secret>,
    /// Certificate of the authority that signed etcd's.
    pub etcd_ca_file: Option<PathBuf>,
    /// This process's certificate for etcd, and its key.
    pub etcd_cert_file: Option<PathBuf>,
    /// See `etcd_cert_file`.
    pub etcd_key_file: Option<PathBuf>,
    /// The distributed journal, as `postgres://…`: it may hold a password.
    pub journal: Option<Secret>,
    /// Connections to the journal that append.
    pub journal_writers: usize,
    /// Connections to the journal that read.
    pub journal_readers: usize,
    /// Where other nodes reach this one.
    pub link: SocketAddr,
    /// What nodes prove to each other, and what signs resume tokens.
    pub cluster_key: Option<Secret>,
    /// `host:port` of `link` as other nodes must dial it; empty: `link` itself.
    pub advertise_link: String,
    /// The WebSocket's URL as clients must dial it; empty: made of `listen`.
    pub advertise_ws: String,
    /// The URL of gRPC as clients must dial it; empty: made of `grpc`.
    pub advertise_grpc: String,
    /// This room server's share of the slots relative to others'.
    pub weight: u32,
}

impl Default for ClusterSettings {
    fn default() -> ClusterSettings {
        ClusterSettings {
            name: "parlour".to_owned(),
            node: None,
            etcd: Vec::new(),
            etcd_user: None,
            etcd_password: None,
            etcd_ca_file: None,
            etcd_cert_file: None,
            etcd_key_file: None,
            journal: None,
            journal_writers: 4,
            journal_readers: 8,
            link: SocketAddr::from(([127, 0, 0, 1], 7070)),
            cluster_key: None,
            advertise_link: String::new(),
            advertise_ws: String::new(),
            advertise_grpc: String::new(),
            weight: 1,
        }
    }
}

impl ClusterSettings {
    /// What is missing or does not fit together for this role, each as a sentence.
    pub(super) fn check(&self, role: Role) -> Vec<String> {
        if role == Role::Serve {
            return Vec::new();
        }
        let role_name = role.as_str();
        let mut faults = Vec::new();
        if self.etcd.is_empty() {
            faults.push(format!(
                "parlour {role_name} finds the other nodes through etcd: pass --etcd \
                 http://HOST:2379[,…]"
            ));
        }
        if role == Role::Room && self.journal.is_none() {
            faults.push(
                "parlour room keeps messages in a journal that all room servers share: pass \
                 --journal postgres://USER@HOST/DATABASE"
                    .to_owned(),
            );
        }
        match &self.cluster_key {
            None => faults.push(format!(
                "parlour {role_name} needs the key that the nodes of the cluster share: set \
                 cluster_key_file (or PARLOUR_CLUSTER_KEY) to the same 32 bytes or more everywhere"
            )),
            Some(key) if !key.is_strong() => {
                faults.push("the cluster key has less than 32 bytes".to_owned());
            }
            Some(_) => {}
        }
        if self.etcd_cert_file.is_some() != self.etcd_key_file.is_some() {
            faults.push("etcd_cert_file and etcd_key_file belong together".to_owned());
        }
        if self.etcd_user.is_some() != self.etcd_password.is_some() {
            faults.push("etcd_user and etcd_password_file belong together".to_owned());
        }
        if role == Role::Room && self.link.ip().is_unspecified() && self.advertise_link.is_empty() {
            faults.push(format!(
                "link = {} tells other nodes no address to dial: set advertise_link to HOST:PORT",
                self.link
            ));
        }
        for (name, value) in
            [("journal_writers", self.journal_writers), ("journal_readers", self.journal_readers)]
        {
            if !(1..=CONNECTIONS_MAX).contains(&value) {
                faults.push(format!("{name} ({value}) must be between 1 and {CONNECTIONS_MAX}"));
            }
        }
        faults
    }
}

/// PostgreSQL takes 100 connections by default, and there are other nodes.
const CONNECTIONS_MAX: usize = 64;
