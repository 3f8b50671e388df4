//! Turns: in which order requests that have their seats are begun.
//!
//! Seats say how many requests are served at once, which is many more than there are processors. Those that have a seat
//! and can run would run in the order in which they came, and a flood would be in front of everybody. So few are begun at
//! a time, and flows take turns. A request has its turn until it is answered or waits for something for the first time.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// The turns of a server.
#[derive(Debug)]
pub(super) struct Turns(Mutex<State>);

#[derive(Debug)]
struct State {
    free: usize,
    /// The flows that wait, in the order in which they have their turns.
    order: VecDeque<u64>,
    waiting: HashMap<u64, VecDeque<oneshot::Sender<Turn>>>,
}

/// A turn. It goes to the next flow when this is dropped.
#[derive(Debug)]
pub(super) struct Turn(Option<Arc<Turns>>);

impl Turns {
    /// So many turns at once.
    pub(super) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { free: count, order: VecDeque::new(), waiting: HashMap::new() })))
    }

    /// Waits for a turn of a flow.
    pub(super) async fn take(self: &Arc<Self>, flow: u64) -> Turn {
        let turn = match self.arrive(flow) {
            Ok(turn) => {
                // Whoever runs at once would be gone before the next is looked at, and nobody would ever have to take
                // turns: those that have come arrive first.
                tokio::task::yield_now().await;
                Some(turn)
            }
            Err(given) => given.await.ok(),
        };
        // Nobody can be left without a turn while there are turns, which are held here.
        turn.unwrap_or(Turn(None))
    }

    fn arrive(self: &Arc<Self>, flow: u64) -> Result<Turn, oneshot::Receiver<Turn>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.free > 0 {
            state.free -= 1;
            return Ok(Turn(Some(self.clone())));
        }
        let (sender, given) = oneshot::channel();
        let State { order, waiting, .. } = &mut *state;
        let queue = waiting.entry(flow).or_default();
        if queue.is_empty() {
            order.push_back(flow);
        }
        queue.push_back(sender);
        Err(given)
    }

    /// Who is next; a turn is free if nobody is.
    fn next(&self) -> Option<oneshot::Sender<Turn>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let State { free, order, waiting } = &mut *state;
        let Some(flow) = order.pop_front() else {
            *free += 1;
            return None;
        };
        let queue = waiting.get_mut(&flow).expect("a flow is in the order while it waits");
        let next = queue.pop_front();
        if queue.is_empty() {
            waiting.remove(&flow);
        } else {
            order.push_back(flow);
        }
        next
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(turns) = self.0.take() else { return };
        while let Some(next) = turns.next() {
            // One that no longer waits gives the turn back, for the next.
            match next.send(Turn(Some(turns.clone()))) {
                Ok(()) => return,
                Err(mut back) => back.0 = None,
            }
        }
    }
}

/// Does something, the beginning of it in a turn.
pub(super) async fn begin<F: Future>(turn: Turn, doing: F) -> F::Output {
    let (mut turn, mut doing) = (Some(turn), pin!(doing));
    std::future::poll_fn(move |context| {
        let polled = doing.as_mut().poll(context);
        drop(turn.take());
        polled
    })
    .await
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::future::BoxFuture;

    use super::*;

    fn wait(turns: &Arc<Turns>, flow: u64) -> BoxFuture<'static, Turn> {
        let turns = turns.clone();
        let mut waiting = async move { turns.take(flow).await }.boxed();
        assert!((&mut waiting).now_or_never().is_none(), "it waits, or lets others arrive");
        waiting
    }

    #[tokio::test]
    async fn flows_take_turns_however_many_requests_one_has() {
        let turns = Turns::new(1);
        let held = wait(&turns, 1).await;
        let mut flood: Vec<_> = (0..3).map(|_| wait(&turns, 1)).collect();
        let mut quiet = wait(&turns, 2);
        let given_up = flood.remove(1);
        drop(given_up);

        drop(held);
        let first = (&mut flood[0]).now_or_never().expect("it came first");
        assert!((&mut quiet).now_or_never().is_none());
        drop(first);
        let second = (&mut quiet).now_or_never().expect("the other flow is next");
        assert!((&mut flood[1]).now_or_never().is_none());
        drop(second);
        drop((&mut flood[1]).now_or_never().expect("the one that gave up is passed over"));
        let state = turns.0.lock().expect("not poisoned");
        assert_eq!((state.free, state.order.len(), state.waiting.len()), (1, 0, 0));
    }

    #[tokio::test]
    async fn what_waits_for_something_else_lets_others_begin() {
        let turns = Turns::new(1);
        let (sender, receiver) = oneshot::channel();
        let turn = wait(&turns, 1).await;
        let mut first = begin(turn, receiver).boxed();
        assert!((&mut first).now_or_never().is_none());
        let second = begin(wait(&turns, 1).await, std::future::ready(2));
        assert_eq!(second.await, 2);
        sender.send(1).expect("it waits");
        assert_eq!(first.await, Ok(1));
    }
}
