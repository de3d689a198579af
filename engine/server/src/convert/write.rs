//! Writes: what they promise and what became of them.

use twn_protos::v1 as pb;
use twn_service::{Durability, ServiceError, WriteOptions, WriteStatus, Written};

use super::{
    known, nonempty,
    policy::policy,
    usage::{timings, usage},
};

/// Reads how a stream's documents are to be written.
pub(crate) fn stream_options(message: pb::IngestStart) -> Result<WriteOptions, ServiceError> {
    Ok(WriteOptions {
        collection: message.collection,
        create_collection: message.create_collection,
        policy: policy(message.reasoning)?,
        durability: durability(message.durability)?,
        instruction: nonempty(message.instruction),
    })
}

/// Reads how the documents of one unary write are to be written. Taken apart from the
/// documents, which the caller moves elsewhere.
pub(crate) fn unary_options(
    collection: String,
    reasoning: Option<pb::ReasoningPolicy>,
    promised: i32,
    instruction: String,
) -> Result<WriteOptions, ServiceError> {
    Ok(WriteOptions {
        collection,
        create_collection: false,
        policy: policy(reasoning)?,
        durability: durability(promised)?,
        instruction: nonempty(instruction),
    })
}

/// Writes an acknowledgement.
pub(crate) fn ack(seq: u64, written: Written) -> pb::IngestAck {
    pb::IngestAck {
        seq,
        id: written.id,
        status: status(written.status).into(),
        usage: Some(usage(written.usage, written.thought)),
        timings: Some(timings(&written.timings)),
    }
}

/// Writes what became of one document of a unary write.
pub(crate) fn result(written: Written) -> pb::WriteResult {
    pb::WriteResult {
        id: written.id,
        status: status(written.status).into(),
        usage: Some(usage(written.usage, written.thought)),
    }
}

/// The index makes a write visible before it is acknowledged, so durable implies searchable.
fn durability(number: i32) -> Result<Durability, ServiceError> {
    Ok(match known(number, "durability")? {
        pb::Durability::Accepted => Durability::Accepted,
        pb::Durability::Unspecified | pb::Durability::Durable | pb::Durability::Searchable => {
            Durability::Durable
        }
    })
}

fn status(status: WriteStatus) -> pb::WriteStatus {
    match status {
        WriteStatus::Inserted => pb::WriteStatus::Inserted,
        WriteStatus::Updated => pb::WriteStatus::Updated,
        WriteStatus::Unchanged => pb::WriteStatus::Unchanged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_accepted_promises_less_than_durable() {
        for (asked, want) in [
            (pb::Durability::Unspecified, Durability::Durable),
            (pb::Durability::Accepted, Durability::Accepted),
            (pb::Durability::Durable, Durability::Durable),
            (pb::Durability::Searchable, Durability::Durable),
        ] {
            assert_eq!(durability(asked.into()).unwrap(), want);
        }
        let error = durability(17).unwrap_err().to_string();
        assert!(error.starts_with("durability: 17"), "{error}");
    }
}
