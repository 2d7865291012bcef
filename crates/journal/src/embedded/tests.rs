//! The embedded engine passes the suite.

use std::sync::Arc;

use tempfile::TempDir;

use super::{Embedded, Faults, Settings};
use crate::conformance::Subject;
use crate::{Journal, conformance_suite};

pub(super) struct Folder {
    pub(super) dir: TempDir,
    faults: Faults,
}

impl Folder {
    pub(super) fn new() -> Folder {
        Folder {
            dir: tempfile::tempdir().expect("a folder"),
            faults: Faults::default(),
        }
    }

    pub(super) fn settings(&self) -> Settings {
        let faults = self.faults.clone();
        Settings {
            faults,
            ..Settings::new(self.dir.path(), 16, "test")
        }
    }
}

impl Subject for Folder {
    fn open(&mut self) -> Arc<dyn Journal> {
        Arc::new(Embedded::open(self.settings()).expect("it opens"))
    }

    fn break_next_commit(&mut self, applied: bool) {
        self.faults.fail_next_commit(applied);
    }
}

conformance_suite!(Folder::new());
