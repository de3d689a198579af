//! Between the protocol's messages and the engine's types.
//!
//! Owns every translation in both directions and knows no transport. Invariant: what
//! a client can get wrong in a message is refused here or in the engine with
//! `InvalidArgument` and the field's path in the protocol's names.

pub(crate) mod collection;
pub(crate) mod content;
pub(crate) mod document;
pub(crate) mod explanation;
pub(crate) mod filter;
pub(crate) mod info;
pub(crate) mod json;
pub(crate) mod maintenance;
pub(crate) mod mask;
pub(crate) mod page;
pub(crate) mod policy;
pub(crate) mod search;
pub(crate) mod usage;
pub(crate) mod write;

use twn_service::ServiceError;

/// Unwraps a message that the protocol allows to be absent but the request needs.
pub(crate) fn required<T>(message: Option<T>, field: &str) -> Result<T, ServiceError> {
    message.ok_or_else(|| ServiceError::invalid(field, "is required"))
}

/// Reads an enum field, refusing numbers that this version does not know.
pub(crate) fn known<E: TryFrom<i32>>(number: i32, field: &str) -> Result<E, ServiceError> {
    E::try_from(number).map_err(|_| {
        ServiceError::invalid(field, format!("{number} is not a value of this enumeration"))
    })
}

/// Reads a number of which 0 means the default.
pub(crate) fn nonzero(number: u32) -> Option<usize> {
    (number != 0).then_some(number as usize)
}

/// Reads a text of which the empty one means the default.
pub(crate) fn nonempty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Writes a count into a 32-bit field; one that does not fit shows as the largest.
pub(crate) fn count32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use twn_protos::v1::ReasoningMode;

    #[test]
    fn unknown_enum_numbers_name_field_and_number() {
        let known_mode: ReasoningMode = known(3, "reasoning.mode").unwrap();
        assert_eq!(known_mode, ReasoningMode::Always);
        let error = known::<ReasoningMode>(9, "reasoning.mode").unwrap_err();
        assert_eq!(error.to_string(), "reasoning.mode: 9 is not a value of this enumeration");
    }

    #[test]
    fn absent_message_is_named() {
        let error = required::<()>(None, "item.document").unwrap_err();
        assert_eq!(error.to_string(), "item.document: is required");
    }
}
