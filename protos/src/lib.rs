//! The `twn.v1` protocol: messages, clients and servers generated from
//! `twn/v1/*.proto`, and the descriptor set for reflection.
//!
//! Owns the wire format and nothing else. Only `server` and `bench` depend on it:
//! the rest of the house speaks domain types.

/// Version 1 of the protocol.
pub mod v1 {
    #![allow(missing_docs, unreachable_pub, clippy::large_enum_variant)]
    tonic::include_proto!("twn.v1");
}

/// The encoded `FileDescriptorSet` of every `.proto` file and what it imports.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/twn_descriptor.bin"));
