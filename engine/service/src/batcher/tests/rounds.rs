//! Who waits how long, in rounds.

use super::{
    super::{
        direct::{PASSES_MAX, SEARCHES_MAX},
        thoughts::DOCUMENTS_EVERY,
    },
    *,
};

fn words(count: usize) -> String {
    "word ".repeat(count)
}

#[test]
fn direct_searches_wait_for_one_round_while_thoughts_decode() {
    let mut bench = Bench::new(SHARES);
    let mut thoughts: Vec<Asked> =
        (0..4).map(|i| bench.ask(Ask::always(format!("{QUESTION} {i}"), 60))).collect();
    bench.rounds(4);
    assert_eq!(bench.thread.thoughts.counts(), (0, 4));
    for round in 0..50 {
        let mut search = bench.ask(Ask::direct(format!("{STATEMENT} {round}")));
        assert_eq!(bench.rounds_until(&mut search).0, 1, "in round {round}");
    }
    assert!(thoughts.iter_mut().all(|thought| thought.poll().is_none()));
    bench.finish();
    for mut thought in thoughts {
        assert_eq!(thought.encoded().usage.reasoning_tokens, 60);
    }
}

#[test]
fn thoughts_advance_every_round_however_many_searches_come() {
    let mut bench = Bench::new(SHARES);
    let mut thought = bench.ask(Ask::always(QUESTION, 40));
    let mut searches = Vec::new();
    for _ in 0..40 {
        searches.extend((0..30).map(|i| bench.ask(Ask::direct(format!("{STATEMENT} {i}")))));
        bench.rounds(1);
    }
    // The first round embeds, opens, and decodes a token; the last embeds again.
    assert_eq!(thought.encoded().usage.reasoning_tokens, 40);
    bench.finish();
    assert!(searches.iter_mut().all(|search| search.encoded().usage.reasoning_tokens == 0));
}

#[test]
fn a_crowd_of_searches_shares_batches() {
    let mut bench = Bench::new(SHARES);
    // A prompt has a token beside its words: 16 of 64 fill a batch.
    let mut searches: Vec<Asked> = (0..64).map(|_| bench.ask(Ask::direct(words(63)))).collect();
    let last = bench.rounds_until(&mut searches[63]).0;
    assert_eq!(last, 4);
    bench.finish();
}

#[test]
fn short_searches_do_not_wait_for_long_ones_and_long_ones_do_not_starve() {
    let mut bench = Bench::new(SHARES);
    let mut long: Vec<Asked> = (0..3).map(|_| bench.ask(Ask::direct(words(2_000)))).collect();
    let mut served = Vec::new();
    let mut short: Vec<(usize, Asked)> = Vec::new();
    for round in 1..=20 {
        short.push((round, bench.ask(Ask::direct(STATEMENT))));
        bench.rounds(1);
        let answered = long.extract_if(.., |long| long.poll().is_some()).count();
        served.extend(vec![round; answered]);
        // A short search waits behind a long one only where that one's turn has come.
        short.retain_mut(|(asked, short)| match short.poll() {
            Some(answer) => {
                assert!(answer.is_ok() && round - *asked <= 1, "asked in {asked}, now {round}");
                false
            }
            None => {
                assert!(answered == 1, "a short search waits in round {round} for nothing");
                true
            }
        });
    }
    let every = PASSES_MAX as usize + 1;
    assert_eq!(served, [every, 2 * every, 3 * every]);
    bench.finish();
}

#[test]
fn documents_wait_for_searches_but_not_for_ever() {
    let mut bench = Bench::new(SHARES);
    let mut document = bench.ask(Ask::direct(STATEMENT).document());
    for _ in 0..SEARCHES_MAX {
        let mut search = bench.ask(Ask::direct(STATEMENT));
        assert_eq!(bench.rounds_until(&mut search).0, 1);
        assert!(document.poll().is_none(), "documents give way");
    }
    let mut search = bench.ask(Ask::direct(STATEMENT));
    assert_eq!(bench.rounds_until(&mut search).0, 2, "the document's turn comes between");
    document.encoded();
    bench.finish();
}

#[test]
fn documents_that_think_do_not_run_far_ahead_nor_hold_up_others() {
    let mut bench = Bench::new(SHARES);
    let mut thinking: Vec<Asked> = (0..200)
        .map(|i| bench.ask(Ask::always(format!("{QUESTION} {i} {}", words(50)), 5).document()))
        .collect();
    let mut direct = bench.ask(Ask::direct(STATEMENT).document());
    // A batch of 256 tokens has four of these.
    let most = PLACES + 4;
    let mut direct_in = None;
    for round in 1.. {
        bench.rounds(1);
        let (waiting, live) = bench.thread.thoughts.counts();
        assert!(waiting <= most && live <= PLACES, "{waiting} wait, {live} live");
        if direct_in.is_none() && direct.answer.try_recv().is_ok() {
            direct_in = Some(round);
        }
        if !bench.thread.has_work() {
            break;
        }
    }
    assert!(direct_in.is_some_and(|round| round <= 4), "{direct_in:?}");
    bench.finish();
    assert!(thinking.iter_mut().all(|asked| asked.encoded().usage.reasoning_tokens == 5));
}

#[test]
fn searches_take_places_from_documents_and_give_them_back() {
    let mut bench = Bench::new(SHARES);
    let mut documents: Vec<Asked> = (0..PLACES)
        .map(|i| bench.ask(Ask::always(format!("{QUESTION} {i}"), 30).document()))
        .collect();
    bench.rounds(PLACES + 2);
    assert_eq!(bench.thread.thoughts.counts(), (0, PLACES));
    // As many searches think at full pace as there are places; a document is parked.
    let budget = 2 * DOCUMENTS_EVERY as u32;
    let mut searches: Vec<Asked> =
        (0..PLACES).map(|i| bench.ask(Ask::always(format!("{QUESTION} s{i}"), budget))).collect();
    bench.rounds(PLACES);
    assert_eq!(bench.thread.thoughts.counts(), (0, 2 * PLACES));
    let last = searches.iter_mut().map(|search| bench.rounds_until(search).0).sum::<usize>();
    // Every eighth round belonged to the documents.
    let slowest = budget as usize + budget as usize / (DOCUMENTS_EVERY as usize - 1) + PLACES;
    assert!(last <= slowest, "{last} of {slowest}");
    bench.finish();
    for document in &mut documents {
        assert_eq!(document.encoded().usage.reasoning_tokens, 30);
    }
}

#[test]
fn documents_thoughts_advance_under_searches_without_end() {
    let mut bench = Bench::new(Shares { thoughts: 1, ..SHARES });
    let mut document = bench.ask(Ask::always(QUESTION, 3).document());
    bench.rounds(1);
    let mut rounds = 1;
    let mut searches = Vec::new();
    while document.poll().is_none_or(|answer| answer.is_err()) {
        searches.push(bench.ask(Ask::always(QUESTION, 1_000)));
        bench.rounds(1);
        rounds += 1;
        assert!(rounds <= 4 * DOCUMENTS_EVERY, "starved");
    }
    drop(searches);
    bench.finish();
}

#[test]
fn a_failed_step_fails_those_that_were_stepped() {
    let failure = twn_encoder::FakeFailure::StepAfter(2);
    let options = FakeOptions { failure, thought_tokens: 1_000, ..FakeOptions::default() };
    let mut bench = Bench::with(Shares { thoughts: 1, ..SHARES }, options);
    let mut stepped = bench.ask(Ask::always(QUESTION, 9));
    let mut waiting = bench.ask(Ask::auto(QUESTION, 9));
    let mut direct = bench.ask(Ask::direct(STATEMENT));
    bench.rounds(3);
    let failed = stepped.poll().expect("is answered").expect_err("fails");
    assert!(matches!(failed, ServiceError::Internal { .. }), "{failed}");
    assert!(waiting.poll().is_none(), "its thought has not begun");
    direct.encoded();
    bench.finish();
    assert!(waiting.poll().expect("is answered").is_err());
}
