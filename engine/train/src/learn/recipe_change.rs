//! Changes to a recipe from outside the file: one recipe, and what is tried otherwise.
//!
//! A change is `KEY=VALUE`. The key is a path of dots into the recipe's tables; the stages
//! are reached by their names, as in `stage.embedding.learning_rate`. The value is TOML; what
//! is no TOML value is taken for text. `stage.NAME.skip=true` leaves a stage out.

use std::{fmt, str::FromStr};

use toml::{Table, Value};

const STAGES: &str = "stage";

/// A change to a recipe.
#[derive(Debug, Clone, PartialEq)]
pub struct RecipeChange {
    /// Dots between its parts.
    pub key: String,
    /// What the key is to be.
    pub value: Value,
}

impl FromStr for RecipeChange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("a change is KEY=VALUE")?;
        let (key, value) = (key.trim(), value.trim());
        // A value alone is no document, a line with a key is.
        let parsed = toml::from_str::<Table>(&format!("value = {value}"));
        let value = match parsed {
            Ok(mut table) if table.len() == 1 => table.remove("value"),
            _ => None,
        };
        let value = value
            .unwrap_or_else(|| Value::String(text.split_once('=').unwrap_or_default().1.into()));
        Self::new(key, value)
    }
}

impl fmt::Display for RecipeChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.key, self.value)
    }
}

impl RecipeChange {
    /// Makes a change.
    ///
    /// # Errors
    /// Refuses a key with an empty part.
    pub fn new(key: &str, value: Value) -> Result<Self, String> {
        if key.split('.').any(str::is_empty) {
            return Err(format!("`{key}` is no key"));
        }
        Ok(Self { key: key.to_owned(), value })
    }

    /// Makes the change in a recipe's tables.
    ///
    /// # Errors
    /// Says what is wrong with the key.
    pub(super) fn apply(&self, recipe: &mut Table) -> Result<(), String> {
        let mut parts: Vec<&str> = self.key.split('.').collect();
        let last = parts.pop().ok_or("is empty")?;
        let mut table = recipe;
        let mut parts = parts.into_iter();
        while let Some(part) = parts.next() {
            // A table that is not there is one that the file leaves to its defaults.
            let entry = table.entry(part).or_insert_with(|| Table::new().into());
            let next = if part == STAGES && entry.is_array() {
                let name = parts.next().ok_or("names no stage")?;
                let is_it =
                    |stage: &&mut Value| stage.get("name").and_then(Value::as_str) == Some(name);
                let known = entry.as_array_mut().and_then(|all| all.iter_mut().find(is_it));
                known.ok_or_else(|| format!("there is no stage `{name}`"))?
            } else {
                entry
            };
            table = next.as_table_mut().ok_or_else(|| format!("`{part}` is no table"))?;
        }
        table.insert(last.to_owned(), self.value.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: &str = "seed = 1\n[adapters]\nqueries = 4\n[[stage]]\nname = \"one\"\nsteps = 2\n\
                          [[stage]]\nname = \"two\"\nsteps = 3\n";

    fn changed(changes: &[&str]) -> Result<Table, String> {
        let mut table: Table = toml::from_str(RECIPE).expect("TOML");
        for change in changes {
            change.parse::<RecipeChange>()?.apply(&mut table)?;
        }
        Ok(table)
    }

    #[test]
    fn keys_reach_tables_stages_and_what_is_not_there_yet() {
        let table = changed(&[
            "seed=7",
            "adapters.interface=cache",
            "wiring.detach=false",
            "stage.two.weights={ direct = 0.5 }",
            "stage.one.skip = true",
        ])
        .expect("applies");
        assert_eq!(table["seed"], Value::Integer(7));
        assert_eq!(table["adapters"]["interface"], Value::String("cache".into()));
        assert_eq!(table["adapters"]["queries"], Value::Integer(4));
        assert_eq!(table["wiring"]["detach"], Value::Boolean(false));
        let stages = table["stage"].as_array().expect("stages");
        assert_eq!(stages[0]["skip"], Value::Boolean(true));
        assert_eq!(stages[1]["weights"]["direct"], Value::Float(0.5));
    }

    #[test]
    fn wrong_changes_are_refused() {
        for (change, want) in [
            ("seed", "KEY=VALUE"),
            ("a..b=1", "no key"),
            ("stage.three.steps=1", "no stage `three`"),
            ("seed.deep=1", "`seed` is no table"),
        ] {
            let problem = changed(&[change]).expect_err(change);
            assert!(problem.contains(want), "{problem}");
        }
    }

    #[test]
    fn a_value_cannot_bring_keys_of_its_own() {
        let change: RecipeChange = "seed=1\nsteps=2".parse().expect("text");
        assert_eq!(change.value, Value::String("1\nsteps=2".into()));
    }
}
