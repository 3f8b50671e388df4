//! Reading ahead in a thread: an archive is decompressed while what came before is written.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Pieces that wait for who reads them.
const PIECES: usize = 8;

/// The size of a piece.
const PIECE: usize = 256 << 10;

/// What a thread has read ahead. The thread ends with its source, or soon after this value.
pub(super) struct Ahead {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
}

impl Ahead {
    /// Begins to read.
    pub(super) fn new(source: impl Read + Send + 'static) -> io::Result<Self> {
        let (sender, pieces) = sync_channel(PIECES);
        thread::Builder::new().name("unpack".to_owned()).spawn(move || read_all(source, &sender))?;
        Ok(Self { pieces, piece: Vec::new(), at: 0 })
    }
}

fn read_all(mut source: impl Read, pieces: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let read = source.by_ref().take(PIECE as u64).read_to_end(&mut piece);
        let last = !matches!(read, Ok(PIECE));
        // What came before an error is given first.
        let sent = piece.is_empty() || pieces.send(Ok(piece)).is_ok();
        if let (true, Err(err)) = (sent, read) {
            // Whoever does not read any more does not want to know.
            let _ = pieces.send(Err(err));
        }
        if last || !sent {
            return;
        }
    }
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.pieces.recv() {
                Ok(piece) => (self.piece, self.at) = (piece?, 0),
                // The thread is done.
                Err(_) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len() - self.at);
        buffer[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_comes_in_order_and_an_error_after_it() {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
        let mut read = Vec::new();
        Ahead::new(io::Cursor::new(bytes.clone())).expect("begun").read_to_end(&mut read).expect("read");
        assert!(read == bytes);
        let cut = zstd::encode_all(&bytes[..], 1).expect("packed");
        let cut = io::Cursor::new(cut[..cut.len() - 1].to_vec());
        let mut ahead = Ahead::new(zstd::Decoder::new(cut).expect("begun")).expect("begun");
        assert!(ahead.read_to_end(&mut Vec::new()).is_err());
        // One that nobody reads to the end does not hang.
        drop(Ahead::new(io::repeat(1)).expect("begun"));
    }
}
