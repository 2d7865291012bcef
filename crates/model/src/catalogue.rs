//! Everything that a client can be told when the answer is no: three numbered tables. The same
//! tables stand in `parlour/v1/frames.proto`; a test of `wire` holds them equal.

use std::borrow::Cow;

macro_rules! table {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $code:literal $reason:literal, $sentence:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum $name {
            $(#[doc = $sentence] $variant = $code,)+
        }

        impl $name {
            /// Every row, in the order of the numbers.
            pub const ALL: &[$name] = &[$($name::$variant,)+];

            /// The number on the wire.
            #[must_use]
            pub fn code(self) -> u32 {
                self as u16 as u32
            }

            /// The snake_case word on the wire.
            #[must_use]
            pub fn reason(self) -> &'static str {
                match self { $($name::$variant => $reason,)+ }
            }

            /// The sentence that explains it.
            #[must_use]
            pub fn sentence(self) -> &'static str {
                match self { $($name::$variant => $sentence,)+ }
            }

            /// The row with this number.
            #[must_use]
            pub fn from_code(code: u32) -> Option<$name> {
                $name::ALL.iter().copied().find(|row| row.code() == code)
            }
        }
    };
}

table! {
    /// Why a request was refused; the session goes on.
    RefusalCode {
        Invalid = 100 "invalid", "A field is missing or not allowed; the message names it.";
        UnknownRequest = 101 "unknown_request", "The frame holds no request that this server knows.";
        TooLarge = 102 "too_large", "A field is larger than its limit; the message names both.";
        Unexpected = 103 "unexpected", "The request does not fit the session's state, such as a second hello.";
        Forbidden = 110 "forbidden", "Your rights in this room do not include that.";
        TokenInvalid = 111 "token_invalid", "The token cannot be verified.";
        TokenExpired = 112 "token_expired", "The token has expired; authenticate with a fresh one.";
        NameNotAllowed = 113 "name_not_allowed", "A token is required, or the name is not allowed.";
        RateLimited = 120 "rate_limited", "Too many requests a second; come back after the stated time.";
        TooManyRooms = 121 "too_many_rooms", "The session holds as many rooms as it may.";
        Busy = 122 "busy", "The room's queue is full; try again after the stated time.";
        Unavailable = 123 "unavailable", "The room cannot be reached or written right now; try again after the stated time.";
        DeadlineExceeded = 124 "deadline_exceeded", "No answer in time; whether it was done is unknown. Send it again with the same id.";
        PageInProgress = 125 "page_in_progress", "One snapshot or page at a time: wait for the one you asked for.";
        StorageFull = 126 "storage_full", "The server has no space left to keep messages; try again after the stated time.";
        PredecessorMissing = 130 "predecessor_missing", "The publish named in `after` is not here; send it first, then this one again.";
        Undecidable = 131 "undecidable", "Too much happened since to tell whether this was published already; it may have been.";
        LogChanged = 132 "log_changed", "The room's log is another one now; subscribe again and discard what you hold.";
        IdConflict = 133 "id_conflict", "This id was used for another message.";
        TargetMissing = 134 "target_missing", "There is no such post.";
        NotAuthor = 135 "not_author", "Only its author may do that.";
        TargetRedacted = 136 "target_redacted", "The post was redacted.";
        TooManyChanges = 137 "too_many_changes", "The post has as many edits or kinds of reactions as it may.";
        NotSubscribed = 138 "not_subscribed", "Subscribe to the room first.";
        Collecting = 139 "collecting", "Presence is being collected after a move; try again after the stated time.";
        RoomDamaged = 140 "room_damaged", "What is stored of this room is damaged; an operator has to look at it.";
    }
}

table! {
    /// Why a room's subscription ended; the session goes on.
    UnsubscribedCode {
        Left = 200 "left", "You asked for it.";
        Forbidden = 201 "forbidden", "Your rights do not include reading this room.";
        TokenExpired = 202 "token_expired", "The token has expired; come back with a fresh one.";
        Removed = 203 "removed", "You were removed from the room.";
        Unavailable = 204 "unavailable", "The room cannot be reached right now; subscribe again after the stated time.";
        TooManyRooms = 205 "too_many_rooms", "The session holds as many rooms as it may.";
        Invalid = 206 "invalid", "The room's name is not one.";
        RateLimited = 207 "rate_limited", "Too many subscribes a second; subscribe again after the stated time.";
        RoomDamaged = 208 "room_damaged", "What is stored of this room is damaged; an operator has to look at it.";
    }
}

table! {
    /// Why a session ended. 4000-4499: come back. 4500-4999: do not, or not like this.
    EndCode {
        GoingAway = 4000 "going_away", "The server is stopping.";
        Restarting = 4001 "restarting", "The server is restarting and will be back.";
        TimedOut = 4002 "timed_out", "Nothing was heard from you for too long.";
        Overloaded = 4003 "overloaded", "The server has more to do than it can; come back later.";
        NoOwner = 4004 "no_owner", "This server cannot reach the rooms; another one can.";
        TooManySessions = 4005 "too_many_sessions", "Too many sessions from your address.";
        Internal = 4006 "internal", "The server made a mistake; it was logged.";
        Moved = 4007 "moved", "The session goes on over another connection.";
        HelloLate = 4008 "hello_late", "Hello did not come in time.";
        Unreadable = 4500 "unreadable", "A frame could not be read; the message says where.";
        TooLarge = 4501 "too_large", "A frame was larger than the limit.";
        HelloExpected = 4502 "hello_expected", "The first frame must be hello.";
        TokenInvalid = 4504 "token_invalid", "The token cannot be verified.";
        TokenExpired = 4505 "token_expired", "The token has expired and was not renewed.";
        Replaced = 4506 "replaced", "A newer connection of this session took over.";
        Flooding = 4507 "flooding", "Refused requests went on and on.";
    }
}

impl EndCode {
    /// Whether the client should come back by itself.
    #[must_use]
    pub fn come_back(self) -> bool {
        self.code() < 4500
    }
}

/// A request's refusal as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The row of the table.
    pub code: RefusalCode,
    /// For the person who reads it: what was wrong, what to do.
    pub message: Cow<'static, str>,
    /// Absent: never; 0: at once; n: not before.
    pub retry_after_ms: Option<u64>,
    /// Come back with a fresh token.
    pub needs_token: bool,
}

impl Refusal {
    /// A final refusal with the table's sentence.
    #[must_use]
    pub fn new(code: RefusalCode) -> Refusal {
        Refusal {
            code,
            message: Cow::Borrowed(code.sentence()),
            retry_after_ms: None,
            needs_token: matches!(code, RefusalCode::TokenExpired),
        }
    }

    /// A final refusal with a sentence of its own.
    #[must_use]
    pub fn because(code: RefusalCode, message: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { message: message.into(), ..Refusal::new(code) }
    }

    /// The same, to be tried again after `ms` milliseconds.
    #[must_use]
    pub fn retry_after(mut self, ms: u64) -> Refusal {
        self.retry_after_ms = Some(ms);
        self
    }

    /// Whether the request may be sent again as it is.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.retry_after_ms.is_some()
    }
}

/// The end of one room's subscription as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribed {
    /// The row of the table.
    pub code: UnsubscribedCode,
    /// For the person who reads it.
    pub message: Cow<'static, str>,
    /// Absent: never; 0: at once; n: not before.
    pub retry_after_ms: Option<u64>,
    /// Come back with a fresh token.
    pub needs_token: bool,
}

impl Unsubscribed {
    /// With the table's sentence, not to be retried.
    #[must_use]
    pub fn new(code: UnsubscribedCode) -> Unsubscribed {
        Unsubscribed {
            code,
            message: Cow::Borrowed(code.sentence()),
            retry_after_ms: None,
            needs_token: matches!(code, UnsubscribedCode::TokenExpired),
        }
    }

    /// The same, to be tried again after `ms` milliseconds.
    #[must_use]
    pub fn retry_after(mut self, ms: u64) -> Unsubscribed {
        self.retry_after_ms = Some(ms);
        self
    }
}

/// The end of a session as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The row of the table, and the close code.
    pub code: EndCode,
    /// For the person who reads it.
    pub message: Cow<'static, str>,
    /// When to come back, if the code says to; absent: with jittered back-off.
    pub retry_after_ms: Option<u64>,
}

impl End {
    /// With the table's sentence.
    #[must_use]
    pub fn new(code: EndCode) -> End {
        End { code, message: Cow::Borrowed(code.sentence()), retry_after_ms: None }
    }

    /// With a sentence of its own.
    #[must_use]
    pub fn because(code: EndCode, message: impl Into<Cow<'static, str>>) -> End {
        End { message: message.into(), ..End::new(code) }
    }

    /// The same, to come back after `ms` milliseconds.
    #[must_use]
    pub fn retry_after(mut self, ms: u64) -> End {
        self.retry_after_ms = Some(ms);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_ordered_and_stay_in_their_ranges() {
        fn ordered(codes: impl Iterator<Item = u32>, from: u32, to: u32) {
            let codes: Vec<u32> = codes.collect();
            assert!(codes.windows(2).all(|w| w[0] < w[1]));
            assert!(codes.iter().all(|c| (from..to).contains(c)));
        }
        ordered(RefusalCode::ALL.iter().map(|c| c.code()), 100, 200);
        ordered(UnsubscribedCode::ALL.iter().map(|c| c.code()), 200, 300);
        ordered(EndCode::ALL.iter().map(|c| c.code()), 4000, 5000);
        assert!(EndCode::Restarting.come_back() && !EndCode::Replaced.come_back());
    }
}
