//! stub
pub mod body;
pub mod check;
pub mod record;
