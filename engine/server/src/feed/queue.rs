//! What is to be sent next: new records, and those that are to be sent again.
//!
//! Invariant: of several records with one id only one is on its way, so that they take
//! effect in their order however often one of them is sent again.

use std::collections::{HashMap, VecDeque};

use tokio::{sync::mpsc, time::Instant};
use twn_protos::v1 as pb;

use super::{
    journal::Key,
    record::{Place, Record},
};

/// Documents that are held here, waiting for their time or for another of the same id.
const HELD_MAX: usize = 1_024;

/// A document on its way.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) place: Place,
    pub(crate) document: pb::DocumentInput,
    pub(crate) key: Key,
    /// How often it has been sent, the next time included.
    pub(crate) attempts: u32,
}

/// What to send next.
#[derive(Debug)]
pub(crate) enum Next {
    /// A record out of the source.
    New(Record),
    /// A document whose time has come.
    Ready(Pending),
    /// There are no more records.
    Exhausted,
}

#[derive(Debug)]
pub(crate) struct Queue {
    records: mpsc::Receiver<Record>,
    is_exhausted: bool,
    /// To be sent at the moment given, or later.
    waiting: VecDeque<(Instant, Pending)>,
    /// For each id on its way, the documents that follow it.
    under_way: HashMap<String, VecDeque<Pending>>,
    followers: usize,
}

impl Queue {
    pub(crate) fn new(records: mpsc::Receiver<Record>) -> Self {
        let (waiting, under_way) = (VecDeque::new(), HashMap::new());
        Self { records, is_exhausted: false, waiting, under_way, followers: 0 }
    }

    /// Tells whether nothing is left to send, if nothing on its way comes back.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_exhausted && self.waiting.is_empty()
    }

    /// Waits for something to send. Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Next {
        loop {
            let earliest =
                self.waiting.iter().enumerate().min_by_key(|(i, (ready, _))| (*ready, *i));
            let earliest = earliest.map(|(i, (ready, _))| (i, *ready));
            if let Some((i, ready)) = earliest
                && ready <= Instant::now()
                && let Some((_, pending)) = self.waiting.remove(i)
            {
                return Next::Ready(pending);
            }
            let has_room = self.waiting.len() + self.followers < HELD_MAX;
            tokio::select! {
                record = self.records.recv(), if !self.is_exhausted && has_room => match record {
                    Some(record) => return Next::New(record),
                    None => {
                        self.is_exhausted = true;
                        return Next::Exhausted;
                    }
                },
                () = sleep_until(earliest.map(|(_, ready)| ready)) => {}
            }
        }
    }

    /// Returns a new document to be sent now, unless it has to wait for another of its id.
    pub(crate) fn line_up(&mut self, pending: Pending) -> Option<Pending> {
        if let Some(followers) = self.under_way.get_mut(&pending.document.id) {
            followers.push_back(pending);
            self.followers += 1;
            return None;
        }
        self.under_way.insert(pending.document.id.clone(), VecDeque::new());
        Some(pending)
    }

    /// Has a document sent again.
    pub(crate) fn again(&mut self, ready: Instant, pending: Pending) {
        self.waiting.push_back((ready, pending));
    }

    /// Lets the next document of an id go: the one before it is through.
    pub(crate) fn settle(&mut self, id: &str) {
        let Some(followers) = self.under_way.get_mut(id) else { return };
        match followers.pop_front() {
            Some(next) => {
                self.followers -= 1;
                self.waiting.push_back((Instant::now(), next));
            }
            None => {
                self.under_way.remove(id);
            }
        }
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        // Everything is on its way: only an answer can move things on.
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn pending(id: &str, line: u64) -> Pending {
        let document = pb::DocumentInput { id: id.into(), ..pb::DocumentInput::default() };
        let place = Place { file: "f".into(), line: Some(line) };
        Pending { place, document, key: Key::default(), attempts: 1 }
    }

    async fn ready(queue: &mut Queue) -> u64 {
        match queue.next().await {
            Next::Ready(pending) => pending.place.line.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn documents_of_one_id_follow_each_other() {
        let mut queue = Queue::new(mpsc::channel(1).1);
        assert!(matches!(queue.next().await, Next::Exhausted));
        let first = queue.line_up(pending("a", 1)).unwrap();
        assert!(queue.line_up(pending("a", 2)).is_none());
        assert!(queue.line_up(pending("a", 3)).is_none());
        assert!(queue.line_up(pending("b", 4)).is_some());

        queue.again(Instant::now() + Duration::from_millis(30), first);
        assert_eq!(ready(&mut queue).await, 1, "the others wait although it is late");
        queue.settle("a");
        assert_eq!(ready(&mut queue).await, 2);
        queue.settle("a");
        assert_eq!(ready(&mut queue).await, 3);
        queue.settle("a");
        queue.settle("b");
        assert!(queue.is_empty() && queue.under_way.is_empty());
    }

    #[tokio::test]
    async fn the_earliest_goes_first() {
        let mut queue = Queue::new(mpsc::channel(1).1);
        assert!(matches!(queue.next().await, Next::Exhausted));
        let now = Instant::now();
        for (line, ms) in [(1, 60), (2, 0), (3, 0), (4, 30)] {
            queue.again(now + Duration::from_millis(ms), pending("x", line));
        }
        let mut order = Vec::new();
        while !queue.is_empty() {
            order.push(ready(&mut queue).await);
        }
        assert_eq!(order, [2, 3, 4, 1]);
    }

    #[tokio::test]
    async fn what_is_held_is_bounded() {
        let (sender, records) = mpsc::channel(1);
        let mut queue = Queue::new(records);
        let late = Instant::now() + Duration::from_millis(30);
        for line in 0..HELD_MAX as u64 {
            queue.again(late, pending("x", line));
        }
        let place = Place { file: "f".into(), line: None };
        sender.try_send(Record { place, document: Err("bad".into()) }).unwrap();
        assert_eq!(ready(&mut queue).await, 0, "no new record before there is room");
    }
}
