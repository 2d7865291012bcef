//! Reports of room servers that this edge finds dead or silent, to the other room servers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use link::Suspect;
use model::NodeId;
use tokio::time::Instant;
use tonic::transport::Channel;
use wire::link::SuspectRequest;
use wire::link::peer_client::PeerClient;

/// A report is worth nothing later; the next one comes after [`link::SUSPECT_MS`].
const REPORT_WITHIN: Duration = Duration::from_millis(link::SUSPECT_MS);

/// Shared by all lanes: each finds out for itself, and nobody has to hear the same from all of them.
#[derive(Clone, Debug)]
pub(super) struct Reports {
    edge: NodeId,
    /// When somebody was last told about somebody. As many as there are pairs of room servers that
    /// lived in the last while.
    told: Arc<Mutex<HashMap<(NodeId, NodeId), Instant>>>,
}

impl Reports {
    pub(super) fn new(edge: NodeId) -> Reports {
        Reports { edge, told: Arc::default() }
    }

    /// Tells `to` about a node, unless it was told less than a second ago.
    pub(super) fn tell(&self, to: &NodeId, channel: &Channel, suspect: &Suspect) {
        if !self.is_due(to, &suspect.node, Instant::now()) {
            return;
        }
        let request = SuspectRequest {
            observer: self.edge.as_str().to_owned(),
            node: suspect.node.as_str().to_owned(),
            silent_ms: suspect.silent_ms,
        };
        let (channel, to) = (channel.clone(), to.clone());
        tokio::spawn(async move {
            let mut peer = PeerClient::new(channel);
            match tokio::time::timeout(REPORT_WITHIN, peer.suspect(request)).await {
                Ok(Ok(_)) => {}
                Ok(Err(status)) => tracing::debug!(%to, %status, "a report was not taken"),
                Err(_) => tracing::debug!(%to, "a report was not answered"),
            }
        });
    }

    fn is_due(&self, to: &NodeId, about: &NodeId, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now.duration_since(*at) < REPORT_WITHIN);
        let pair = (to.clone(), about.clone());
        if told.contains_key(&pair) {
            return false;
        }
        told.insert(pair, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_is_told_the_same_twice_within_a_second() {
        let node = |id: &str| NodeId::new(id).expect("valid");
        let reports = Reports::new(node("e1"));
        let now = Instant::now();
        assert!(reports.is_due(&node("n1"), &node("n3"), now));
        assert!(!reports.clone().is_due(&node("n1"), &node("n3"), now));
        assert!(reports.is_due(&node("n2"), &node("n3"), now));
        assert!(reports.is_due(&node("n1"), &node("n2"), now));
        assert!(reports.is_due(&node("n1"), &node("n3"), now + REPORT_WITHIN));
    }
}
