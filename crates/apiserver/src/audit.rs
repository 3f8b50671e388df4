//! The audit log: who did what, when, and what came of it.

mod annotations;

use base::Random;
use http::HeaderValue;

pub(crate) use annotations::Annotations;

/// A new name for a request.
pub(crate) fn new_id(random: &Random) -> HeaderValue {
    HeaderValue::try_from(random.uuid()).expect("a UUID is made of letters, digits and dashes")
}
