//! The bodies of answers, of which the server holds nothing any more when their clients take nothing for too long: a stream
//! of HTTP/2 whose window stays closed is asked for nothing, and would hold what it has for as long as its connection lives.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::BoxError;
use crate::activity::Ongoing;

/// The bodies of a connection's answers that may be cut.
pub(crate) struct Answers<B> {
    held: Mutex<Vec<Weak<Mutex<Held<B>>>>>,
}

/// So many are kept at least before those that have ended are forgotten.
const FEW: usize = 64;

/// A body that may be cut, and the request that ends with it.
pub(crate) struct Held<B> {
    /// Nothing after it was cut.
    body: Option<(B, Ongoing)>,
    /// Since when it waits to be asked for more; nothing while it is what is waited for.
    unread: Option<Instant>,
}

impl<B> Default for Answers<B> {
    fn default() -> Self {
        Self { held: Mutex::default() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B> Answers<B> {
    /// An answer that is cut when its client takes nothing of it for too long.
    pub(crate) fn hold(&self, body: B, ongoing: Ongoing) -> Answered<B> {
        let held = Arc::new(Mutex::new(Held { body: Some((body, ongoing)), unread: Some(Instant::now()) }));
        let mut all = lock(&self.held);
        if all.len() == all.capacity() {
            all.retain(|held| held.strong_count() > 0);
            let room = all.len().max(FEW);
            all.reserve(room);
        }
        all.push(Arc::downgrade(&held));
        Answered::Held(held)
    }

    /// Cuts answers of which nothing was taken for as long as `limit`, and at most for half as long again.
    pub(crate) async fn cut_unread(&self, limit: Duration) -> Infallible {
        loop {
            tokio::time::sleep(limit / 2).await;
            let all: Vec<_> = lock(&self.held).iter().filter_map(Weak::upgrade).collect();
            for held in all {
                let mut held = lock(&held);
                if held.unread.is_some_and(|since| since.elapsed() >= limit) {
                    held.body = None;
                }
            }
        }
    }
}

/// The body of an answer, with whose end the request ends.
pub(crate) enum Answered<B> {
    /// One that may be cut.
    Held(Arc<Mutex<Held<B>>>),
    /// One that waits for as long as its client likes.
    Free(B, #[expect(dead_code, reason = "it ends when it is dropped")] Ongoing),
}

impl<B> Body for Answered<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let held = match &mut *self {
            Self::Held(held) => held,
            Self::Free(body, _) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
            }
        };
        let mut held = lock(held);
        let Some((body, _)) = &mut held.body else {
            return Poll::Ready(Some(Err("the client took nothing for too long".into())));
        };
        let polled = Pin::new(body).poll_frame(cx);
        held.unread = polled.is_ready().then(Instant::now);
        polled.map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Held(held) => lock(held).body.as_ref().is_some_and(|(body, _)| body.is_end_stream()),
            Self::Free(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Held(held) => lock(held).body.as_ref().map(|(body, _)| body.size_hint()).unwrap_or_default(),
            Self::Free(body, _) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::channel::mpsc::{self, Receiver, Sender};
    use http_body_util::{BodyExt, StreamBody};

    use super::*;
    use crate::activity::Activity;

    const LIMIT: Duration = Duration::from_secs(60);

    type Piece = Result<Frame<Bytes>, BoxError>;
    type Stream = StreamBody<Receiver<Piece>>;

    fn body() -> (Sender<Piece>, Stream) {
        let (sender, receiver) = mpsc::channel(8);
        (sender, StreamBody::new(receiver))
    }

    fn send(sender: &mut Sender<Piece>) {
        sender.try_send(Ok(Frame::data(Bytes::from_static(b"piece")))).expect("it is open and there is room");
    }

    /// Lets time pass while unread answers are cut.
    async fn pass(answers: &Answers<Stream>, time: Duration) {
        let passed = tokio::time::timeout(time, answers.cut_unread(LIMIT)).await;
        assert!(passed.is_err(), "it goes on for as long as the connection");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_takes_is_cut() {
        let (answers, activity) = (Answers::default(), Arc::new(Activity::default()));
        let (mut sender, body) = body();
        let mut answer = answers.hold(body, activity.begin());
        send(&mut sender);
        pass(&answers, LIMIT / 2).await;
        assert!(answer.frame().await.expect("a frame").is_ok());
        pass(&answers, LIMIT / 2).await;
        send(&mut sender);
        pass(&answers, LIMIT).await;
        assert!(sender.is_closed(), "nothing is held");
        assert!(answer.frame().await.expect("a frame").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_which_there_is_nothing_yet_goes_on() {
        let (answers, activity) = (Answers::default(), Arc::new(Activity::default()));
        let (mut sender, body) = body();
        let mut answer = answers.hold(body, activity.begin());
        assert!(answer.frame().now_or_never().is_none());
        pass(&answers, 10 * LIMIT).await;
        send(&mut sender);
        assert!(answer.frame().await.expect("a frame").is_ok());
    }

    #[test]
    fn those_that_have_ended_are_forgotten() {
        let (answers, activity) = (Answers::default(), Arc::new(Activity::default()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let _entered = runtime.enter();
        let kept: Vec<_> = (0..10).map(|_| answers.hold(body().1, activity.begin())).collect();
        for _ in 0..10_000 {
            drop(answers.hold(body().1, activity.begin()));
        }
        let held = lock(&answers.held);
        assert!(held.capacity() <= 4 * FEW, "{}", held.capacity());
        assert_eq!(held.iter().filter(|held| held.strong_count() > 0).count(), kept.len());
    }
}
