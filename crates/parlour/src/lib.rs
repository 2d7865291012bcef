//! The program: settings, wiring, metrics and drain.
