//! What documents look like.

use super::super::super::split::Parts;
use super::Topic;

/// The document templates of a topic, with `{subject}`, `{value}`, `{item}`, `{detail}`.
pub(crate) fn documents(topic: Topic) -> Parts<&'static str> {
    match topic {
        Topic::Record => Parts {
            train: &[
                "{subject}, {value}. {detail}",
                "{subject} of {value}: {detail}",
                "{value}: {subject}. {detail}",
                "{subject}. Date of entry: {value}. {detail}",
                "Entry in the {subject} for {value}. {detail}",
                "{subject} ({value}) {detail}",
                "{subject}, page for {value}. Nothing else to report. {detail}",
                "Filed under {subject}, {value}. {detail}",
                "{detail} Recorded in the {subject}, {value}.",
                "{subject}; {value}; routine entry. {detail}",
            ],
            valid: &[
                "{subject} made on {value}. {detail}",
                "{subject} - {value} - {detail}",
                "{detail} See {subject}, {value}.",
            ],
            test: &[
                "{subject}. Period: {value}. Remarks: {detail}",
                "{subject} covering {value}. {detail}",
                "On {value} the {subject} reads: {detail}",
                "{subject} / {value} / {detail}",
            ],
        },
        Topic::Timetable => Parts {
            train: &[
                "{subject}, {value}. {detail}",
                "{subject} at {value}: {detail}",
                "{value} {subject}. {detail}",
                "{subject}. Starts: {value}. {detail}",
                "Notice for the {subject} at {value}. {detail}",
                "{subject} ({value}) {detail}",
                "{subject} leaves at {value}. Please be early. {detail}",
                "Timetable: {subject}, {value}. {detail}",
                "{detail} Concerns the {subject}, {value}.",
                "{subject}; {value}; every week. {detail}",
            ],
            valid: &[
                "{subject} set for {value}. {detail}",
                "{subject} - {value} - {detail}",
                "{detail} See {subject}, {value}.",
            ],
            test: &[
                "{subject}. Time: {value}. Remarks: {detail}",
                "{subject} begins {value}. {detail}",
                "Every {value} {subject}. {detail}",
                "{subject} / {value} / {detail}",
            ],
        },
        Topic::Part => Parts {
            train: &[
                "{subject}, {item} {value}. {detail}",
                "{subject}: {item} {value}, in stock. {detail}",
                "{subject}. {item}: {value}. {detail}",
                "Part: {subject}; {item}: {value}. {detail}",
                "{subject} with {item} {value}. Sold singly. {detail}",
                "{subject} ({value}) {detail}",
                "Data sheet. {subject}. Nominal {item} {value}. {detail}",
                "{subject}, rated {item} {value}, painted grey. {detail}",
                "{detail} Fitted: {subject}, {value}.",
                "Item: {subject} | {item} | {value} | {detail}",
            ],
            valid: &[
                "{subject}; stated {item} {value}. {detail}",
                "{subject} - {value} - {detail}",
                "{detail} Listed as {subject}, {value}.",
            ],
            test: &[
                "{subject}. Specification: {item} of {value}. {detail}",
                "{subject} has {item} {value}. {detail}",
                "Stock card {subject}: {value} {item}. {detail}",
                "{subject} / {value} / {detail}",
            ],
        },
        Topic::Code => Parts {
            train: &[
                "{subject}, {item} {value}. {detail}",
                "{subject}: {item} {value}. {detail}",
                "{item} {value} on the {subject}: {detail}",
                "{subject}. {item}: {value}. {detail}",
                "When the {subject} stops with {item} {value}, reset it. {detail}",
                "{subject} ({item} {value}) {detail}",
                "{subject} | {item} | {value} | {detail}",
                "Ticket: {subject}, {item} {value}. {detail}",
                "{detail} The {subject} then gave {item} {value}.",
                "{subject}; {item} {value}; closed. {detail}",
            ],
            valid: &[
                "{subject} logged {item} {value}. {detail}",
                "{subject} - {item} {value} - {detail}",
                "{detail} See {subject}, {item} {value}.",
            ],
            test: &[
                "{subject}. Diagnosis for {item} {value}: {detail}",
                "{subject} raised {item} {value}. {detail}",
                "Known issue, {subject}, {item} {value}. {detail}",
                "{subject} / {item} {value} / {detail}",
            ],
        },
        Topic::Chapter => Parts {
            train: &[
                "{subject}, {item} {value}. {detail}",
                "{subject}: {item} {value}. {detail}",
                "{item} {value} of the {subject}. {detail}",
                "{subject}. {item} {value}: {detail}",
                "The {subject}, {item} {value}, tells a short story. {detail}",
                "{subject} ({item} {value}) {detail}",
                "From the {subject}: {item} {value}. {detail}",
                "{item} {value}. {subject}. {detail}",
                "{detail} So says {item} {value} of the {subject}.",
                "{subject}; {item} {value}; revised. {detail}",
            ],
            valid: &[
                "{subject}, opening of {item} {value}. {detail}",
                "{subject} - {item} {value} - {detail}",
                "{detail} See {subject}, {item} {value}.",
            ],
            test: &[
                "{subject}. Text of {item} {value}: {detail}",
                "{subject} has as {item} {value}: {detail}",
                "Reader's copy, {subject}, {item} {value}. {detail}",
                "{subject} / {item} {value} / {detail}",
            ],
        },
        Topic::Stock => Parts {
            train: &[
                "{subject}, {value} {item}. {detail}",
                "{subject}: {value} {item} counted. {detail}",
                "{value} {item} at the {subject}. {detail}",
                "{subject}. {item}: {value}. {detail}",
                "The {subject} holds {value} {item}. {detail}",
                "{subject} ({value} {item}) {detail}",
                "Stock sheet, {subject}: {value} {item}. {detail}",
                "{subject} | {item} | {value} | {detail}",
                "{detail} In the {subject}: {value} {item}.",
                "{subject}; {value} {item}; checked. {detail}",
            ],
            valid: &[
                "{subject} received {value} {item}. {detail}",
                "{subject} - {value} {item} - {detail}",
                "{detail} See {subject}, {value} {item}.",
            ],
            test: &[
                "{subject}. Total: {value} {item}. {detail}",
                "{subject} lists {value} {item}. {detail}",
                "Balance of the {subject}, {value} {item}. {detail}",
                "{subject} / {value} {item} / {detail}",
            ],
        },
        Topic::Unit => Parts {
            train: &[
                "{subject}, {value}. {detail}",
                "{subject}, {value} unit: {detail}",
                "{value} unit of the {subject}. {detail}",
                "{subject}. Unit: {value}. {detail}",
                "The {subject} called {value} is in service. {detail}",
                "{subject} ({value}) {detail}",
                "Sheet for the {subject}, {value}. {detail}",
                "{value}: {subject}. {detail}",
                "{detail} This was at the {subject}, {value}.",
                "{subject}; {value}; in order. {detail}",
            ],
            valid: &[
                "{subject} known as {value}. {detail}",
                "{subject} - {value} - {detail}",
                "{detail} See {subject}, {value}.",
            ],
            test: &[
                "{subject}. Designation: {value}. {detail}",
                "{subject} under the name {value}. {detail}",
                "Folder {value}, {subject}. {detail}",
                "{subject} / {value} / {detail}",
            ],
        },
        Topic::Handbook => Parts {
            train: &[
                "{subject}, {value}. {detail}",
                "{subject}: {value}. {detail}",
                "{value}: {subject}. {detail}",
                "{subject}. Subject: {value}. {detail}",
                "This {subject} is about {value}. {detail}",
                "{subject} ({value}) {detail}",
                "{subject} with a part on {value}. {detail}",
                "An outline of {value} for the {subject}. {detail}",
                "{detail} Taken from the {subject}, {value}.",
                "{subject}; {value}; draft. {detail}",
            ],
            valid: &[
                "{subject} prepared on {value}. {detail}",
                "{subject} - {value} - {detail}",
                "{detail} See {subject}, {value}.",
            ],
            test: &[
                "{subject}. Theme: {value}. {detail}",
                "{subject} explaining {value}. {detail}",
                "Material on {value}, {subject}. {detail}",
                "{subject} / {value} / {detail}",
            ],
        },
    }
}
