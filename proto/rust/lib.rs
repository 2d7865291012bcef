//! The contract of Parlour.
