//! Every bound, with how it was chosen. Constants are part of the contract or of a format;
//! [`Limits`] are the ones that an operator may set.

/// A client's frame, in bytes: four times the longest text, so that escapes in JSON fit.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;
/// `hello`, in bytes: 500 rooms with a position and a name of 128 bytes each.
pub const HELLO_BYTES_MAX: usize = 256 * 1024;
/// A post's text, in bytes of UTF-8: some eight pages.
pub const TEXT_BYTES_MAX: usize = 16 * 1024;
/// An application's `data`, in bytes of its protobuf form.
pub const DATA_BYTES_MAX: usize = 8 * 1024;
/// How deep `data` may nest; a parser's stack stays small.
pub const DATA_DEPTH_MAX: usize = 16;
/// Users that one post may mention.
pub const MENTIONS_MAX: usize = 50;
/// A reaction's key, in bytes: the longest emoji sequences are under 40.
pub const REACTION_KEY_BYTES_MAX: usize = 64;
/// Different keys on one post; keeps [`crate::Fold`] small.
pub const REACTION_KEYS_PER_POST_MAX: usize = 64;
/// Users named beside a reaction's count.
pub const REACTION_USERS_LISTED: usize = 10;
/// Edits of one post: a redaction blanks them all in one transaction.
pub const EDITS_PER_POST_MAX: u32 = 200;
/// A redaction's reason, in bytes.
pub const REASON_BYTES_MAX: usize = 512;
/// A signal's `type`, in bytes.
pub const SIGNAL_TYPE_BYTES_MAX: usize = 64;
/// A signal's `data`, in bytes of its protobuf form.
pub const SIGNAL_DATA_BYTES_MAX: usize = 1024;
/// A user's presence `data`, in bytes of its protobuf form.
pub const PRESENCE_DATA_BYTES_MAX: usize = 512;
/// A user's shown name, in bytes.
pub const USER_NAME_BYTES_MAX: usize = 128;
/// Posts of one page.
pub const PAGE_POSTS_MAX: u32 = 100;
/// A snapshot or page, in bytes of payload; then `more`.
pub const PAGE_BYTES_MAX: usize = 256 * 1024;
/// Rooms of one `Summaries`.
pub const SUMMARIES_ROOMS_MAX: usize = 500;
/// Entries that may lie between `since` and head for a publish to be decidable.
pub const DEDUP_ENTRIES_MAX: u64 = 65_536;
/// Entries checked for a publish without `since`.
pub const DEDUP_DEFAULT_ENTRIES: u64 = 1_000;
/// Entries of a shared segment of a room's log on an edge.
pub const SEGMENT_ENTRIES: u64 = 64;
/// Longest token accepted, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

const _: () = assert!(FRAME_BYTES_MAX <= HELLO_BYTES_MAX);
const _: () = assert!(TEXT_BYTES_MAX + DATA_BYTES_MAX < FRAME_BYTES_MAX / 2);
const _: () = assert!(PAGE_BYTES_MAX > 2 * (TEXT_BYTES_MAX + DATA_BYTES_MAX));
const _: () = assert!(DEDUP_DEFAULT_ENTRIES <= DEDUP_ENTRIES_MAX);
const _: () = assert!(REACTION_USERS_LISTED <= u8::MAX as usize);

/// The bounds that an operator may set; each default says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rooms of one session. 500 is the longest room list that people were seen to keep open.
    pub rooms_per_session_max: usize,
    /// Publishes (and signals) a second of one session; a burst of as many is allowed.
    pub publishes_per_second: u32,
    /// Subscribes a second of one session beyond those of its hello.
    pub subscribes_per_second: u32,
    /// Other requests (history, marks, summaries …) a second of one session.
    pub requests_per_second: u32,
    /// Sessions of one address; a large office behind one address still fits.
    pub sessions_per_address_max: usize,
    /// Sessions of one edge.
    pub sessions_max: usize,
    /// Milliseconds within which hello must come.
    pub hello_within_ms: u64,
    /// Milliseconds between two of the server's heartbeats: below the 30-60 s after which
    /// middleboxes forget a quiet connection.
    pub heartbeat_ms: u64,
    /// Milliseconds without any frame after which a session is taken for dead (> 2 heartbeats).
    pub idle_ms: u64,
    /// Longest replay of raw entries; more is a snapshot.
    pub replay_max: u64,
    /// Posts of a snapshot when the client names no number.
    pub recent_default: u32,
    /// Milliseconds that a publish may wait for its room before it is refused as retryable.
    pub publish_wait_ms: u64,
    /// Milliseconds during which a person whose last connection broke still counts as present.
    pub presence_grace_ms: u64,
    /// Milliseconds between two presence pushes of one room.
    pub presence_interval_ms: u64,
    /// Users listed by presence; beyond, only the count is told.
    pub presence_list_max: usize,
    /// Milliseconds between two summaries of a room.
    pub summary_interval_ms: u64,
    /// Milliseconds between two writes of a room's markers.
    pub marks_interval_ms: u64,
    /// Publishes that may wait in one room.
    pub room_queue_max: usize,
    /// Entries of one append of one room.
    pub batch_entries_max: usize,
    /// Recent entries whose ids a room keeps in memory while it is open.
    pub dedup_window: u64,
    /// Entries of a room's live tail that an edge keeps in memory.
    pub log_entries_max: usize,
    /// Bytes of the same.
    pub log_bytes_max: usize,
    /// Bytes of answers that may wait for a client that does not read; then it is not read from.
    pub control_bytes_max: usize,
    /// Milliseconds without readers and publishes after which a room is closed in memory.
    pub room_idle_ms: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            rooms_per_session_max: 500,
            publishes_per_second: 50,
            subscribes_per_second: 50,
            requests_per_second: 50,
            sessions_per_address_max: 1_000,
            sessions_max: 100_000,
            hello_within_ms: 10_000,
            heartbeat_ms: 25_000,
            idle_ms: 60_000,
            replay_max: 1_000,
            recent_default: 50,
            publish_wait_ms: 10_000,
            presence_grace_ms: 15_000,
            presence_interval_ms: 250,
            presence_list_max: 100,
            summary_interval_ms: 1_000,
            marks_interval_ms: 1_000,
            room_queue_max: 4_096,
            batch_entries_max: 256,
            dedup_window: 4_096,
            log_entries_max: 1_024,
            log_bytes_max: 1024 * 1024,
            control_bytes_max: 512 * 1024,
            room_idle_ms: 60_000,
        }
    }
}

impl Limits {
    /// Every relation between two limits that does not hold, each as a sentence.
    #[must_use]
    pub fn check(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut must = |holds: bool, fault: String| {
            if !holds {
                faults.push(fault);
            }
        };
        must(
            self.idle_ms > 2 * self.heartbeat_ms,
            format!(
                "idle_ms ({}) must be more than twice heartbeat_ms ({}), or quiet sessions end",
                self.idle_ms, self.heartbeat_ms
            ),
        );
        must(
            self.dedup_window <= DEDUP_ENTRIES_MAX,
            format!("dedup_window ({}) must be at most {DEDUP_ENTRIES_MAX}", self.dedup_window),
        );
        must(
            self.recent_default <= PAGE_POSTS_MAX,
            format!("recent_default ({}) must be at most {PAGE_POSTS_MAX}", self.recent_default),
        );
        must(
            self.control_bytes_max >= 2 * PAGE_BYTES_MAX,
            format!(
                "control_bytes_max ({}) must hold two pages of {PAGE_BYTES_MAX} bytes",
                self.control_bytes_max
            ),
        );
        must(
            self.log_bytes_max >= 2 * FRAME_BYTES_MAX,
            format!(
                "log_bytes_max ({}) must hold two frames of {FRAME_BYTES_MAX} bytes",
                self.log_bytes_max
            ),
        );
        for (name, value) in [
            ("publishes_per_second", u64::from(self.publishes_per_second)),
            ("subscribes_per_second", u64::from(self.subscribes_per_second)),
            ("requests_per_second", u64::from(self.requests_per_second)),
            ("rooms_per_session_max", self.rooms_per_session_max as u64),
            ("sessions_per_address_max", self.sessions_per_address_max as u64),
            ("sessions_max", self.sessions_max as u64),
            ("hello_within_ms", self.hello_within_ms),
            ("heartbeat_ms", self.heartbeat_ms),
            ("presence_interval_ms", self.presence_interval_ms),
            ("summary_interval_ms", self.summary_interval_ms),
            ("marks_interval_ms", self.marks_interval_ms),
            ("room_queue_max", self.room_queue_max as u64),
            ("batch_entries_max", self.batch_entries_max as u64),
            ("log_entries_max", self.log_entries_max as u64),
            ("publish_wait_ms", self.publish_wait_ms),
        ] {
            must(value > 0, format!("{name} must be more than 0"));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_have_no_fault_and_every_bad_relation_is_named() {
        assert_eq!(Limits::default().check(), Vec::<String>::new());
        let bad =
            Limits { idle_ms: 10, dedup_window: 100_000, room_queue_max: 0, ..Limits::default() };
        assert_eq!(bad.check().len(), 3);
    }
}
