//! How many sockets this process may open.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Descriptors that are kept for files, pipes and the runtime.
pub const DESCRIPTORS_SPARED: u64 = 256;

/// Raises the soft limit to the hard one, as shells leave it low. Answers what holds now.
pub fn raise_descriptor_limit() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum;
    if limit.current != hard {
        let soft = std::mem::replace(&mut limit.current, hard);
        if setrlimit(Resource::Nofile, limit).is_err() {
            return soft.unwrap_or(u64::MAX);
        }
    }
    hard.unwrap_or(u64::MAX)
}
