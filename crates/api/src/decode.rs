//! (being written) decode.
