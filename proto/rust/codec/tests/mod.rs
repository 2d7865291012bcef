//! The codec against the contract's golden vectors, tables and limits, against prost, against another
//! language's parser, and against bytes that mean harm.

mod golden;
//mod hostile;
//mod link;
//mod python;
//mod samples;
mod tables;
//mod unary;
