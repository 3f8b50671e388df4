//! Pure library: CEL as Kubernetes v1.35 has it.
//!
//! An expression is parsed (`syntax`), checked against the types of its variables (`check`), planned (`plan`) and
//! evaluated ([`Program::evaluate`]) within a budget. What an evaluation costs and what it can cost at most
//! (`estimate`) follow the same rules as upstream, because a CustomResourceDefinition is accepted or refused by them.
//! [`rules`] applies all this to `x-kubernetes-validations`.

pub mod access;
pub mod admission;
mod check;
mod cost;
pub mod device;
mod error;
mod estimate;
mod eval;
mod library;
mod openapi;
mod plan;
mod program;
pub mod rules;
mod schema;
mod syntax;
mod types;
mod value;
mod variables;

pub use error::{CompileError, EvalError};
pub use openapi::Schemas;
pub use program::{Bindings, Env, Evaluation, PER_CALL_LIMIT, Program};
pub use schema::{Decl, escape};
pub use types::Type;
pub use value::{Instant, Opaque, Value};
