//! The model thread, driven round by round: no clock decides what these tests see.

mod adaptive;
mod cancelled;
mod explained;
mod rounds;

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot::{self, error::TryRecvError};
use twn_encoder::{
    Content, EmbedKind, Embedder, EncodeInput, FakeEmbedder, FakeOptions, Prepare, ReasoningMode,
    ReasoningPolicy,
};

use super::{Job, Lane, Shares, thread::ModelThread};
use crate::{
    admission::Admission,
    call::{Call, CallGuard},
    encoding::Encoded,
    error::ServiceError,
    limits::Limits,
    pressure::PressureOptions,
};

/// Long enough that no test meets it.
const PATIENCE: Duration = Duration::from_secs(24 * 3_600);
const QUESTION: &str = "why do pumps cavitate?";
const STATEMENT: &str = "pumps move water";
const PLACES: usize = 4;

const SHARES: Shares = Shares {
    search_tokens: 1_024,
    ingest_tokens: 256,
    thoughts: PLACES,
    max_queue_tokens: 65_536,
    // Load presses nobody unless a test is about it.
    pressure: PressureOptions { load_from: 1.0, budget_floor: 0.25, deadline_margin_ms: 0 },
};

fn policy(mode: ReasoningMode, token_budget: u32) -> ReasoningPolicy {
    ReasoningPolicy {
        mode,
        threshold: 0.5,
        token_budget,
        temperature: 0.0,
        seed: 0,
        convergence: None,
    }
}

/// How an input is submitted.
#[derive(Clone)]
struct Ask {
    text: String,
    policy: ReasoningPolicy,
    lane: Lane,
    adapts: bool,
    explain: bool,
    patience: Duration,
}

impl Ask {
    fn new(text: impl Into<String>, mode: ReasoningMode, budget: u32) -> Self {
        Self {
            text: text.into(),
            policy: policy(mode, budget),
            lane: Lane::Search,
            adapts: true,
            explain: false,
            patience: PATIENCE,
        }
    }

    fn direct(text: impl Into<String>) -> Self {
        Self::new(text, ReasoningMode::Never, 1)
    }

    fn always(text: impl Into<String>, budget: u32) -> Self {
        Self::new(text, ReasoningMode::Always, budget)
    }

    fn auto(text: impl Into<String>, budget: u32) -> Self {
        Self::new(text, ReasoningMode::Auto, budget)
    }

    fn document(self) -> Self {
        Self { lane: Lane::Ingest, adapts: false, ..self }
    }

    fn explained(self) -> Self {
        Self { explain: true, ..self }
    }
}

/// A submitted input. Dropping it without [`Asked::leave`] cancels it as well.
struct Asked {
    answer: oneshot::Receiver<Result<Encoded, ServiceError>>,
    guard: Option<CallGuard>,
}

impl Asked {
    /// What was answered so far.
    fn poll(&mut self) -> Option<Result<Encoded, ServiceError>> {
        match self.answer.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Closed) => panic!("the answer was lost, or was taken before"),
        }
    }

    #[track_caller]
    fn encoded(&mut self) -> Encoded {
        self.poll().expect("is answered").expect("is embedded")
    }

    fn cancel(&mut self) {
        self.guard = None;
    }
}

/// A model thread without a thread.
struct Bench<E: Embedder = FakeEmbedder> {
    thread: ModelThread<E>,
    prompter: Arc<dyn Prepare>,
    admission: Admission,
    full: [usize; 4],
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn new(shares: Shares) -> Self {
        Self::with(shares, FakeOptions { thought_tokens: 1_000, ..FakeOptions::default() })
    }

    fn with(shares: Shares, options: FakeOptions) -> Self {
        let context_tokens = options.context_tokens.max(4_096);
        Self::over(shares, FakeEmbedder::new(FakeOptions { context_tokens, ..options }))
    }

    fn over(shares: Shares, embedder: FakeEmbedder) -> Self {
        let prompter = embedder.prompter();
        let admission = Admission::new(&Limits { max_queue_items: 10_000, ..Limits::default() });
        let full = admission.free();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("starts");
        Self { thread: ModelThread::new(embedder, shares), prompter, admission, full, runtime }
    }

    fn ask(&mut self, ask: Ask) -> Asked {
        let Ask { text, policy, lane, adapts, explain, patience } = ask;
        let kind = match lane {
            Lane::Search => EmbedKind::Query,
            Lane::Ingest => EmbedKind::Document,
        };
        let input = EncodeInput { content: Content::text(text), instruction: None, kind };
        let prompt = self.prompter.prepare(&input).expect("has words");
        let tokens = prompt.tokens.len();
        let ticket = match lane {
            Lane::Search => self.admission.try_admit_search(tokens),
            Lane::Ingest => self.runtime.block_on(self.admission.admit_ingest(tokens)),
        };
        let (call, guard) = Call::within(patience);
        let (sender, answer) = oneshot::channel();
        self.thread.queue.push(Job {
            prompt,
            policy,
            lane,
            adapts,
            explain,
            call,
            prepare: Duration::ZERO,
            queued_at: std::time::Instant::now(),
            ticket: ticket.expect("has room"),
            answer: sender,
        });
        Asked { answer, guard: Some(guard) }
    }

    fn rounds(&mut self, count: usize) {
        for _ in 0..count {
            self.thread.round();
        }
    }

    /// Rounds until `asked` is answered.
    fn rounds_until(&mut self, asked: &mut Asked) -> (usize, Result<Encoded, ServiceError>) {
        for rounds in 1..10_000 {
            self.thread.round();
            if let Some(answer) = asked.poll() {
                return (rounds, answer);
            }
        }
        panic!("is never answered");
    }

    /// Works until nothing is left, and checks that nothing has leaked.
    #[track_caller]
    fn finish(&mut self) {
        for _ in 0..100_000 {
            if !self.thread.has_work() {
                break;
            }
            self.thread.round();
        }
        assert!(!self.thread.has_work(), "there is work left");
        assert_eq!(self.thread.thoughts.counts(), (0, 0), "thoughts are left");
        assert_eq!(self.admission.free(), self.full, "tickets are lost");
    }

    /// What the input is answered when it is alone.
    fn alone(&self, ask: Ask, options: FakeOptions) -> Encoded {
        let mut bench = Self::with(SHARES, options);
        let mut asked = bench.ask(ask);
        bench.finish();
        asked.encoded()
    }
}
