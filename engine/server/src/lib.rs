//! The `twn` command and its gRPC server.
//!
//! Translates between the protocol and the engine: the only crate, beside the load
//! generator, that sees protobuf. Invariant: every answer that is not an error carries
//! its usage, and every error its reason and the request's id.
//!
//! [`serve`] and what is below it are the server; [`cli`] has the commands, which reach
//! a server through [`client`] as anybody would.

#![forbid(unsafe_code)]

pub mod cli;
pub mod client;
pub mod config;
pub mod demo;
pub mod doctor;
pub mod feed;
pub mod linger;
pub mod output;
pub mod serve;

mod convert;
mod listen;
mod local_socket;
mod rpc;
mod services;
mod status;
