//! Validation of API objects on create, update and status update.

pub mod names;
