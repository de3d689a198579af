//! What load and deadlines do to thoughts.

use twn_encoder::{
    Pressure, Route, RouteReason, StopReason, ThresholdSource, Usage, adapter::GatePoint,
};

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);

/// Shares under which load presses from half on.
const PRESSED: Shares =
    Shares { pressure: PressureOptions { load_from: 0.5, ..SHARES.pressure }, ..SHARES };

fn usage(asked: &mut Asked) -> Usage {
    asked.encoded().usage
}

/// Makes the model look so slow that a day is not enough for one thought.
fn slow_down(bench: &mut Bench) {
    for _ in 0..100 {
        bench.thread.thoughts.pace.reembed.add(30 * HOUR);
    }
}

/// A curve on which a threshold of 0.5 thinks for 30 tokens a query.
fn curve() -> Vec<GatePoint> {
    let point = |threshold, reasoning_tokens_per_query, ndcg_at_10| GatePoint {
        threshold,
        think_rate: 0.5,
        reasoning_tokens_per_query,
        ndcg_at_10,
    };
    vec![point(0.5, 30.0, 0.5), point(0.95, 12.0, 0.45), point(1.0, 0.0, 0.3)]
}

#[test]
fn pressure_moves_along_the_curve_on_record() {
    let options =
        FakeOptions { thought_tokens: 1_000, gate_curve: curve(), ..FakeOptions::default() };
    let mut bench = Bench::with(PRESSED, options);
    let living: Vec<Asked> = (0..PLACES).map(|_| bench.ask(Ask::always(QUESTION, 40))).collect();
    bench.rounds(1);
    let waiting: Vec<Asked> = (0..PLACES / 2)
        .map(|_| bench.ask(Ask { adapts: false, ..Ask::always(QUESTION, 40) }))
        .collect();
    bench.rounds(1);
    // Under half of the pressure 15 tokens are left: the formula's 0.75 would let the
    // score of 0.9 think, the curve says that it takes 0.95 to save so much.
    let mut auto = bench.ask(Ask::auto(QUESTION, 40));
    let mut never = bench.ask(Ask::direct(QUESTION));
    let mut fixed = bench.ask(Ask { adapts: false, ..Ask::auto(STATEMENT, 40) });
    bench.rounds(1);
    let denied = usage(&mut auto);
    assert_eq!((denied.route, denied.pressure), (Route::Direct, Pressure::Load));
    assert_eq!((denied.base_threshold, denied.gate_threshold), (Some(0.5), Some(0.95)));
    assert_eq!(denied.threshold_source, Some(ThresholdSource::Curve));
    assert_eq!(usage(&mut never).threshold_source, None);
    let fixed = usage(&mut fixed);
    assert_eq!(fixed.gate_threshold, Some(0.5));
    assert_eq!(fixed.threshold_source, Some(ThresholdSource::Policy));
    drop((living, waiting));
    bench.finish();
}

#[test]
fn full_places_press_those_who_come_after() {
    let mut bench = Bench::new(PRESSED);
    let living: Vec<Asked> = (0..PLACES).map(|_| bench.ask(Ask::always(QUESTION, 40))).collect();
    bench.rounds(1);
    let mut waiting: Vec<Asked> = (0..PLACES / 2)
        .map(|_| bench.ask(Ask { adapts: false, ..Ask::always(QUESTION, 40) }))
        .collect();
    bench.rounds(1);
    // 4 live and 2 wait: half of the way from full to twice full.
    let mut auto = bench.ask(Ask::auto(QUESTION, 40));
    let mut sure = bench.ask(Ask {
        policy: ReasoningPolicy { threshold: 0.85, ..policy(ReasoningMode::Auto, 40) },
        ..Ask::auto(QUESTION, 40)
    });
    bench.rounds(1);
    assert!(auto.poll().is_none(), "0.9 is above 0.75: it waits to think");
    let denied = usage(&mut sure);
    assert_eq!(
        (denied.route, denied.route_reason),
        (Route::Direct, RouteReason::GateBelowThreshold)
    );
    assert!(denied.base_threshold == Some(0.85) && denied.gate_threshold > Some(0.9), "{denied:?}");
    assert_eq!(denied.threshold_source, Some(ThresholdSource::Formula));
    assert_eq!((denied.pressure, denied.token_budget), (Pressure::Load, Some(40)));
    assert_eq!(denied.granted_budget, None);
    drop(living);
    bench.finish();
    for asked in &mut waiting {
        let fixed = usage(asked);
        assert_eq!((fixed.pressure, fixed.granted_budget), (Pressure::None, Some(40)));
    }
    // By the time of its turn the places were empty again.
    let granted = usage(&mut auto);
    assert_eq!((granted.route, granted.pressure), (Route::Reasoned, Pressure::None));
}

#[test]
fn what_load_leaves_is_what_an_idle_server_gives_for_that_budget() {
    let options = FakeOptions { thought_tokens: 1_000, ..FakeOptions::default() };
    let mut bench = Bench::with(PRESSED, options.clone());
    let text = |i: usize| format!("{QUESTION} {i}");
    let mut asked: Vec<Asked> = (0..24).map(|i| bench.ask(Ask::always(text(i), 20))).collect();
    bench.finish();
    let mut shrunk = 0;
    for (i, asked) in asked.iter_mut().enumerate() {
        let encoded = asked.encoded();
        let usage = &encoded.usage;
        assert_eq!((usage.route, usage.stop_reason), (Route::Reasoned, Some(StopReason::Budget)));
        let granted = usage.granted_budget.expect("has thought");
        assert_eq!((usage.reasoning_tokens, usage.token_budget), (granted, Some(20)));
        assert_eq!(usage.pressure == Pressure::Load, granted < 20);
        assert!(granted >= 5, "{granted}");
        shrunk += usize::from(granted < 20);
        let alone = bench.alone(Ask::always(text(i), granted), options.clone());
        assert_eq!(alone.embedding, encoded.embedding);
    }
    assert!(shrunk > 0 && shrunk < 24, "{shrunk}");
}

#[test]
fn documents_and_fixed_policies_feel_no_pressure() {
    let mut bench = Bench::new(PRESSED);
    slow_down(&mut bench);
    let mut asked: Vec<Asked> = (0..20)
        .map(|i| {
            let ask = Ask::auto(QUESTION, 7);
            bench.ask(if i % 2 == 0 { ask.document() } else { Ask { adapts: false, ..ask } })
        })
        .collect();
    bench.finish();
    for asked in &mut asked {
        let usage = usage(asked);
        assert_eq!((usage.route, usage.pressure), (Route::Reasoned, Pressure::None));
        assert_eq!((usage.granted_budget, usage.reasoning_tokens), (Some(7), 7));
        assert_eq!(usage.gate_threshold, usage.base_threshold);
    }
}

#[test]
fn deadlines_shrink_budgets_to_what_there_is_time_for() {
    let mut bench = Bench::new(SHARES);
    // A token takes an hour, and a day has room for some twenty of them.
    for _ in 0..100 {
        bench.thread.thoughts.pace.round.add(HOUR);
    }
    let mut asked = bench.ask(Ask::always(QUESTION, 40));
    bench.rounds(1);
    assert!(asked.poll().is_none());
    // The rounds are as fast as ever, so the thought has its granted budget.
    bench.finish();
    let usage = usage(&mut asked);
    assert_eq!((usage.pressure, usage.token_budget), (Pressure::Deadline, Some(40)));
    assert_eq!(usage.stop_reason, Some(StopReason::Budget));
    let granted = usage.granted_budget.expect("has thought");
    assert!((15..24).contains(&granted), "{granted}");
    assert_eq!(usage.reasoning_tokens, granted);
}

#[test]
fn a_thought_that_meets_its_deadline_is_answered() {
    let mut bench = Bench::new(SHARES);
    let mut asked = bench.ask(Ask::always(QUESTION, 40));
    let mut explained = bench.ask(Ask::direct(STATEMENT).explained());
    let mut fixed = bench.ask(Ask { adapts: false, ..Ask::always(QUESTION, 40) });
    bench.rounds(6);
    assert!(asked.poll().is_none());
    slow_down(&mut bench);
    bench.finish();
    let stopped = usage(&mut asked);
    assert_eq!((stopped.route, stopped.stop_reason), (Route::Reasoned, Some(StopReason::Deadline)));
    assert_eq!((stopped.reasoning_tokens, stopped.granted_budget), (6, Some(40)));
    assert_eq!(stopped.query_tokens, 8);
    let explained = explained.encoded();
    assert_eq!((explained.usage.route, explained.usage.stop_reason), (Route::Direct, None));
    let explanation = explained.explanation.expect("was asked for");
    assert!(explanation.reasoned.is_some());
    assert_eq!(usage(&mut fixed).reasoning_tokens, 40);
}

#[test]
fn thoughts_of_one_deadline_leave_time_for_each_other() {
    let run = |thoughts: usize| -> Vec<Option<StopReason>> {
        let mut bench = Bench::new(SHARES);
        let ask = |i: usize| Ask::always(format!("{QUESTION} {i}"), 40);
        let mut asked: Vec<Asked> = (0..thoughts).map(|i| bench.ask(ask(i))).collect();
        bench.rounds(thoughts + 2);
        // Two of these fit into the day that there is, three do not.
        bench.thread.thoughts.pace.reembed.add(10 * HOUR);
        bench.finish();
        asked.iter_mut().map(|asked| usage(asked).stop_reason).collect()
    };
    assert_eq!(run(1), [Some(StopReason::Budget)]);
    assert_eq!(run(2), [Some(StopReason::Budget); 2]);
    // The last to be due stops; it is fast, so there is time for the others again.
    let [first, second, last] = run(3)[..] else { panic!("three were asked") };
    assert_eq!([first, second], [Some(StopReason::Budget); 2]);
    assert_eq!(last, Some(StopReason::Deadline));
}

#[test]
fn whoever_waits_to_think_when_time_is_up_is_answered() {
    let mut bench = Bench::new(SHARES);
    let hold = |_| Ask { adapts: false, ..Ask::always(QUESTION, 200) };
    let holders: Vec<Asked> = (0..PLACES).map(hold).map(|ask| bench.ask(ask)).collect();
    bench.rounds(PLACES);
    let mut auto = bench.ask(Ask::auto(QUESTION, 40));
    let mut always = bench.ask(Ask::always(QUESTION, 40));
    bench.rounds(3);
    assert!(auto.poll().is_none() && always.poll().is_none(), "the places are taken");
    slow_down(&mut bench);
    bench.rounds(2);

    let auto = usage(&mut auto);
    assert_eq!((auto.route, auto.route_reason), (Route::Direct, RouteReason::GateBelowThreshold));
    assert_eq!((auto.gate_threshold, auto.base_threshold), (Some(1.0), Some(0.5)));
    assert_eq!((auto.pressure, auto.granted_budget), (Pressure::Deadline, None));
    let always = usage(&mut always);
    assert_eq!((always.route, always.stop_reason), (Route::Reasoned, Some(StopReason::Deadline)));
    assert_eq!((always.reasoning_tokens, always.granted_budget), (0, Some(1)));
    assert_eq!(always.pressure, Pressure::Deadline);
    drop(holders);
    bench.finish();
}
