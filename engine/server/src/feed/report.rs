//! What became of an ingest.

use std::time::Instant;

use serde::Serialize;
use serde_json::{Value, json};
use twn_protos::v1 as pb;

use super::record::Place;

/// Failures that are told in full; more are counted.
const FAILURES_MAX: usize = 20;

/// What became of an ingest.
#[derive(Debug, Clone)]
pub struct Report {
    /// Documents whose id was new.
    pub inserted: u64,
    /// Documents that replaced another.
    pub updated: u64,
    /// Documents that the server had already, as they are.
    pub unchanged: u64,
    /// Records that are not stored.
    pub failed: u64,
    /// Documents that an earlier, interrupted run had finished.
    pub skipped: u64,
    /// Documents that were thought about.
    pub reasoned: u64,
    /// Tokens of the prompts.
    pub prompt_tokens: u64,
    /// Of these, tokens that stand for pixels.
    pub vision_tokens: u64,
    /// Tokens of the thoughts.
    pub reasoning_tokens: u64,
    /// The user stopped before the end.
    pub is_interrupted: bool,
    /// The first failures.
    pub errors: Vec<Failure>,
    started: Instant,
}

/// A record that is not stored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failure {
    /// Where it was found.
    #[serde(flatten)]
    pub place: Place,
    /// Its id, if it has come to have one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The gRPC code of the server's refusal; absent when the record was never sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// What is wrong with it.
    pub message: String,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            inserted: 0,
            updated: 0,
            unchanged: 0,
            failed: 0,
            skipped: 0,
            reasoned: 0,
            prompt_tokens: 0,
            vision_tokens: 0,
            reasoning_tokens: 0,
            is_interrupted: false,
            errors: Vec::new(),
            started: Instant::now(),
        }
    }
}

impl Report {
    /// Records that are through, however.
    pub fn through(&self) -> u64 {
        self.inserted + self.updated + self.unchanged + self.failed + self.skipped
    }

    /// Tells whether every record was read and stored.
    pub fn is_complete(&self) -> bool {
        self.failed == 0 && !self.is_interrupted
    }

    /// Seconds since the ingest began.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    pub(crate) fn acknowledge(&mut self, ack: &pb::IngestAck) {
        match ack.status() {
            pb::WriteStatus::Updated => self.updated += 1,
            pb::WriteStatus::Unchanged => self.unchanged += 1,
            pb::WriteStatus::Inserted | pb::WriteStatus::Unspecified => self.inserted += 1,
        }
        let Some(usage) = &ack.usage else { return };
        self.reasoned += u64::from(usage.route() == pb::Route::Reasoned);
        self.prompt_tokens += u64::from(usage.prompt_tokens);
        self.vision_tokens += u64::from(usage.vision_tokens);
        self.reasoning_tokens += u64::from(usage.reasoning_tokens);
    }

    pub(crate) fn fail(&mut self, failure: Failure) {
        self.failed += 1;
        if self.errors.len() < FAILURES_MAX {
            self.errors.push(failure);
        }
    }

    /// Writes the summary for programs.
    pub fn json(&self) -> Value {
        json!({
            "inserted": self.inserted,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "failed": self.failed,
            "skipped": self.skipped,
            "reasoned": self.reasoned,
            "prompt_tokens": self.prompt_tokens,
            "vision_tokens": self.vision_tokens,
            "reasoning_tokens": self.reasoning_tokens,
            "seconds": (self.seconds() * 1e3).round() / 1e3,
            "interrupted": self.is_interrupted,
            "errors": self.errors,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_and_failures_add_up() {
        let mut report = Report::default();
        let mut ack = pb::IngestAck {
            usage: Some(pb::Usage {
                route: pb::Route::Reasoned.into(),
                prompt_tokens: 10,
                vision_tokens: 4,
                reasoning_tokens: 3,
                ..pb::Usage::default()
            }),
            ..pb::IngestAck::default()
        };
        for status in
            [pb::WriteStatus::Inserted, pb::WriteStatus::Updated, pb::WriteStatus::Unchanged]
        {
            ack.set_status(status);
            report.acknowledge(&ack);
        }
        assert!(report.is_complete());
        for line in 1..=30 {
            let place = Place { file: "f".into(), line: Some(line) };
            report.fail(Failure { place, id: String::new(), code: None, message: "m".into() });
        }
        assert!(!report.is_complete());
        let json = report.json();
        assert_eq!([&json["inserted"], &json["updated"], &json["unchanged"]], [1, 1, 1]);
        assert_eq!([&json["failed"], &json["reasoned"], &json["prompt_tokens"]], [30, 3, 30]);
        assert_eq!(json["vision_tokens"], 12);
        assert_eq!(json["errors"].as_array().unwrap().len(), 20);
        assert_eq!(json["errors"][0], json!({"file": "f", "line": 1, "message": "m"}));
        assert_eq!(report.through(), 33);
    }
}
