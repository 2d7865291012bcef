//! Makes Rust of the contract: messages and stubs of both packages, and the public one's JSON.
//!
//! No protoc: protox compiles the `.proto` files in this process.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// What browsers, native clients and grpcurl speak. Reflection shows this package and nothing else.
const PUBLIC: &str = "proto/parlour/v1";
/// What an edge and a room server say to each other: binary only, and absent from reflection.
const LINK: &str = "proto/parlour/link/v1";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let public = compile(PUBLIC)?;
    fs::write(out.join("parlour.v1.fds.bin"), &public.encoded)?;
    generate_messages(generator().out_dir(&out), public.set)?;
    generate_json(&out, &public.encoded)?;

    let link_out = out.join("link");
    fs::create_dir_all(&link_out)?;
    let link = generator().out_dir(&link_out).extern_path(".parlour.v1", "crate::v1");
    generate_messages(link, compile(LINK)?.set)
}

struct Compiled {
    set: prost_types::FileDescriptorSet,
    /// The set as protox encodes it, which keeps options that `prost_types` has no field for.
    encoded: Vec<u8>,
}

fn compile(folder: &str) -> Result<Compiled> {
    println!("cargo:rerun-if-changed={folder}");
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| format!("{folder}: {e}"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ext| ext == "proto") {
            println!("cargo:rerun-if-changed={}", path.display());
            files.push(path);
        }
    }
    files.sort(); // the folder's order is the file system's

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(&files)?;
    Ok(Compiled {
        set: compiler.file_descriptor_set(),
        encoded: compiler.encode_file_descriptor_set(),
    })
}

fn generator() -> tonic_prost_build::Builder {
    let stubs = env::var_os("CARGO_FEATURE_GRPC").is_some();
    tonic_prost_build::configure()
        .build_client(stubs)
        .build_server(stubs)
        .build_transport(false) // its constructor `connect` would clash with the method `Chat.Connect`
        .bytes(".")
        .btree_map(".") // the same message encodes to the same bytes, always
        .extern_path(".google.protobuf.Struct", "crate::Struct")
}

fn generate_messages(
    generator: tonic_prost_build::Builder,
    set: prost_types::FileDescriptorSet,
) -> Result<()> {
    Ok(generator.compile_fds(set)?)
}

fn generate_json(out: &Path, encoded: &[u8]) -> Result<()> {
    pbjson_build::Builder::new()
        .register_descriptors(encoded)?
        .out_dir(out)
        .btree_map(["."])
        .ignore_unknown_fields()
        .build(&[".parlour.v1"])?;

    let path = out.join("parlour.v1.serde.rs");
    let numbers = write_numbers_as_numbers(&fs::read_to_string(&path)?)?;
    Ok(fs::write(path, read_null_as_absent(&numbers)?)?)
}

/// pbjson refuses `null` where a message has no `optional`, and says of a number that is none "data did not
/// match any variant". Ours reads `null` as absent everywhere, as ProtoJSON asks, and names what it expects.
fn read_null_as_absent(generated: &str) -> Result<String> {
    const NUMBER: &str = "::pbjson::private::NumberDeserialize<_>";
    const OURS: &str = "crate::codec::Number<_>";

    let out = generated
        .replace(
            "Some(map_.next_value()?)",
            "Some(map_.next_value::<::std::option::Option<_>>()?.unwrap_or_default())",
        )
        .replace(
            &format!("Some(map_.next_value::<{NUMBER}>()?.0)"),
            &format!(
                "Some(map_.next_value::<::std::option::Option<{OURS}>>()?.map(|x| x.0).unwrap_or_default())"
            ),
        )
        .replace(NUMBER, OURS);

    match out.lines().find(|line| line.contains("pbjson::private")) {
        None => Ok(out),
        Some(line) => Err(format!(
            "pbjson's output has changed, or the contract has a field of bytes: {}",
            line.trim()
        )
        .into()),
    }
}

/// pbjson writes 64-bit numbers as strings and has no switch. Ours stay below 2^53, and a browser wants
/// numbers; both forms are accepted on input, there and here.
fn write_numbers_as_numbers(generated: &str) -> Result<String> {
    const OPEN: &str = "ToString::to_string(";
    const CLOSE: &str = ").as_str()";

    let mut out = String::with_capacity(generated.len());
    let mut rest = generated;
    while let Some(at) = rest.find(OPEN) {
        out.push_str(&rest[..at]);
        let inside = &rest[at + OPEN.len()..];
        let end = inside.find(CLOSE).ok_or("pbjson's output has changed")?;
        out.push_str(&inside[..end]);
        rest = &inside[end + CLOSE.len()..];
    }
    out.push_str(rest);

    match out.lines().find(|line| line.contains("to_string")) {
        None => Ok(out),
        Some(line) => Err(format!(
            "a number would be written as a string (repeated and map fields of 64 bits are not supported): {}",
            line.trim()
        )
        .into()),
    }
}
