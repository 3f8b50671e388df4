//! Errors as people read them.

use std::error::Error;

/// An error with its causes, each text once: many errors say what their cause says.
pub fn error_chain(err: &dyn Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        let more = err.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = err.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Failure(&'static str, Option<Box<Failure>>);

    impl fmt::Display for Failure {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Failure {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as &(dyn Error + 'static))
        }
    }

    #[test]
    fn causes_follow_and_none_is_told_twice() {
        let refused = Failure("connection refused", None);
        let told = Failure("cannot connect: connection refused", Some(Box::new(refused)));
        let call = Failure("transport error", Some(Box::new(told)));
        assert_eq!(error_chain(&call), "transport error: cannot connect: connection refused");
    }
}
