//! Expressions and what has to come of them.

mod admission;
mod common;
mod compile_errors;
mod costs;
mod documents;
mod fuzz;
mod language;
mod libraries;
mod outside;
mod rules;
