//! Between Docker's single stream and the streams of a process.

use std::pin::Pin;

use bollard::container::LogOutput;
use bollard::errors::Error;
use futures::{Stream, StreamExt};
use streaming::{Input, Output, Wanted};
use tokio::io::{AsyncWrite, AsyncWriteExt, DuplexStream};

/// How much may wait for a slow reader.
const BUFFER: usize = 64 * 1024;

/// What Docker sends of a process.
pub(super) type FromDocker = Pin<Box<dyn Stream<Item = Result<LogOutput, Error>> + Send>>;

/// What Docker takes for a process.
pub(super) type ToDocker = Pin<Box<dyn AsyncWrite + Send>>;

/// The far ends of a process's streams.
pub(super) struct Pump {
    stdin: Option<DuplexStream>,
    stdout: Option<DuplexStream>,
    stderr: Option<DuplexStream>,
}

/// The near ends.
pub(super) struct Near {
    pub stdin: Option<Input>,
    pub stdout: Option<Output>,
    pub stderr: Option<Output>,
}

/// Both ends of the streams that are wanted.
pub(super) fn pump(wanted: Wanted) -> (Near, Pump) {
    let pair = |is_wanted: bool| {
        let pair = is_wanted.then(|| tokio::io::duplex(BUFFER));
        pair.map_or((None, None), |(near, far)| (Some(near), Some(far)))
    };
    let (stdin_near, stdin) = pair(wanted.stdin);
    let (stdout_near, stdout) = pair(wanted.stdout);
    let (stderr_near, stderr) = pair(wanted.stderr);
    let near = Near {
        stdin: stdin_near.map(|stream| Box::new(stream) as _),
        stdout: stdout_near.map(|stream| Box::new(stream) as _),
        stderr: stderr_near.map(|stream| Box::new(stream) as _),
    };
    (near, Pump { stdin, stdout, stderr })
}

impl Pump {
    /// Passes everything on until Docker says no more.
    pub(super) async fn run(self, from: FromDocker, to: ToDocker) {
        let input = async {
            // The connection stays whole in both directions until the process has said all.
            let _to = feed(self.stdin, to).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = spread(from, self.stdout, self.stderr) => {}
            () = input => {}
        }
    }
}

/// Passes on what the client writes, and that it writes no more.
async fn feed(stdin: Option<DuplexStream>, mut to: ToDocker) -> ToDocker {
    if let Some(mut stdin) = stdin {
        // A process that reads no more may still write.
        let _ = tokio::io::copy(&mut stdin, &mut to).await;
        let _ = to.shutdown().await;
    }
    to
}

async fn spread(mut from: FromDocker, mut stdout: Option<DuplexStream>, mut stderr: Option<DuplexStream>) {
    while let Some(Ok(message)) = from.next().await {
        let (target, message) = match message {
            LogOutput::StdErr { message } => (&mut stderr, message),
            LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message } => {
                (&mut stdout, message)
            }
        };
        if let Some(writer) = target
            && writer.write_all(&message).await.is_err()
        {
            // Nobody reads it any more; what comes is still taken, for the other stream's sake.
            *target = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn streams_are_told_apart_and_ends_are_passed_on() {
        let (near, pump) = pump(Wanted { stdin: true, stdout: true, stderr: false });
        let out = |text: &'static str| Ok(LogOutput::StdOut { message: text.into() });
        let err = Ok(LogOutput::StdErr { message: "lost".into() });
        let (docker, mut process) = tokio::io::duplex(64);
        let mut read = String::new();
        // The process answers when it has read all.
        let answers = futures::stream::once(async move {
            let mut said = String::new();
            process.read_to_string(&mut said).await.expect("the input ends");
            Ok(LogOutput::StdOut { message: said.into() })
        });
        let from = futures::stream::iter([out("a"), err, out("b")]).chain(answers);
        let (mut stdin, mut stdout) = (near.stdin.expect("wanted"), near.stdout.expect("wanted"));
        let client = async {
            stdin.write_all(b"hello").await.expect("taken");
            drop(stdin);
            stdout.read_to_string(&mut read).await.expect("the output ends");
        };
        tokio::join!(pump.run(Box::pin(from), Box::pin(docker)), client);
        assert_eq!(read, "abhello");
    }
}
