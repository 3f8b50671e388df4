//! Validation against upstream's recorded answers.
