//! The statement that appends, and its columns.
//!
//! It is one statement, hence one transaction without a pause in it: it takes the rows of its slots,
//! checks fence and last place, and everything else joins what passed. A claim updates the same row:
//! one of the two waits, and then looks at the row again. (A share lock would do for the check, but
//! share lockers overtake a claim that waits; an update stands in the queue, and the last place has to
//! be written anyway.)

use tokio_postgres::types::ToSql;

use super::claims::Draft;
use super::rows::{at, body_sum, head_sum, slot_number, state_columns, state_sum};

/// Takes the slots that are where the appends were judged; every other part joins it.
macro_rules! held {
    () => {
        "WITH held AS (
            UPDATE parlour_slot s SET slot_pos = a.new_pos
            FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
                AS a(slot, fence, nonce, old_pos, new_pos)
            WHERE s.slot = a.slot AND s.fence = a.fence AND s.nonce = a.nonce
                AND s.slot_pos = a.old_pos
            RETURNING s.slot
        ), room AS (
            INSERT INTO parlour_room AS r
                (slot, room, log, first, head, ordinal, at_ms, first_ordinal)
            SELECT t.slot, t.room, t.log, 1, t.head, t.ordinal, t.at_ms, 0
            FROM unnest($6::int[], $7::text[], $8::text[], $9::bigint[], $10::bigint[],
                $11::bigint[]) AS t(slot, room, log, head, ordinal, at_ms)
            JOIN held USING (slot)
            ON CONFLICT (room) DO UPDATE
                SET head = excluded.head, ordinal = excluded.ordinal, at_ms = excluded.at_ms
                WHERE r.slot = excluded.slot AND r.log = excluded.log AND r.head < excluded.head
            RETURNING 1
        ), entry AS (
            INSERT INTO parlour_entry (slot, room, seq, ordinal, post, slot_pos, at_ms, author,
                session, id, kind, target, key, remove, digest, fence, payload, head_sum, body_sum)
            SELECT t.* FROM unnest($12::int[], $13::text[], $14::bigint[], $15::bigint[],
                $16::bool[], $17::bigint[], $18::bigint[], $19::text[], $20::text[], $21::text[],
                $22::smallint[], $23::bigint[], $24::bytea[], $25::bool[], $26::bigint[],
                $27::bigint[], $28::bytea[], $29::int[], $30::int[])
                AS t(slot, room, seq, ordinal, post, slot_pos, at_ms, author, session, id, kind,
                    target, key, remove, digest, fence, payload, head_sum, body_sum)
            JOIN held ON held.slot = t.slot
        )"
    };
}

/// What was taken, and how many rooms were moved.
macro_rules! taken {
    () => {
        " SELECT coalesce((SELECT array_agg(slot) FROM held), '{}'), (SELECT count(*) FROM room)"
    };
}

/// Entries alone.
pub(super) const ENTRIES: &str = concat!(held!(), taken!());

/// Entries, erasures and small values.
pub(super) const EVERYTHING: &str = concat!(
    held!(),
    ", erased AS (
        UPDATE parlour_entry e
        SET kind = 6, digest = 0, payload = t.payload, body_sum = t.body_sum
        FROM unnest($31::int[], $32::text[], $33::bigint[], $34::bytea[], $35::int[])
            AS t(slot, room, seq, payload, body_sum)
        JOIN held USING (slot)
        WHERE e.slot = t.slot AND e.room = t.room AND e.seq = t.seq
    ), put AS (
        INSERT INTO parlour_state (slot, room, kind, seq, who, key, value, sum)
        SELECT t.* FROM unnest($36::int[], $37::text[], $38::smallint[], $39::bigint[],
            $40::text[], $41::bytea[], $42::bytea[], $43::int[])
            AS t(slot, room, kind, seq, who, key, value, sum)
        JOIN held ON held.slot = t.slot
        ON CONFLICT (slot, room, kind, seq, who, key) DO UPDATE
            SET value = excluded.value, sum = excluded.sum
    ), deleted AS (
        DELETE FROM parlour_state s
        USING unnest($44::int[], $45::text[], $46::smallint[], $47::bigint[], $48::text[],
            $49::bytea[]) AS t(slot, room, kind, seq, who, key), held
        WHERE held.slot = t.slot AND s.slot = t.slot AND s.room = t.room AND s.kind = t.kind
            AND s.seq = t.seq AND s.who = t.who AND s.key = t.key
    )",
    taken!()
);

/// The parameters, column by column.
#[derive(Default)]
pub(super) struct Columns<'a> {
    slots: Slots,
    rooms: Rooms<'a>,
    entries: Entries<'a>,
    erasures: Erasures<'a>,
    puts: States<'a>,
    values: (Vec<&'a [u8]>, Vec<i32>),
    deletes: States<'a>,
}

#[derive(Default)]
struct Slots {
    slot: Vec<i32>,
    fence: Vec<i64>,
    nonce: Vec<i64>,
    old_pos: Vec<i64>,
    new_pos: Vec<i64>,
}

#[derive(Default)]
struct Rooms<'a> {
    slot: Vec<i32>,
    room: Vec<&'a str>,
    log: Vec<&'a str>,
    head: Vec<i64>,
    ordinal: Vec<i64>,
    at_ms: Vec<i64>,
}

#[derive(Default)]
struct Entries<'a> {
    slot: Vec<i32>,
    room: Vec<&'a str>,
    seq: Vec<i64>,
    ordinal: Vec<i64>,
    post: Vec<bool>,
    slot_pos: Vec<i64>,
    at_ms: Vec<i64>,
    author: Vec<&'a str>,
    session: Vec<Option<&'a str>>,
    id: Vec<&'a str>,
    kind: Vec<i16>,
    target: Vec<i64>,
    key: Vec<&'a [u8]>,
    remove: Vec<bool>,
    digest: Vec<i64>,
    fence: Vec<i64>,
    payload: Vec<&'a [u8]>,
    head_sum: Vec<i32>,
    body_sum: Vec<i32>,
}

#[derive(Default)]
struct Erasures<'a> {
    slot: Vec<i32>,
    room: Vec<&'a str>,
    seq: Vec<i64>,
    payload: Vec<&'a [u8]>,
    body_sum: Vec<i32>,
}

#[derive(Default)]
struct States<'a> {
    slot: Vec<i32>,
    room: Vec<&'a str>,
    kind: Vec<i16>,
    seq: Vec<i64>,
    who: Vec<&'a str>,
    key: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    /// The columns of drafts of different slots, lowest slot first: so nobody waits for somebody who
    /// waits for him.
    pub(super) fn of(drafts: &[&'a Draft]) -> Columns<'a> {
        debug_assert!(drafts.is_sorted_by(|a, b| a.slot < b.slot), "each slot once, in order");
        let mut columns = Columns::default();
        for draft in drafts {
            columns.push(draft);
        }
        columns
    }

    fn push(&mut self, draft: &'a Draft) {
        let slot = slot_number(draft.slot);
        self.slots.slot.push(slot);
        self.slots.fence.push(at(draft.fence));
        self.slots.nonce.push(draft.nonce as i64);
        self.slots.old_pos.push(at(draft.old_pos));
        self.slots.new_pos.push(at(draft.new_pos));
        for (room, row) in &draft.rooms {
            self.rooms.slot.push(slot);
            self.rooms.room.push(room.as_str());
            self.rooms.log.push(row.head.log.as_str());
            self.rooms.head.push(at(row.head.head));
            self.rooms.ordinal.push(at(row.head.ordinal));
            self.rooms.at_ms.push(at(row.head.at_ms));
        }
        for entry in &draft.entries {
            self.entries.push(slot, entry);
        }
        for ((room, seq), payload) in &draft.erasures {
            let (kind, digest) = (model::ContentKind::Tombstone, model::Digest::default());
            self.erasures.slot.push(slot);
            self.erasures.room.push(room.as_str());
            self.erasures.seq.push(at(*seq));
            self.erasures.payload.push(payload);
            self.erasures.body_sum.push(body_sum(room, *seq, kind, digest, payload));
        }
        for ((room, key), value) in &draft.states {
            match value {
                Some(value) => {
                    self.puts.push(slot, room, key);
                    self.values.0.push(value);
                    self.values.1.push(state_sum(room, key, value));
                }
                None => self.deletes.push(slot, room, key),
            }
        }
    }

    /// How many rooms are to be moved.
    pub(super) fn rooms(&self) -> usize {
        self.rooms.room.len()
    }

    /// The statement that takes these columns, and its parameters.
    pub(super) fn statement(&self) -> (&'static str, Vec<&(dyn ToSql + Sync)>) {
        let Columns { slots: s, rooms: r, entries: e, erasures: x, puts: p, values, deletes: d } =
            self;
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![
            &s.slot,
            &s.fence,
            &s.nonce,
            &s.old_pos,
            &s.new_pos,
            &r.slot,
            &r.room,
            &r.log,
            &r.head,
            &r.ordinal,
            &r.at_ms,
            &e.slot,
            &e.room,
            &e.seq,
            &e.ordinal,
            &e.post,
            &e.slot_pos,
            &e.at_ms,
            &e.author,
            &e.session,
            &e.id,
            &e.kind,
            &e.target,
            &e.key,
            &e.remove,
            &e.digest,
            &e.fence,
            &e.payload,
            &e.head_sum,
            &e.body_sum,
        ];
        if x.slot.is_empty() && p.slot.is_empty() && d.slot.is_empty() {
            return (ENTRIES, params);
        }
        let rest: [&(dyn ToSql + Sync); 19] = [
            &x.slot,
            &x.room,
            &x.seq,
            &x.payload,
            &x.body_sum,
            &p.slot,
            &p.room,
            &p.kind,
            &p.seq,
            &p.who,
            &p.key,
            &values.0,
            &values.1,
            &d.slot,
            &d.room,
            &d.kind,
            &d.seq,
            &d.who,
            &d.key,
        ];
        params.extend(rest);
        (EVERYTHING, params)
    }
}

impl<'a> Entries<'a> {
    fn push(&mut self, slot: i32, entry: &'a super::claims::Entry) {
        let (room, record) = (&entry.room, &entry.record);
        let model::Record { seq, kind, digest, .. } = *record;
        self.slot.push(slot);
        self.room.push(room.as_str());
        self.seq.push(at(seq));
        self.ordinal.push(at(record.ordinal));
        self.post.push(entry.post);
        self.slot_pos.push(at(record.slot_pos));
        self.at_ms.push(at(record.at_ms));
        self.author.push(record.user.as_str());
        self.session.push(record.session.as_ref().map(model::SessionId::as_str));
        self.id.push(record.id.as_str());
        self.kind.push(i16::from(kind as u8));
        self.target.push(at(record.target));
        self.key.push(record.key.as_bytes());
        self.remove.push(record.remove);
        self.digest.push(digest.0 as i64);
        self.fence.push(at(record.fence));
        self.payload.push(&record.payload);
        self.head_sum.push(head_sum(room, record));
        self.body_sum.push(body_sum(room, seq, kind, digest, &record.payload));
    }
}

impl<'a> States<'a> {
    fn push(&mut self, slot: i32, room: &'a model::RoomName, key: &'a model::StateKey) {
        let (kind, seq, who, key) = state_columns(key);
        self.slot.push(slot);
        self.room.push(room.as_str());
        self.kind.push(kind);
        self.seq.push(seq);
        self.who.push(who);
        self.key.push(key);
    }
}
