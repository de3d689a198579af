//! Collections from outside: what a caller is promised, on a real file system.

mod concurrency;
mod corruption;
mod crash;
mod model;
mod planned;
mod recall;
mod support;
