//! A whole conversation with one process: what people do, over every transport, as the contract says.

#[path = "../support/mod.rs"]
mod support;

mod changing;
mod glancing;
mod once;
mod presence;
mod resuming;
mod rights;
mod talking;
mod unary;

use support::{Server, Start};

/// A server with its folder, for one test.
struct House {
    server: Server,
    dir: tempfile::TempDir,
}

impl House {
    fn open() -> House {
        House::with(|start| start)
    }

    fn with(settings: impl FnOnce(Start) -> Start) -> House {
        let dir = tempfile::tempdir().expect("a folder");
        let server = settings(Start::in_dir(dir.path())).start();
        House { server, dir }
    }

    /// SIGTERM, and a new process on the same folder.
    fn stop_and_restart(self) -> House {
        let House { server, dir } = self;
        assert_eq!(server.terminate(), Some(0));
        let server = Start::in_dir(dir.path()).start();
        House { server, dir }
    }

    /// `kill -9`, and a new process on the same folder and ports.
    fn crash_and_restart(self, settings: impl FnOnce(Start) -> Start) -> House {
        let House { server, dir } = self;
        let (http, grpc) = (server.http, server.grpc);
        server.kill();
        let server = settings(Start::in_dir(dir.path()).at(http, grpc)).start();
        House { server, dir }
    }
}
