//! (being written) quantity.
