//! What is to be done after an error, after a watch's answer, and after a gap: functions of their
//! arguments, so that a table can test them.

use std::time::Duration;

use etcd_client::{Error, ResponseHeader, WatchResponse};
use tonic::Code;

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// This member cannot tell, or not now: ask the next.
    Elsewhere,
    /// The revision that was asked for is no more: read everything again.
    Reload,
    /// The lease is no more.
    LeaseGone,
    /// Every member would say the same: settings or rights are wrong.
    Refused,
}

/// etcd's way to say that a token was made before the last change of users; a new one will do.
const AUTH_IS_OLD: &str = "revision of auth store is old";

pub(super) fn judge(error: &Error) -> Verdict {
    match error {
        Error::GRpcStatus(status) => match status.code() {
            Code::OutOfRange => Verdict::Reload,
            Code::NotFound => Verdict::LeaseGone,
            Code::InvalidArgument if status.message().contains(AUTH_IS_OLD) => Verdict::Elsewhere,
            Code::InvalidArgument
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::Unimplemented => Verdict::Refused,
            // `Unknown` and `Cancelled` among them: what a broken connection ends as depends on
            // where it broke. `Unauthenticated`: the next attempt logs in anew.
            _ => Verdict::Elsewhere,
        },
        // The crate's word for a keepalive that was answered with no time to live.
        Error::LeaseKeepAliveError(_) => Verdict::LeaseGone,
        Error::InvalidArgs(_) | Error::InvalidUri(_) | Error::InvalidMetadataValue(_) => {
            Verdict::Refused
        }
        _ => Verdict::Elsewhere,
    }
}

/// What an answer on a watch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A sign of life and nothing else.
    Life,
    /// The watch has passed on everything up to this revision.
    Progress(i64),
    /// Events.
    Events,
    /// The watch is over, for this member's own reasons: go on elsewhere.
    Over,
    /// The watch is over because its revision was compacted away: read everything again.
    Compacted,
}

pub(super) fn hear(answer: &WatchResponse) -> Heard {
    let revision = answer.header().map_or(0, ResponseHeader::revision);
    hear_parts(
        (answer.canceled(), answer.compact_revision(), answer.created()),
        answer.watch_id(),
        !answer.events().is_empty(),
        revision,
    )
}

/// `end`: whether it is cancelled, up to where history was compacted, whether it was only just created.
fn hear_parts(end: (bool, i64, bool), watch_id: i64, events: bool, revision: i64) -> Heard {
    match end {
        (true, compacted, _) if compacted > 0 => Heard::Compacted,
        (true, ..) => Heard::Over,
        _ if events => Heard::Events,
        (_, _, true) => Heard::Life,
        // What was asked for is answered without a watch's id. It says how far the *member* is: etcd
        // before 3.4.25 and 3.5.8 may send it before events of lower revisions.
        _ if watch_id < 0 => Heard::Life,
        _ => Heard::Progress(revision),
    }
}

/// The longest gap over which a watch goes on where it was. Over a longer one etcd may have been
/// restored from a snapshot and written to since, which neither its revision nor its term need show;
/// and reading what is there is cheaper than hearing of everything that happened.
const GAP_MAX: Duration = Duration::from_secs(10);

/// Where in whose history an answer stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// etcd's id of its cluster.
    pub(super) cluster: u64,
    /// The revision.
    pub(super) revision: i64,
    /// The term of the leader that it was read under.
    pub(super) term: u64,
}

impl Place {
    pub(super) fn of(header: Option<&ResponseHeader>) -> Place {
        header.map_or(Place::default(), |header| Place {
            cluster: header.cluster_id(),
            revision: header.revision(),
            term: header.raft_term(),
        })
    }

    /// Whether `later`, read from a majority after nothing was heard for `gap`, is this history gone on.
    /// An etcd that was restored from a snapshot has a lower revision at first, and often a lower term.
    pub(super) fn goes_on_as(&self, later: &Place, gap: Duration) -> bool {
        gap <= GAP_MAX
            && self.cluster == later.cluster
            && self.revision <= later.revision
            && self.term <= later.term
    }
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    #[test]
    fn every_error_has_its_remedy() {
        let status = |code, text: &str| Error::GRpcStatus(Status::new(code, text));
        for (error, verdict) in [
            (status(Code::Unavailable, "etcdserver: leader changed"), Verdict::Elsewhere),
            (status(Code::Unavailable, "tcp connect error"), Verdict::Elsewhere),
            (status(Code::Unknown, "h2 protocol error: broken pipe"), Verdict::Elsewhere),
            (status(Code::Cancelled, "operation was canceled"), Verdict::Elsewhere),
            (status(Code::DeadlineExceeded, ""), Verdict::Elsewhere),
            (status(Code::ResourceExhausted, "etcdserver: too many requests"), Verdict::Elsewhere),
            (status(Code::Unauthenticated, "etcdserver: invalid auth token"), Verdict::Elsewhere),
            (
                status(Code::InvalidArgument, "etcdserver: revision of auth store is old"),
                Verdict::Elsewhere,
            ),
            (
                status(Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted"),
                Verdict::Reload,
            ),
            (status(Code::NotFound, "etcdserver: requested lease not found"), Verdict::LeaseGone),
            (Error::LeaseKeepAliveError("lease not found".to_owned()), Verdict::LeaseGone),
            (status(Code::InvalidArgument, "etcdserver: authentication failed"), Verdict::Refused),
            (status(Code::PermissionDenied, "etcdserver: permission denied"), Verdict::Refused),
            (
                status(Code::FailedPrecondition, "etcdserver: authentication is not enabled"),
                Verdict::Refused,
            ),
            (Error::InvalidArgs("empty".to_owned()), Verdict::Refused),
            (Error::IoError(std::io::ErrorKind::BrokenPipe.into()), Verdict::Elsewhere),
        ] {
            assert_eq!(judge(&error), verdict, "{error}");
        }
    }

    #[test]
    fn a_watch_moves_on_by_its_own_progress_only() {
        let live = (false, 0, false);
        assert_eq!(hear_parts(live, 0, false, 9), Heard::Progress(9));
        assert_eq!(hear_parts(live, -1, false, 9), Heard::Life, "the member's progress");
        assert_eq!(hear_parts((false, 0, true), 0, false, 9), Heard::Life, "created");
        assert_eq!(hear_parts(live, 0, true, 9), Heard::Events);
        assert_eq!(hear_parts((true, 0, false), 0, false, 9), Heard::Over);
        assert_eq!(hear_parts((true, 7, false), 0, false, 9), Heard::Compacted);
        assert_eq!(hear_parts((true, 7, true), 0, false, 9), Heard::Compacted, "born so");
    }

    #[test]
    fn another_cluster_an_earlier_revision_or_term_and_a_long_silence_are_another_history() {
        let place = |cluster, revision, term| Place { cluster, revision, term };
        let before = place(1, 100, 5);
        let short = Duration::from_secs(3);
        assert!(before.goes_on_as(&place(1, 100, 5), short));
        assert!(before.goes_on_as(&place(1, 300, 6), short));
        assert!(!before.goes_on_as(&place(2, 300, 6), short), "another cluster");
        assert!(!before.goes_on_as(&place(1, 99, 6), short), "restored");
        assert!(!before.goes_on_as(&place(1, 300, 2), short), "restored, and written to since");
        assert!(!before.goes_on_as(&place(1, 300, 6), GAP_MAX * 2), "who knows, after so long");
    }
}
