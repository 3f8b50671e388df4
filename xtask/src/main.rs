//! Tasks for the people who build Skiff: code generation and tidy checks.

fn main() {}
