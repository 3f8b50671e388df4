//! How long the kernel takes for many services, and for one change among many.

fn main() {}
