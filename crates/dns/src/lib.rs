//! Component: cluster DNS.
