//! Parses the command line, builds, waits, drains. No decision lives here.

fn main() {}
