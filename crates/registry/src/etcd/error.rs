//! Why a registry could not be opened.

use std::fmt;

use model::NodeId;

use super::judge::Verdict;
use super::members::Failure;
use super::records::Constants;

/// Why a registry could not be opened; each reads as a sentence for whoever started the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The settings are wrong, in each of these ways.
    Settings(Vec<String>),
    /// No member answered; what was heard last.
    Unreachable(String),
    /// etcd refuses: rights, a password, a switch of its own.
    Refused(String),
    /// Nobody has made the cluster of this name yet.
    NotMade(String),
    /// The cluster is not one that this program can serve.
    Foreign(String),
    /// It was made before, with these other constants.
    Made(Box<Constants>),
    /// Another process that lives holds the node's id.
    Taken(NodeId),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Settings(faults) => f.write_str(&faults.join("; ")),
            OpenError::Unreachable(why) => write!(f, "no etcd member answers; the last: {why}"),
            OpenError::Refused(why) => write!(f, "etcd refuses: {why}"),
            OpenError::NotMade(cluster) => {
                write!(f, "etcd knows no cluster {cluster:?}; `parlour admin init` makes it, once")
            }
            OpenError::Foreign(why) => write!(f, "this cluster cannot be served: {why}"),
            OpenError::Made(other) => write!(
                f,
                "the cluster was made before, with id {:?}, {} slots by {:?} and record format {}",
                other.cluster_id, other.slots, other.slot_hash, other.record_format
            ),
            OpenError::Taken(id) => write!(
                f,
                "another process that lives is node {id}; give this one another id, or end the other"
            ),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> OpenError {
        match failure.verdict {
            Verdict::Refused => OpenError::Refused(failure.why),
            Verdict::Elsewhere | Verdict::Reload | Verdict::LeaseGone => {
                OpenError::Unreachable(failure.why)
            }
        }
    }
}
