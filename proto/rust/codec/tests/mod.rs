//! The codec against the contract's golden vectors, tables and limits, against prost, against another
//! language's parser, and against bytes that mean harm.

use crate::codec;

mod entry;
mod golden;
mod hostile;
mod limits;
mod link;
mod property;
mod python;
mod samples;
mod tables;
mod unary;
