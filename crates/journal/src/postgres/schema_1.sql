-- What a cluster was made with; one row, written once.
CREATE TABLE parlour_cluster (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    cluster text NOT NULL,
    slots integer NOT NULL,
    slot_hash text NOT NULL,
    record_format integer NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now()
);

-- One row a slot, made by init alone. Every append rewrites it: the pages stay nearly empty, so that a
-- new version lies beside the old one and no index is touched.
CREATE TABLE parlour_slot (
    slot integer PRIMARY KEY,
    epoch bigint NOT NULL DEFAULT 0,
    nonce bigint NOT NULL DEFAULT 0,
    fence bigint NOT NULL DEFAULT 0,
    slot_pos bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

CREATE TABLE parlour_room (
    room text COLLATE "C" PRIMARY KEY,
    slot integer NOT NULL,
    log text NOT NULL,
    first bigint NOT NULL,
    head bigint NOT NULL,
    ordinal bigint NOT NULL,
    at_ms bigint NOT NULL,
    first_ordinal bigint NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX parlour_room_slot ON parlour_room (slot, room);

CREATE TABLE parlour_entry (
    slot integer NOT NULL,
    room text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    ordinal bigint NOT NULL,
    -- Whether the ordinal is its own: it counts as a post, or did before it was blanked.
    post boolean NOT NULL,
    slot_pos bigint NOT NULL,
    at_ms bigint NOT NULL,
    author text NOT NULL,
    session text,
    id text NOT NULL,
    kind smallint NOT NULL,
    target bigint NOT NULL,
    key bytea NOT NULL,
    remove boolean NOT NULL,
    digest bigint NOT NULL,
    fence bigint NOT NULL,
    payload bytea NOT NULL,
    -- crc32c over what never changes, and over what an erasure replaces.
    head_sum integer NOT NULL,
    body_sum integer NOT NULL,
    PRIMARY KEY (slot, room, seq)
);
CREATE UNIQUE INDEX parlour_entry_ordinal ON parlour_entry (slot, room, ordinal) WHERE post;
CREATE INDEX parlour_entry_target ON parlour_entry (slot, room, target, seq) WHERE target > 0;

-- Marks (kind 1), folds (2) and standing reactions (3).
CREATE TABLE parlour_state (
    slot integer NOT NULL,
    room text COLLATE "C" NOT NULL,
    kind smallint NOT NULL,
    seq bigint NOT NULL,
    who text COLLATE "C" NOT NULL,
    key bytea NOT NULL,
    value bytea NOT NULL,
    sum integer NOT NULL,
    PRIMARY KEY (slot, room, kind, seq, who, key)
) WITH (fillfactor = 80);
