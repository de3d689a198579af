//! What people type around a clue.

use super::super::super::split::Parts;
use super::Topic;

/// The query frames of a topic, with `{subject}`, `{clue}` and perhaps `{item}`.
pub(crate) fn frames(topic: Topic) -> Parts<&'static str> {
    match topic {
        Topic::Record => Parts {
            train: &[
                "the {subject} {clue}", "{subject}, {clue}", "what does the {subject} say for {clue}?",
                "find the {subject} from {clue}", "show me the {subject} of {clue}",
                "{clue}: {subject}", "I need the {subject} dated {clue}",
                "which entry of the {subject} is for {clue}", "{subject} entry for {clue}",
                "look up {clue} in the {subject}", "what was written in the {subject} for {clue}",
                "the page of the {subject} that covers {clue}",
            ],
            valid: &[
                "please open the {subject} for {clue}", "anything in the {subject} on {clue}?",
                "{subject} as of {clue}",
            ],
            test: &[
                "could you pull up the {subject} covering {clue}?",
                "we want to read the {subject} made for {clue}", "{subject} ({clue})",
                "what happened according to the {subject} for {clue}?",
            ],
        },
        Topic::Timetable => Parts {
            train: &[
                "the {subject} at {clue}", "{subject}, {clue}", "which {subject} starts at {clue}?",
                "find the {subject} for {clue}", "is there a {subject} at {clue}?",
                "{clue}: {subject}", "I want to take the {subject} at {clue}",
                "details of the {subject} at {clue}", "{subject} starting {clue}",
                "who runs the {subject} at {clue}", "notes for the {subject} set for {clue}",
                "book the {subject} for {clue}",
            ],
            valid: &["put me on the {subject} of {clue}", "{subject} beginning at {clue}", "does a {subject} go at {clue}?"],
            test: &[
                "what is known of the {subject} timed for {clue}?", "we plan to join the {subject} at {clue}",
                "{subject} ({clue})", "tell me about the {subject} that begins at {clue}",
            ],
        },
        Topic::Part => Parts {
            train: &[
                "a {subject} with {clue}", "{subject}, {clue}", "which {subject} is listed with {clue}?",
                "find the {subject} of {clue}", "do we have a {subject} with {clue}?",
                "{clue}: {subject}", "I need a {subject} rated {clue}",
                "catalogue entry of the {subject} for {clue}", "{subject} specified as {clue}",
                "order a {subject} with {clue}", "the {subject} whose label gives {clue}",
                "part number of the {subject} for {clue}",
            ],
            valid: &["any {subject} that takes {clue}?", "{subject} made for {clue}", "quote me a {subject} at {clue}"],
            test: &[
                "is a {subject} on the shelf that has {clue}?", "we are looking for the {subject} marked {clue}",
                "{subject} ({clue})", "send the data sheet of the {subject} having {clue}",
            ],
        },
        Topic::Code => Parts {
            train: &[
                "{subject} error {clue}", "{subject}, {clue}", "what does {clue} mean on the {subject}?",
                "the {subject} shows {clue}", "help, our {subject} stopped with {clue}",
                "{clue}: {subject}", "how to clear {clue} on the {subject}",
                "the {subject} displays {clue}, what now", "{subject} fault {clue}",
                "the manual of the {subject} on {clue}", "reason for {clue} at the {subject}",
                "{subject} keeps reporting {clue}",
            ],
            valid: &["why does the {subject} give {clue}?", "{subject} halted, {clue}", "remedy for {clue}, {subject}"],
            test: &[
                "our {subject} went down and printed {clue}", "what should I do about {clue} from the {subject}?",
                "{subject} ({clue})", "meaning of {clue} as seen on the {subject}",
            ],
        },
        Topic::Chapter => Parts {
            train: &[
                "{clue} of the {subject}", "the {subject}, {clue}", "what is in {clue} of the {subject}?",
                "open the {subject} at {clue}", "I am looking for {clue} in the {subject}",
                "{subject} {clue}", "summary of {clue}, {subject}",
                "read me {clue} of the {subject}", "which page has {clue} of the {subject}",
                "notes on {clue} from the {subject}", "where does the {subject} begin {clue}",
                "quote from the {subject}, {clue}",
            ],
            valid: &["take me to {clue} in the {subject}", "{subject} at {clue}", "who wrote {clue} of the {subject}?"],
            test: &[
                "what can be found under {clue} of the {subject}?", "we need a copy of {clue} from the {subject}",
                "{subject} ({clue})", "the contents of the {subject} for {clue}",
            ],
        },
        Topic::Stock => Parts {
            train: &[
                "{subject} with {clue}", "{subject}: {clue}", "which {subject} has {clue}?",
                "find the {subject} holding {clue}", "the {subject} that lists {clue}",
                "{clue}, {subject}", "I am looking for the {subject} with {clue}",
                "record of {clue} at the {subject}", "{subject} counted {clue}",
                "sheet of the {subject} that comes to {clue}", "the {subject} where there are {clue}",
                "check {clue} for the {subject}",
            ],
            valid: &["was there a {subject} with {clue}?", "{subject} showing {clue}", "the {subject} amounting to {clue}"],
            test: &[
                "can you see a {subject} that ends up with {clue}?", "we expect the {subject} to have {clue}",
                "{subject} ({clue})", "look for the {subject} in which one finds {clue}",
            ],
        },
        Topic::Unit => Parts {
            train: &[
                "the {subject} {clue}", "{subject}, {clue}", "which {subject} is {clue}?",
                "find the {subject} that is {clue}", "notes on the {subject}, {clue}",
                "{clue}: {subject}", "I mean the {subject} that is {clue}",
                "sheet of the {subject} that is {clue}", "what was done at the {subject} {clue}",
                "status of the {subject} that is {clue}", "maintenance of the {subject}, {clue}",
                "show the {subject} {clue}",
            ],
            valid: &["tell me of the {subject}, {clue}", "{subject} being {clue}", "what of the {subject} {clue}?"],
            test: &[
                "how about the {subject} that turns out {clue}?", "we need the papers for the {subject} {clue}",
                "{subject} ({clue})", "report for the {subject} which is {clue}",
            ],
        },
        Topic::Handbook => Parts {
            train: &[
                "{subject} on {clue}", "{subject}: {clue}", "what does the {subject} say about {clue}?",
                "find the {subject} about {clue}", "the {subject} that deals with {clue}",
                "{clue}, {subject}", "I need the {subject} on {clue}",
                "where is {clue} in the {subject}", "{subject} regarding {clue}",
                "an introduction to {clue} in the {subject}", "the {subject} which covers {clue}",
                "look for {clue} in the {subject}",
            ],
            valid: &["has the {subject} got {clue}?", "{subject} concerning {clue}", "more on {clue}, {subject}"],
            test: &[
                "could I read the {subject} devoted to {clue}?", "we want the {subject} that treats {clue}",
                "{subject} ({clue})", "is {clue} a theme of the {subject}?",
            ],
        },
    }
}
