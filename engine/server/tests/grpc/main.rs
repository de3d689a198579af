//! Black-box tests of the gRPC server: everything goes through a socket, and the
//! encoder is a real one, only tiny.

mod adaptive;
mod collections;
mod documents;
mod ingest;
mod killed;
mod maintenance;
mod pictures;
mod random_bytes;
mod reasoning;
mod searching;
mod startup;
mod stopped;
mod support;
mod wrong_input;
