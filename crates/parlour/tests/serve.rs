//! The program as its operator meets it.

mod support;

use support::{Start, parlour};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn it_says_where_it_listens_is_healthy_and_leaves_with_0() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Start::in_dir(dir.path()).start();
    assert_ne!(server.http.port(), 0);
    assert_eq!(server.get("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(server.get("/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(server.get("/nowhere").0, 404);
    assert_eq!(server.get("/v1/ws").0, 426);
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_second_process_on_the_folder_is_told_who_holds_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Start::in_dir(dir.path()).start();
    let second = Start::in_dir(dir.path()).run();
    assert_eq!(second.status.code(), Some(1));
    let said = text(&second.stderr);
    assert!(said.contains(&server.pid().to_string()), "{said}");
    drop(server);
    assert_eq!(Start::in_dir(dir.path()).start().terminate(), Some(0));
}

#[test]
fn a_busy_port_is_named_with_the_flag_that_changes_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound");
    let dir = tempfile::tempdir().expect("a folder");
    let refused = Start::in_dir(dir.path()).at(address, ([127, 0, 0, 1], 0).into()).run();
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains(&address.to_string()) && said.contains("--listen"), "{said}");
}

#[test]
fn wrong_settings_stop_the_start_with_all_faults_listed() {
    let refused = parlour()
        .args(["serve", "--listen", "nowhere", "--set", "limits.idle_ms=1", "--set", "nonsense=1"])
        .output()
        .expect("runs");
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused.stderr);
    for part in ["--listen", "nonsense", "idle_ms (1)"] {
        assert!(said.contains(part), "{part} is missing in {said}");
    }
}

#[test]
fn beyond_loopback_it_refuses_to_start_without_a_key() {
    let refused = parlour().args(["serve", "--grpc", "0.0.0.0:0"]).output().expect("runs");
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("--insecure"), "{}", text(&refused.stderr));
}

#[test]
fn config_prints_what_is_in_force_and_where_it_came_from() {
    let printed = parlour()
        .args(["config", "--set", "limits.heartbeat_ms=7000"])
        .env("PARLOUR_LOG", "warn")
        .output()
        .expect("runs");
    assert!(printed.status.success());
    let said = text(&printed.stdout);
    assert!(said.contains("heartbeat_ms = 7000  # --set limits.heartbeat_ms"), "{said}");
    assert!(said.contains("log = \"warn\"  # PARLOUR_LOG"), "{said}");
    assert!(said.contains("idle_ms = 60000  # default"), "{said}");
}
