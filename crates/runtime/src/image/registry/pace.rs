//! How fast an answer has to come. A registry that sends a byte now and then is never silent, and never done.

use std::time::Duration;

use base::Env;
use bytes::Bytes;
use reqwest::Response;

use super::transport::{RequestError, failed};

/// The least that has to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// So many bytes.
    pub bytes: u64,
    /// In so long a time of waiting for them.
    pub within: Duration,
}

impl Default for Pace {
    /// A kilobyte a second: a line that is slower brings no image within a day.
    fn default() -> Self {
        Self { bytes: 30 << 10, within: Duration::from_secs(30) }
    }
}

/// An answer on its way.
#[derive(Debug)]
pub(crate) struct Paced {
    answer: Response,
    pace: Pace,
    env: Env,
    /// What has come since it was last looked at, and how long that was waited for.
    came: u64,
    waited: Duration,
}

impl Paced {
    pub(super) fn new(answer: Response, pace: Pace, env: Env) -> Self {
        Self { answer, pace, env, came: 0, waited: Duration::ZERO }
    }

    /// The next piece; `None` at the end. Only the time counts that is spent here: whoever is slow in taking the pieces
    /// does not make the registry slow.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, RequestError> {
        let began = self.env.instant();
        let chunk = self.answer.chunk().await.map_err(|err| failed(&err))?;
        self.waited += self.env.instant().saturating_duration_since(began);
        self.came += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        if self.waited >= self.pace.within {
            let (came, waited) = (std::mem::take(&mut self.came), std::mem::take(&mut self.waited));
            if chunk.is_some() && came < self.pace.bytes {
                return Err(RequestError::Slow { url: self.answer.url().to_string(), came, waited });
            }
        }
        Ok(chunk)
    }
}
