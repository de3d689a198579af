//! Collections from outside: what a caller is promised, on a real file system.

mod compaction;
mod concurrency;
mod corruption;
mod crash;
mod history;
mod kill;
mod model;
mod parse;
mod power;
mod recall;
mod saved;
mod schema;
mod support;
