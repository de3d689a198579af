//! Callers who go away, at every step.

use super::*;

fn asks() -> Vec<Ask> {
    vec![
        Ask::direct(STATEMENT),
        Ask::auto(QUESTION, 6),
        Ask::always(STATEMENT, 4),
        Ask::direct("a long text ".repeat(300)),
        Ask::auto(STATEMENT, 5).explained(),
        Ask::always(QUESTION, 5).explained(),
        Ask::direct("a document").document(),
        Ask::always("a document that is thought about", 5).document(),
        Ask::always("one more than there are places", 4),
        Ask::always("and another one", 4),
    ]
}

/// Timings aside, which differ from run to run.
fn timeless(encoded: Encoded) -> Encoded {
    let timings = twn_encoder::EncodeTimings::default();
    let explanation = encoded.explanation.map(|mut explanation| {
        explanation.cost.reasoning = Duration::ZERO;
        explanation.cost.reembed = Duration::ZERO;
        explanation
    });
    Encoded { timings, explanation, ..encoded }
}

/// Runs all inputs; after `after` rounds those in `leave` are cancelled. Returns the answers.
fn run(leave: &[usize], after: usize) -> Vec<Result<Encoded, ServiceError>> {
    let mut bench = Bench::new(Shares { thoughts: 2, ..SHARES });
    let mut asked: Vec<Asked> = asks().into_iter().map(|ask| bench.ask(ask)).collect();
    bench.rounds(after);
    let mut answers: Vec<_> = asked.iter_mut().map(Asked::poll).collect();
    for &index in leave {
        asked[index].cancel();
    }
    bench.rounds(1);
    for (answer, asked) in answers.iter_mut().zip(&mut asked).filter(|(answer, _)| answer.is_none())
    {
        *answer = asked.poll();
    }
    assert!(leave.iter().all(|&index| answers[index].is_some()), "leaving takes a round at most");
    bench.finish();
    let late = |(answer, asked): (Option<_>, &mut Asked)| answer.or_else(|| asked.poll());
    let answers = answers.into_iter().zip(&mut asked).map(late);
    answers.map(|answer| answer.expect("is answered").map(timeless)).collect()
}

#[test]
fn whoever_leaves_whenever_changes_nothing_for_the_others() {
    let undisturbed: Vec<Encoded> =
        run(&[], 0).into_iter().map(|answer| answer.expect("is embedded")).collect();
    for after in 0..40 {
        for leaver in 0..undisturbed.len() {
            let answers = run(&[leaver], after);
            for (index, (answer, want)) in answers.into_iter().zip(&undisturbed).enumerate() {
                match answer {
                    Ok(got) => assert_eq!(got, *want, "{index}, {leaver} left after {after}"),
                    Err(error) => {
                        assert_eq!(index, leaver, "{error}");
                        assert!(matches!(error, ServiceError::Cancelled), "{error}");
                    }
                }
            }
        }
    }
}

#[test]
fn everybody_can_leave_at_any_time() {
    let everybody: Vec<usize> = (0..asks().len()).collect();
    for after in 0..40 {
        for answer in run(&everybody, after) {
            assert!(answer.is_ok() || matches!(answer, Err(ServiceError::Cancelled)));
        }
    }
}

#[test]
fn calls_that_are_late_are_told_so() {
    let mut bench = Bench::new(SHARES);
    let late = |ask: Ask| Ask { patience: Duration::ZERO, ..ask };
    let mut asked: Vec<Asked> = asks().into_iter().map(|ask| bench.ask(late(ask))).collect();
    bench.finish();
    for asked in &mut asked {
        let error = asked.poll().expect("is answered").expect_err("is late");
        assert!(matches!(error, ServiceError::DeadlineExceeded { .. }), "{error}");
    }
}

#[test]
fn receivers_that_are_gone_leak_nothing() {
    let mut bench = Bench::new(Shares { thoughts: 1, ..SHARES });
    for ask in asks() {
        let asked = bench.ask(ask);
        // The caller is gone but its call is not cancelled: the work is done for nobody.
        std::mem::forget(asked.guard);
        drop(asked.answer);
    }
    bench.finish();
}
