//! Component: service proxy.
