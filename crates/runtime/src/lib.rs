//! Node component: the built-in container runtime, served as CRI.
