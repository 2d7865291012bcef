//! One connection: its session, what it may be asked, and when it must not be used again.
//!
//! # Invariants
//! - A statement succeeds only if the server said nothing but "done": any warning on the connection
//!   makes it a failure. (The wait for a standby that somebody cancels ends in success and a warning.)
//! - A connection that failed, or whose statement was not awaited to its end, is closed at once and
//!   without a word; nothing is ever cancelled.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio_postgres::error::Severity;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Row, Statement};

use super::outcome::Failure;
use super::settings::Settings;

/// What every session of ours is called, so that a claim ends no stranger's connection.
pub(super) const NAME_PREFIX: &str = "parlour/";

/// Read committed, so that a statement that waited for the slot's row looks at it again. Plans are
/// made once and never scan a table, whatever the statistics say when they are made. Warnings must
/// come through, and an answer must mean "durable", whatever the role is set to.
const SESSION: &str = "
    SET client_min_messages = warning;
    SET default_transaction_isolation = 'read committed';
    SET enable_seqscan = off;
    SET enable_hashjoin = off;
    SET enable_mergejoin = off;
    SET plan_cache_mode = force_generic_plan;
    SET jit = off;
    SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') IN ('off', 'local');";

/// Makes connections.
pub(super) struct Connector {
    config: Config,
    connect_within: Duration,
    answer_within: Duration,
    lock_within: Duration,
    nonce: u64,
    /// Connections so far: their names differ.
    made: AtomicU64,
}

impl Connector {
    pub(super) fn new(settings: &Settings, config: Config, nonce: u64) -> Connector {
        let hosts = config.get_hosts().len().max(config.get_hostaddrs().len()) as u32;
        Connector {
            config,
            // The library bounds each host's socket; a host that accepts and says nothing is ours.
            connect_within: settings.connect_within * hosts + settings.answer_within,
            answer_within: settings.answer_within,
            lock_within: settings.lock_within,
            nonce,
            made: AtomicU64::new(0),
        }
    }

    /// A new connection to the host that can be written now.
    pub(super) async fn connect(&self, kind: Kind) -> Result<Conn, Failure> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let name = format!("{NAME_PREFIX}{:016x}/{}{number}", self.nonce, kind.name());
        let mut config = self.config.clone();
        config.application_name(&name);
        let unconnected = |failure: Failure| match failure {
            Failure::Lost(why) => Failure::Unconnected(why),
            other => Failure::Unconnected(other.to_string()),
        };
        let attempt = tokio::time::timeout(self.connect_within, config.connect(NoTls));
        let (client, connection) = attempt
            .await
            .map_err(|_| Failure::Unconnected("it does not answer".into()))?
            .map_err(|error| unconnected(Failure::of(&error)))?;
        let conn = Conn::new(name, client, connection, self.answer_within);
        let set_up = self.set_up(&conn, kind);
        set_up.await.map_err(unconnected)?;
        // What was warned of so far belongs to no statement of ours.
        if let Some(says) = conn.warned().take() {
            tracing::warn!(says, "the database warned while a connection was made");
        }
        Ok(conn)
    }

    async fn set_up(&self, conn: &Conn, kind: Kind) -> Result<(), Failure> {
        let lock_ms = match kind {
            Kind::Append | Kind::Claim => self.lock_within.as_millis(),
            Kind::Read | Kind::Upkeep => self.answer_within.as_millis(),
        };
        let answer_ms = self.answer_within.as_millis();
        let session = format!(
            "{SESSION} SET lock_timeout = {lock_ms}; SET statement_timeout = {answer_ms};
             SET idle_in_transaction_session_timeout = {answer_ms};"
        );
        let sent = tokio::time::timeout(self.answer_within, conn.client.batch_execute(&session));
        sent.await.map_err(|_| Failure::Silent)?.map_err(|error| Failure::of(&error))?;
        // A server on a system that cannot tell refuses this one, and goes on without.
        let noticed = conn.client.batch_execute("SET client_connection_check_interval = 1000");
        let _ = tokio::time::timeout(self.answer_within, noticed).await;
        Ok(())
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Append,
    Claim,
    Read,
    /// Trims, and whether the database can be written.
    Upkeep,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Append => "append",
            Kind::Claim => "claim",
            Kind::Read => "read",
            Kind::Upkeep => "upkeep",
        }
    }
}

pub(super) struct Conn {
    /// What the server calls the session.
    name: String,
    client: Client,
    answer_within: Duration,
    /// The first warning since the last statement began.
    warned: Arc<Mutex<Option<String>>>,
    /// Set while a statement runs, and for good after a failure.
    unfit: AtomicBool,
    driver: AbortHandle,
    statements: Mutex<HashMap<&'static str, Statement>>,
}

pub(super) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

impl Conn {
    fn new<S, T>(
        name: String,
        client: Client,
        mut connection: tokio_postgres::Connection<S, T>,
        answer_within: Duration,
    ) -> Conn
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let warned = Arc::new(Mutex::new(None));
        let heard = Arc::clone(&warned);
        // Messages are handled in the order in which they came: a warning is noted before the answer
        // behind it reaches whoever waits.
        let driver = tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                let AsyncMessage::Notice(notice) = message else { continue };
                let harmless = [Severity::Notice, Severity::Info, Severity::Log, Severity::Debug];
                if !notice.parsed_severity().is_some_and(|severity| harmless.contains(&severity)) {
                    lock(&heard).get_or_insert_with(|| notice.message().to_owned());
                }
            }
        });
        Conn {
            name,
            client,
            answer_within,
            warned,
            unfit: AtomicBool::new(false),
            driver: driver.abort_handle(),
            statements: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Runs one statement in a transaction of its own.
    pub(super) async fn query(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, Failure> {
        let statement = self.prepare(sql).await?;
        self.settle(self.client.query(&statement, params)).await
    }

    /// The same, where at most one row comes.
    pub(super) async fn query_opt(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Option<Row>, Failure> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// Runs statements without parameters.
    pub(super) async fn run(&self, sql: &str) -> Result<(), Failure> {
        self.settle(self.client.batch_execute(sql)).await
    }

    /// Runs statements without parameters, however long they take.
    pub(super) async fn run_unbounded(&self, sql: &str) -> Result<(), Failure> {
        self.settle_within(None, self.client.batch_execute(sql)).await
    }

    async fn prepare(&self, sql: &'static str) -> Result<Statement, Failure> {
        if let Some(statement) = lock(&self.statements).get(sql) {
            return Ok(statement.clone());
        }
        let prepared = self.settle(self.client.prepare(sql)).await;
        let statement = prepared.map_err(|failure| match failure {
            // Nothing of the statement itself was sent yet.
            Failure::RolledBack(..) => failure,
            other => Failure::Unconnected(other.to_string()),
        })?;
        lock(&self.statements).insert(sql, statement.clone());
        Ok(statement)
    }

    async fn settle<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failure> {
        self.settle_within(Some(self.answer_within), answer).await
    }

    async fn settle_within<T>(
        &self,
        within: Option<Duration>,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failure> {
        self.unfit.store(true, Ordering::Relaxed);
        let answer = match within {
            // The server's own time-out comes first, where it applies.
            Some(within) => tokio::time::timeout(within + within / 4, answer).await,
            None => Ok(answer.await),
        };
        let answer = match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Failure::of(&error)),
            Err(_) => Err(Failure::Silent),
        };
        let answer = match (answer, self.warned().take()) {
            (Ok(_), Some(says)) => Err(Failure::Warned(says)),
            (answer, _) => answer,
        };
        let fit = answer.as_ref().err().is_none_or(Failure::keeps_connection);
        self.unfit.store(!fit, Ordering::Relaxed);
        answer
    }

    fn warned(&self) -> MutexGuard<'_, Option<String>> {
        lock(&self.warned)
    }

    /// Whether it may be asked again.
    pub(super) fn is_fit(&self) -> bool {
        !self.unfit.load(Ordering::Relaxed) && !self.client.is_closed()
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        if !self.is_fit() {
            self.driver.abort();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
