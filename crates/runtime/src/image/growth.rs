//! Reading a blob while it comes: what is there already, then each piece as it is written.
//!
//! The end is told only when the blob is whole and is what it should be, so that whoever makes something of it can
//! trust what came when the end does.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// More may come.
    Open,
    /// It is whole, and is what it should be.
    Whole,
    /// It is another one, or does not come.
    Abandoned,
}

#[derive(Debug)]
struct State {
    size: u64,
    end: End,
}

#[derive(Debug)]
struct Shared {
    file: File,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The side that writes a blob. One that is dropped before the blob is whole has abandoned it.
#[derive(Debug)]
pub(super) struct Growth(Arc<Shared>);

impl Growth {
    /// Of a file in which `size` bytes are.
    pub(super) fn new(file: File, size: u64) -> Self {
        let state = Mutex::new(State { size, end: End::Open });
        Self(Arc::new(Shared { file, state, changed: Condvar::new() }))
    }

    /// Tells that there are `size` bytes now.
    pub(super) fn reached(&self, size: u64) {
        self.0.state().size = size;
        self.0.changed.notify_all();
    }

    /// Tells that it is whole.
    pub(super) fn finish(self) {
        self.0.state().end = End::Whole;
        // Those who follow wake up when this value goes.
    }

    /// A reader from the beginning on.
    pub(super) fn follow(&self) -> Follower {
        Follower { shared: self.0.clone(), at: 0 }
    }
}

impl Drop for Growth {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if state.end == End::Open {
            state.end = End::Abandoned;
        }
        drop(state);
        self.0.changed.notify_all();
    }
}

/// Reads a blob from its beginning, and waits for what has not come. Blocks.
#[derive(Clone, Debug)]
pub(crate) struct Follower {
    shared: Arc<Shared>,
    at: u64,
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let is_waiting = |state: &mut State| state.end == End::Open && state.size <= self.at;
        let waited = self.shared.changed.wait_while(self.shared.state(), is_waiting);
        let State { size, end } = *waited.unwrap_or_else(PoisonError::into_inner);
        if end == End::Abandoned {
            return Err(io::Error::other("the rest of the blob does not come"));
        }
        let left = usize::try_from(size - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.shared.file.read_at(&mut buffer[..left], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn begun(content: &[u8]) -> (File, Growth) {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(content).expect("written");
        let growth = Growth::new(file.try_clone().expect("the same"), content.len() as u64);
        (file, growth)
    }

    #[test]
    fn what_comes_is_read_and_the_end_is_that_of_the_whole() {
        let (mut file, growth) = begun(b"one ");
        let mut follower = growth.follow();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            follower.read_to_string(&mut text).map(|_| text)
        });
        for (piece, size) in [("two ", 8), ("three", 13)] {
            file.write_all(piece.as_bytes()).expect("written");
            growth.reached(size);
        }
        growth.finish();
        assert_eq!(reader.join().expect("it ends").expect("read"), "one two three");
    }

    #[test]
    fn what_is_abandoned_has_no_end() {
        let (_file, growth) = begun(b"one");
        let mut follower = growth.follow();
        let mut first = [0; 3];
        follower.read_exact(&mut first).expect("it is there");
        drop(growth);
        assert!(follower.read(&mut first).is_err());
        assert!(follower.clone().read_to_end(&mut Vec::new()).is_err());
    }
}
