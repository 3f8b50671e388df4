//! Measures the embedded engine.
fn main() {}
