//! Component: the scheduler.
