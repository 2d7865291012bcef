//! Protobuf's own Python package reads what we write, and we read what it writes.

use std::fs;
use std::path::Path;
use std::process::Command;

use model::Encoding;

use super::golden::{files, folder};
use crate::codec::{decode_client, decode_server};

#[test]
fn pythons_protobuf_reads_every_vector_and_we_read_what_it_writes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/tools/bin/python");
    assert!(
        python.exists(),
        "Python's protobuf is missing: `make tools` installs it into target/tools"
    );

    let scratch = tempfile::tempdir().expect("a folder of our own");
    let descriptors = scratch.path().join("parlour.fds");
    fs::write(&descriptors, crate::FILE_DESCRIPTOR_SET).expect("writable");
    let out = scratch.path().join("out");
    let done = Command::new(&python)
        .arg(root.join("scripts/read_vectors.py"))
        .args([&descriptors, &folder(""), &out])
        .output()
        .expect("Python starts");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "`make tools` installs what is missing, if anything is: {said}");

    let written =
        |side: &str, file: String| fs::read(out.join(side).join(file)).expect("Python wrote it");
    for (name, ours) in files("client", "binpb") {
        let ours = decode_client(Encoding::Proto, &ours);
        let json = written("client", format!("{name}.json"));
        assert_eq!(decode_client(Encoding::Json, &json), ours, "client/{name}.json");
        let binary = written("client", format!("{name}.binpb"));
        assert_eq!(decode_client(Encoding::Proto, &binary), ours, "client/{name}.binpb");
    }
    for (name, ours) in files("server", "binpb") {
        let ours = decode_server(Encoding::Proto, &ours);
        let json = written("server", format!("{name}.json"));
        assert_eq!(decode_server(Encoding::Json, &json), ours, "server/{name}.json");
        let binary = written("server", format!("{name}.binpb"));
        assert_eq!(decode_server(Encoding::Proto, &binary), ours, "server/{name}.binpb");
    }
}
