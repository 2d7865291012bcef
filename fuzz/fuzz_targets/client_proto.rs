//! A client's protobuf under any bytes; the property is the one that `wire::codec` tests itself with. The
//! golden vectors are good seeds: `cargo +nightly fuzz run client_proto fuzz/corpus/client_proto
//! proto/testdata/client`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::codec;

#[path = "../../proto/rust/codec/tests/property.rs"]
mod property;

fuzz_target!(|data: &[u8]| {
    property::holds_for_a_client(model::Encoding::Proto, data);
});
