//! (being written) openapi.
