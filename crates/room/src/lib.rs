//! The room as a pure machine: order, once, presence, folding, retention.
