//! WebSocket framing under any bytes; the property is the one that `wire::ws` tests itself with.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::ws;

#[path = "../../proto/rust/ws/tests/property.rs"]
mod property;

fuzz_target!(|data: &[u8]| property::holds_for(data));
