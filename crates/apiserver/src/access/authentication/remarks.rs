//! What the use of credentials gives occasion to say: notes for the audit log, and warnings for whoever uses them.

/// What is to be said of a request's credentials.
#[derive(Debug, Default)]
pub(crate) struct Remarks {
    /// For the audit log: keys and values.
    pub(crate) annotations: Vec<(&'static str, String)>,
    /// For the client.
    pub(crate) warnings: Vec<&'static str>,
}

impl Remarks {
    /// Notes something for the audit log.
    pub(super) fn note(&mut self, key: &'static str, value: impl Into<String>) {
        self.annotations.push((key, value.into()));
    }

    /// Warns the client.
    pub(super) fn warn(&mut self, warning: &'static str) {
        self.warnings.push(warning);
    }
}
