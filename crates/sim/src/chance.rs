//! The system's randomness, answered from the seed.
//!
//! The standard library's hash maps, tokio's fair choices and the ids of sessions all come from
//! `getrandom`. This defines it for the whole program, before libc does, as simulators do; without it a
//! seed would not give the same run twice.

#![allow(unsafe_code, reason = "a symbol of libc is replaced; see above")]

use std::ffi::{c_uint, c_void};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the next numbers come from.
static STATE: AtomicU64 = AtomicU64::new(0);

/// From here on chance follows the seed.
pub(crate) fn begin(seed: u64) {
    STATE.store(seed, Ordering::Relaxed);
}

/// splitmix64: every state is a good one.
fn next() -> u64 {
    let state = STATE.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Fills a buffer, as getrandom(2) does.
///
/// # Safety
/// `buffer` has space for `length` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, _flags: c_uint) -> isize {
    // SAFETY: the caller says that there is so much space.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&next().to_le_bytes()[..chunk.len()]);
    }
    length as isize
}
