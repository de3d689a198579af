//! What a configuration of the right shape can still have wrong.

use std::path::Path;

use tonic::transport::Uri;
use tracing_subscriber::EnvFilter;

use super::Config;

/// A message has room at least for the largest text and its surroundings.
const MESSAGE_ROOM_BYTES: usize = 4_096;
const MESSAGE_BYTES_MAX: usize = 1 << 30;
const SEARCH_THREADS_MAX: usize = 1_024;
const MODEL_THREADS_MAX: usize = 256;
const DRAIN_S_MAX: u64 = 86_400;
const LINGER_US_MAX: u64 = 10_000;
const CACHE_BYTES_MAX: usize = 1 << 40;

/// Tells whether a client could look for a server there.
fn is_address(server: &str) -> bool {
    match server.strip_prefix("unix:") {
        Some(path) => !path.trim_start_matches('/').is_empty(),
        None => server.parse::<Uri>().is_ok_and(|uri| uri.host().is_some()),
    }
}

/// Lists every value that is out of its range, with its key.
pub fn problems(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    let mut demand = |holds: bool, problem: String| {
        if !holds {
            problems.push(problem);
        }
    };

    let bytes = config.server.max_message_bytes;
    demand(
        (MESSAGE_ROOM_BYTES..=MESSAGE_BYTES_MAX).contains(&bytes),
        format!(
            "`server.max_message_bytes` is {bytes}, outside {MESSAGE_ROOM_BYTES} to \
             {MESSAGE_BYTES_MAX}"
        ),
    );
    let drain = config.server.drain_s;
    demand(drain <= DRAIN_S_MAX, format!("`server.drain_s` is {drain}, at most {DRAIN_S_MAX}"));
    // An empty name and one that begins with a zero byte have sockets without a path.
    let is_path = |path: &Path| {
        let bytes = path.as_os_str().as_encoded_bytes();
        !bytes.is_empty() && !bytes.contains(&0)
    };
    demand(
        config.server.socket.as_deref().is_none_or(is_path),
        "`server.socket` is no path".to_owned(),
    );
    let linger = config.server.linger_us;
    demand(
        linger <= LINGER_US_MAX,
        format!("`server.linger_us` is {linger}, at most {LINGER_US_MAX}"),
    );
    let threads = config.search.threads;
    demand(
        (1..=SEARCH_THREADS_MAX).contains(&threads),
        format!("`search.threads` is {threads}, outside 1 to {SEARCH_THREADS_MAX}"),
    );
    let threads = config.model.threads;
    demand(
        threads <= MODEL_THREADS_MAX,
        format!("`model.threads` is {threads}, at most {MODEL_THREADS_MAX}"),
    );
    let context = config.model.context_tokens;
    demand(context > 0, "`model.context_tokens` is 0, it must be at least 1".to_owned());
    demand(!config.model.name.is_empty(), "`model.name` is empty".to_owned());
    demand(!config.data.path.as_os_str().is_empty(), "`data.path` is empty".to_owned());
    let (search, ingest) = (config.batch.search_tokens, config.batch.ingest_tokens);
    demand(search > 0 && ingest > 0, "a batch of 0 tokens in `batch` would stand still".to_owned());

    if let Err((field, problem)) = config.reasoning.validate(&config.limits) {
        demand(false, format!("`reasoning.{field}`: {problem}"));
    }
    if let Err(problem) = config.pressure.validate() {
        demand(false, format!("`pressure`: {problem}"));
    }
    let (cache, most) = (config.cache.bytes, CACHE_BYTES_MAX);
    demand(cache <= most, format!("`cache.bytes` is {cache}, at most {most}"));
    if let Err(problem) = config.limits.validate() {
        demand(false, format!("`limits`: {problem}"));
    }
    let server = &config.client.server;
    demand(
        is_address(server),
        format!(
            "`client.server` is `{server}`, not an address such as http://127.0.0.1:50871 or \
             unix:///run/twn.sock"
        ),
    );
    if let Err(error) = EnvFilter::try_new(&config.log.filter) {
        demand(false, format!("`log.filter` is `{}`: {error}", config.log.filter));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut Config), key: &str) {
        let mut config = Config::default();
        change(&mut config);
        let problems = problems(&config);
        assert!(problems.len() == 1 && problems[0].contains(key), "{key}: {problems:?}");
    }

    #[test]
    fn defaults_are_in_range() {
        assert_eq!(problems(&Config::default()), Vec::<String>::new());
    }

    #[test]
    fn values_out_of_range_are_named() {
        check(|config| config.server.max_message_bytes = 1, "server.max_message_bytes");
        check(|config| config.server.drain_s = u64::MAX, "server.drain_s");
        check(|config| config.server.linger_us = u64::MAX, "server.linger_us");
        check(|config| config.server.socket = Some("".into()), "server.socket");
        check(|config| config.server.socket = Some("\0twn".into()), "server.socket");
        check(|config| config.search.threads = 0, "search.threads");
        check(|config| config.model.context_tokens = 0, "model.context_tokens");
        check(|config| config.model.name.clear(), "model.name");
        check(|config| config.data.path = "".into(), "data.path");
        check(|config| config.batch.ingest_tokens = 0, "batch");
        check(|config| config.reasoning.threshold = Some(1.5), "reasoning.threshold");
        check(|config| config.reasoning.threshold = Some(f32::NAN), "reasoning.threshold");
        check(|config| config.reasoning.token_budget = Some(513), "reasoning.token_budget");
        let rule = |every, similarity| Some(twn_service::Convergence { every, similarity });
        check(|config| config.reasoning.convergence = rule(0, 0.9), "convergence.every");
        check(|config| config.reasoning.convergence = rule(8, 1.5), "convergence.similarity");
        check(|config| config.pressure.load_from = -0.5, "load_from");
        check(|config| config.pressure.budget_floor = f32::NAN, "budget_floor");
        check(|config| config.cache.bytes = usize::MAX, "cache.bytes");
        check(|config| config.limits.max_ids = 0, "max_ids");
        check(|config| config.client.server = "not an address".into(), "client.server");
        check(|config| config.client.server = "unix://".into(), "client.server");
        check(|config| config.log.filter = "twn=loud".into(), "log.filter");
    }
}
