//! Inputs that wait for their direct embedding, or to begin where they must think, and which of
//! them are next.
//!
//! Prompts are laid end to end without padding, so mixed lengths waste nothing; but every
//! input of a batch waits for the whole batch. Therefore:
//!
//! 1. Searches go in classes of length: up to 127 tokens, then one class for each doubling.
//!    The lead is the earliest search of the shortest class that waits. It is joined by
//!    others of its class and of the next one, shortest class first and earliest first,
//!    while the batch has room. So a prompt waits for none of four times its length.
//! 2. When [`PASSES_MAX`] batches in a row have gone without the search that waits
//!    longest, that one leads the next. So the p-th in order of arrival leads, at the
//!    latest, the `p * (PASSES_MAX + 1)`-th batch of searches.
//! 3. Documents go in order of arrival, when no search waits; and once for every
//!    [`SEARCHES_MAX`] batches of searches that they had to let pass. While enough of them
//!    wait to think, only those go that will not: a prompt that waits to think may
//!    hold the keys and values of all its tokens.

use std::collections::VecDeque;

use twn_encoder::ReasoningMode;

use super::{Shares, job::Job};

/// Batches in a row that may pass over the search that waits longest.
pub(super) const PASSES_MAX: u32 = 4;
/// Batches of searches that waiting documents let pass.
pub(super) const SEARCHES_MAX: u32 = 8;
/// Prompts shorter than this are all of one class.
const SHORT_TOKENS: usize = 64;

/// Inputs that wait for their direct embedding, each lane in order of arrival.
#[derive(Debug, Default)]
pub(super) struct DirectQueue {
    searches: VecDeque<Job>,
    documents: VecDeque<Job>,
    /// Batches of searches since the one that waits longest was passed over first.
    passes: u32,
    /// Batches of searches since documents began to wait.
    searches_between: u32,
}

impl DirectQueue {
    pub(super) fn push(&mut self, job: Job) {
        if job.is_search() { self.searches.push_back(job) } else { self.documents.push_back(job) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.searches.is_empty() && self.documents.is_empty()
    }

    /// Prompt tokens of the searches that wait.
    pub(super) fn search_tokens(&self) -> usize {
        self.searches.iter().map(Job::tokens).sum()
    }

    /// Answers and forgets every input whose call has ended.
    pub(super) fn drop_ended(&mut self) {
        for queue in [&mut self.searches, &mut self.documents] {
            let jobs = std::mem::take(queue);
            queue.extend(jobs.into_iter().filter_map(|job| job.keep("waiting for the model")));
        }
    }

    /// Takes the next batch; empty when nothing waits that may go. `may_think` tells
    /// whether documents may go that could think.
    pub(super) fn next_batch(&mut self, shares: &Shares, may_think: bool) -> Vec<Job> {
        let documents_turn = self.searches.is_empty() || self.searches_between >= SEARCHES_MAX;
        if documents_turn {
            let goes = |job: &Job| may_think || job.policy.mode == ReasoningMode::Never;
            let batch = take_in_order(&mut self.documents, shares.ingest_tokens, goes);
            if !batch.is_empty() {
                self.searches_between = 0;
                return batch;
            }
        }
        self.searches_between =
            if self.documents.is_empty() { 0 } else { self.searches_between.saturating_add(1) };

        let tokens: Vec<usize> = self.searches.iter().map(Job::tokens).collect();
        let chosen = choose(&tokens, self.passes >= PASSES_MAX, shares.search_tokens);
        self.passes = if chosen.first() == Some(&0) { 0 } else { self.passes + 1 };
        take(&mut self.searches, &chosen)
    }
}

/// Chooses a batch of searches by their lengths, given in order of arrival. Returns their
/// positions in ascending order; empty only for no searches.
fn choose(tokens: &[usize], oldest_leads: bool, max_tokens: usize) -> Vec<usize> {
    let class = |position: usize| tokens[position].max(SHORT_TOKENS).ilog2();
    let shortest = (0..tokens.len()).min_by_key(|&position| (class(position), position));
    let Some(lead) = (if oldest_leads { Some(0) } else { shortest }).filter(|_| shortest.is_some())
    else {
        return Vec::new();
    };

    let classes = class(lead)..=class(lead) + 1;
    let mut others: Vec<usize> = (0..tokens.len())
        .filter(|&position| position != lead && classes.contains(&class(position)))
        .collect();
    others.sort_by_key(|&position| (class(position), position));

    let mut chosen = vec![lead];
    let mut sum = tokens[lead];
    for position in others {
        sum += tokens[position];
        if sum > max_tokens {
            break;
        }
        chosen.push(position);
    }
    chosen.sort_unstable();
    chosen
}

/// Takes the jobs at `positions`, which ascend.
fn take(queue: &mut VecDeque<Job>, positions: &[usize]) -> Vec<Job> {
    let mut wanted = positions.iter().peekable();
    let mut taken = Vec::with_capacity(positions.len());
    let mut left = VecDeque::with_capacity(queue.len());
    for (position, job) in std::mem::take(queue).into_iter().enumerate() {
        if wanted.next_if_eq(&&position).is_some() {
            taken.push(job);
        } else {
            left.push_back(job);
        }
    }
    *queue = left;
    taken
}

/// Takes jobs that may go, earliest first, until their tokens fill the batch; always takes
/// one if there is one.
fn take_in_order(
    queue: &mut VecDeque<Job>,
    max_tokens: usize,
    goes: impl Fn(&Job) -> bool,
) -> Vec<Job> {
    let mut tokens = 0;
    let may_go = (0..queue.len()).filter(|&position| goes(&queue[position]));
    let chosen: Vec<usize> = may_go
        .enumerate()
        .take_while(|&(count, position)| {
            tokens += queue[position].tokens();
            count == 0 || tokens <= max_tokens
        })
        .map(|(_, position)| position)
        .collect();
    take(queue, &chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(tokens: &[usize], oldest_leads: bool, want: &[usize]) {
        assert_eq!(choose(tokens, oldest_leads, 1_024), want, "{tokens:?}");
    }

    #[test]
    fn short_prompts_go_first_and_keep_their_order() {
        check(&[], false, &[]);
        check(&[], true, &[]);
        check(&[30], false, &[0]);
        check(&[2_000, 40, 30, 60], false, &[1, 2, 3]);
        check(&[900, 800], false, &[0]);
        check(&[5_000], false, &[0]);
    }

    #[test]
    fn a_batch_holds_prompts_of_like_length() {
        // 130 is of the class next to the short ones, 300 is not.
        check(&[300, 30, 130], false, &[1, 2]);
        check(&[255, 30, 256], false, &[0, 1]);
        check(&[300, 500, 30], true, &[0, 1]);
    }

    #[test]
    fn a_batch_is_bounded_by_its_tokens() {
        check(&[100; 20], false, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        check(&[200, 100, 900, 100], false, &[0, 1, 3]);
    }

    /// Serves a queue to which `arrivals` gives a prompt before every batch. Returns in
    /// which batch the first prompt of `queue` was served.
    fn served_in(queue: Vec<usize>, arrivals: usize) -> u32 {
        let mut queue: VecDeque<(bool, usize)> =
            queue.into_iter().enumerate().map(|(i, tokens)| (i == 0, tokens)).collect();
        let mut passes = 0;
        for batch in 1..1_000 {
            queue.extend((0..12).map(|_| (false, arrivals)));
            let tokens: Vec<usize> = queue.iter().map(|(_, tokens)| *tokens).collect();
            let chosen = choose(&tokens, passes >= PASSES_MAX, 1_024);
            passes = if chosen.first() == Some(&0) { 0 } else { passes + 1 };
            if chosen.iter().any(|&position| queue[position].0) {
                return batch;
            }
            for position in chosen.into_iter().rev() {
                queue.remove(position);
            }
        }
        panic!("starved");
    }

    #[test]
    fn nothing_starves_behind_shorter_prompts() {
        assert_eq!(served_in(vec![2_000], 100), PASSES_MAX + 1);
        assert_eq!(served_in(vec![30; 1], 2_000), 1);
    }
}
