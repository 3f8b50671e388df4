//! From text to a tree: tokens, literals, the grammar, macros, and how mistakes are shown.

pub(crate) mod ast;
pub(crate) mod issue;
mod lexer;
mod literal;
mod macros;
mod parser;

pub(crate) use parser::parse;
