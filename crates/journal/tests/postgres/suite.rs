//! The suite of all engines. "Unknown" is made by a wire that is cut before or behind a statement.

use std::sync::Arc;

use journal::conformance::Subject;
use journal::postgres::{Postgres, Settings};
use journal::{Journal, conformance_suite};

use super::proxy::{Order, Proxy};
use super::server;

struct Wired {
    settings: Settings,
    proxy: Proxy,
    opened: u64,
}

impl Wired {
    fn new() -> Wired {
        let server = server::shared();
        let proxy = Proxy::to(server.port);
        Wired { settings: server.journal(&[proxy.port]), proxy, opened: 0 }
    }
}

impl Subject for Wired {
    fn open(&mut self) -> Arc<dyn Journal> {
        self.opened += 1;
        Arc::new(Postgres::open(self.settings.clone(), self.opened).expect("opened"))
    }

    fn break_next_commit(&mut self, applied: bool) {
        self.proxy.order(if applied { Order::LoseAnswer } else { Order::CutBefore(0) });
    }
}

conformance_suite!(Wired::new());
