//! The tables: who makes them, who changes them, and who may use them.
//!
//! Every change is a numbered step, made under one lock by whichever program that knows it comes first.
//! A step says which version a program must know at least to go on working beside it, so that a fleet
//! is replaced one by one.

use tokio_postgres::types::ToSql;

use super::conn::Conn;
use super::open_error::OpenError;
use super::outcome::Failure;
use super::rows::{get, slot_number};
use super::settings::Settings;

/// Version of the rows' contents: checksums, kinds, what a payload is.
pub const RECORD_FORMAT: u32 = 1;

/// The least server that everything here was tried on.
const SERVER_MIN: i32 = 150_000;

/// One change of the tables.
struct Step {
    version: i32,
    /// A program that knows less than this must not touch the tables any more.
    needs: i32,
    sql: &'static str,
}

const STEPS: &[Step] = &[Step { version: 1, needs: 1, sql: include_str!("schema_1.sql") }];

/// The version that this program knows.
const KNOWN: i32 = STEPS[STEPS.len() - 1].version;

/// A change of large tables may take long, and whoever comes second waits for it.
const BEGIN: &str = "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0";

/// Any number that nobody else uses for a lock in this database.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7308895160837563749)";

const VERSIONS: &str = "
    CREATE TABLE IF NOT EXISTS parlour_schema (
        version integer PRIMARY KEY,
        needs integer NOT NULL,
        made_at timestamptz NOT NULL DEFAULT now()
    )";
const STORED: &str = "SELECT version, needs FROM parlour_schema ORDER BY version DESC LIMIT 1";
const NOTE_STEP: &str =
    "INSERT INTO parlour_schema (version, needs) VALUES ($1, $2) RETURNING version";
const SERVER: &str = "
    SELECT current_setting('server_version_num')::int, current_setting('server_version'),
        current_setting('fsync') = 'on', to_regclass('parlour_schema') IS NOT NULL";
const CLUSTER: &str = "SELECT cluster, slots, slot_hash, record_format FROM parlour_cluster";
const MAKE_CLUSTER: &str = "
    INSERT INTO parlour_cluster (cluster, slots, slot_hash, record_format)
    VALUES ($1, $2, $3, $4) RETURNING slots";
const MAKE_SLOTS: &str =
    "INSERT INTO parlour_slot (slot) SELECT generate_series(0, $1 - 1) RETURNING slot";

/// Makes the tables, the constants and the slots, or checks that they are there.
pub(super) async fn init(conn: &Conn, settings: &Settings) -> Result<(), OpenError> {
    let place = settings.place();
    let refused = |failure: Failure| refused(&place, &failure);
    check_server(conn, &place).await?;
    conn.run(BEGIN).await.map_err(refused)?;
    let made = async {
        conn.run_unbounded(LOCK).await.map_err(refused)?;
        conn.run(VERSIONS).await.map_err(refused)?;
        migrate(conn, &place).await?;
        if !is_made(conn, settings).await? {
            make(conn, settings).await.map_err(refused)?;
        }
        Ok(())
    };
    finish(conn, &place, made.await).await
}

/// Checks that the tables are made, fit the settings and are understood; brings them up to date.
pub(super) async fn check(conn: &Conn, settings: &Settings) -> Result<(), OpenError> {
    let place = settings.place();
    let refused = |failure: Failure| refused(&place, &failure);
    if !check_server(conn, &place).await? {
        return Err(OpenError::Absent { place });
    }
    let stored = stored(conn, &place).await?;
    if stored < KNOWN {
        conn.run(BEGIN).await.map_err(refused)?;
        let made = async {
            conn.run_unbounded(LOCK).await.map_err(refused)?;
            migrate(conn, &place).await
        };
        finish(conn, &place, made.await).await?;
    }
    if is_made(conn, settings).await? { Ok(()) } else { Err(OpenError::Absent { place }) }
}

fn refused(place: &str, failure: &Failure) -> OpenError {
    OpenError::Refused { place: place.to_owned(), why: failure.to_string() }
}

fn unreadable(place: &str, error: &crate::ReadError) -> OpenError {
    OpenError::Refused { place: place.to_owned(), why: format!("{error:?}") }
}

async fn finish(conn: &Conn, place: &str, made: Result<(), OpenError>) -> Result<(), OpenError> {
    let end = if made.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = conn.run(end).await.map_err(|failure| refused(place, &failure));
    made.and(ended)
}

/// Whether there are tables of ours at all.
async fn check_server(conn: &Conn, place: &str) -> Result<bool, OpenError> {
    let row = conn.query_opt(SERVER, &[]).await.map_err(|failure| refused(place, &failure))?;
    let bad = |error| unreadable(place, &error);
    let Some(row) = row else { return Ok(false) };
    if get::<i32>(&row, 0).map_err(bad)? < SERVER_MIN {
        let version = get::<String>(&row, 1).map_err(bad)?;
        return Err(OpenError::TooOld { place: place.to_owned(), version });
    }
    if !get::<bool>(&row, 2).map_err(bad)? {
        tracing::warn!(place, "the database runs with fsync off: a power cut loses messages");
    }
    get(&row, 3).map_err(bad)
}

/// The tables' version; 0 before the first step.
async fn stored(conn: &Conn, place: &str) -> Result<i32, OpenError> {
    let row = conn.query_opt(STORED, &[]).await.map_err(|failure| refused(place, &failure))?;
    let Some(row) = row else { return Ok(0) };
    let number = |column| get::<i32>(&row, column).map_err(|error| unreadable(place, &error));
    let (stored, needs) = (number(0)?, number(1)?);
    if needs > KNOWN {
        return Err(OpenError::Newer { place: place.to_owned(), stored, needs, known: KNOWN });
    }
    Ok(stored)
}

async fn migrate(conn: &Conn, place: &str) -> Result<(), OpenError> {
    let refused = |failure: Failure| refused(place, &failure);
    let stored = stored(conn, place).await?;
    for step in STEPS.iter().filter(|step| step.version > stored) {
        conn.run_unbounded(step.sql).await.map_err(refused)?;
        let note: [&(dyn ToSql + Sync); 2] = [&step.version, &step.needs];
        conn.query(NOTE_STEP, &note).await.map_err(refused)?;
        tracing::info!(version = step.version, "the journal's tables were changed");
    }
    Ok(())
}

async fn make(conn: &Conn, settings: &Settings) -> Result<(), Failure> {
    let slots = slot_number(settings.slots);
    let Settings { cluster, slot_hash, .. } = settings;
    conn.query(MAKE_CLUSTER, &[cluster, &slots, slot_hash, &RECORD_FORMAT.cast_signed()]).await?;
    conn.query(MAKE_SLOTS, &[&slots]).await?;
    Ok(())
}

/// Whether the constants are there; they must be those of the settings.
async fn is_made(conn: &Conn, settings: &Settings) -> Result<bool, OpenError> {
    let place = settings.place();
    let row = conn.query_opt(CLUSTER, &[]).await.map_err(|failure| refused(&place, &failure))?;
    let Some(row) = row else { return Ok(false) };
    let bad = |error| unreadable(&place, &error);
    let (cluster, slot_hash): (String, String) =
        (get(&row, 0).map_err(bad)?, get(&row, 2).map_err(bad)?);
    let (slots, format): (i32, i32) = (get(&row, 1).map_err(bad)?, get(&row, 3).map_err(bad)?);
    let constants = [
        ("the cluster id", cluster, settings.cluster.clone()),
        ("slots", slots.to_string(), settings.slots.to_string()),
        ("slot_hash", slot_hash, settings.slot_hash.clone()),
        ("record format", format.to_string(), RECORD_FORMAT.to_string()),
    ];
    for (what, stored, asked) in constants {
        if stored != asked {
            return Err(OpenError::Mismatch { place, what, stored, asked });
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbered_without_a_gap_and_need_no_more_than_themselves() {
        for (index, step) in STEPS.iter().enumerate() {
            assert_eq!(step.version as usize, index + 1);
            assert!(step.needs <= step.version, "step {}", step.version);
        }
    }
}
