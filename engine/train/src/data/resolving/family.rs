//! What a family of resolving queries is.

use super::super::{dice::Dice, split::Parts};

/// What the documents of a family are about: decides nouns, frames and templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Topic {
    /// Logs, minutes, tickets of a day, month, year or weekday.
    Record,
    /// Departures, shifts, classes at a time of day.
    Timetable,
    /// Parts lists and catalogues with a measure.
    Part,
    /// Error codes, registers, labels.
    Code,
    /// Chapters, articles, volumes.
    Chapter,
    /// Stock lists with a number of items.
    Stock,
    /// Equipment told apart by a name.
    Unit,
    /// Handbooks and minutes on a named subject.
    Handbook,
}

impl Topic {
    /// All of them.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 8] = [
        Self::Record,
        Self::Timetable,
        Self::Part,
        Self::Code,
        Self::Chapter,
        Self::Stock,
        Self::Unit,
        Self::Handbook,
    ];
}

/// Values drawn for one query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draw {
    /// What the clue's phrasings are filled with.
    pub(crate) slots: Vec<(&'static str, String)>,
    /// What the document says.
    pub(crate) value: String,
    /// What is counted or measured, in the document's words; may be empty.
    pub(crate) item: String,
    /// The working-out, as a short sentence that ends in the value.
    pub(crate) working: String,
    /// Values that siblings may have.
    pub(crate) near: Vec<String>,
}

impl Draw {
    /// The clue's values, independent of how it is phrased.
    pub(crate) fn clue_key(&self) -> String {
        let slots = self.slots.iter().filter(|(slot, _)| !matches!(*slot, "item" | "attribute"));
        slots.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(",")
    }

    /// Speaks of `item` instead of its own.
    pub(crate) fn set_item(&mut self, item: &str) {
        item.clone_into(&mut self.item);
        for (_, value) in self.slots.iter_mut().filter(|(slot, _)| *slot == "item") {
            item.clone_into(value);
        }
    }
}

/// A way of making clues and values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Family {
    /// Its name in files.
    pub(crate) name: &'static str,
    /// What its documents are about.
    pub(crate) kind: Topic,
    /// Noun phrases for the clue, with `{slots}`.
    pub(crate) clues: Parts<&'static str>,
    /// Draws values.
    pub(crate) draw: fn(&mut Dice) -> Draw,
    /// The value pairs are a glossary that has to be learnt: shared by all splits.
    pub(crate) shared: bool,
}
