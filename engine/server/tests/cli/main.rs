//! Runs the real `twn` command: against a server with a tiny model, and without any.

mod demo;
mod doctor;
mod documents;
mod evaluation;
mod inspect;
mod mmeb;
mod offline;
mod pictures;
mod restart;
mod support;
mod training;
