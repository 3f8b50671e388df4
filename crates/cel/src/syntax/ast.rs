//! The tree that an expression is parsed into. Macros are gone from it: they have become [`Fold`]s.

/// One node of the tree.
#[derive(Clone, Debug)]
pub(crate) struct Expr {
    /// Names the node in the tables of the parser (positions) and of the checker (types, overloads).
    pub id: u32,
    /// How many levels of nodes there are from here on down, this one included.
    pub depth: u16,
    /// What the node does.
    pub kind: ExprKind,
}

/// What a node does.
#[derive(Clone, Debug)]
pub(crate) enum ExprKind {
    /// A constant.
    Literal(Literal),
    /// A variable, or a part of a qualified name.
    Ident(String),
    /// `operand.field`, or `has(operand.field)` where `test` is set.
    Select { operand: Box<Expr>, field: String, test: bool },
    /// A function or an operator. Operators have no target.
    Call { target: Option<Box<Expr>>, function: String, args: Vec<Expr> },
    /// `[a, ?b]`.
    List(Vec<Element>),
    /// `{a: b, ?c: d}`.
    Map(Vec<Entry>),
    /// `Message{field: value, ?other: optional}`.
    Message { name: String, fields: Vec<MessageField> },
    /// What a macro stands for: a loop with an accumulator.
    Fold(Box<Fold>),
}

/// One element of a list.
#[derive(Clone, Debug)]
pub(crate) struct Element {
    /// The value, an optional one where `optional` is set.
    pub value: Expr,
    /// Whether the element is left out when the value is `optional.none()`.
    pub optional: bool,
}

/// One entry of a map.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The key.
    pub key: Expr,
    /// The value, an optional one where `optional` is set.
    pub value: Expr,
    /// Whether the entry is left out when the value is `optional.none()`.
    pub optional: bool,
}

/// One field of a message.
#[derive(Clone, Debug)]
pub(crate) struct MessageField {
    /// The name of the field.
    pub name: String,
    /// The value, an optional one where `optional` is set.
    pub value: Expr,
    /// Whether the field is left out when the value is `optional.none()`.
    pub optional: bool,
}

/// A loop over a list or the keys of a map.
#[derive(Clone, Debug)]
pub(crate) struct Fold {
    /// What the loop runs over.
    pub range: Expr,
    /// The element of a list or the key of a map; with `iter_var2` the index of a list.
    pub iter_var: String,
    /// The value that belongs to the index or key.
    pub iter_var2: Option<String>,
    /// The variable that each round sets.
    pub accu_var: String,
    /// The accumulator before the first round.
    pub accu_init: Expr,
    /// Whether there is another round.
    pub condition: Expr,
    /// The next accumulator.
    pub step: Expr,
    /// The value of the whole loop.
    pub result: Expr,
}

/// A constant in the text of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(std::sync::Arc<str>),
    Bytes(std::sync::Arc<[u8]>),
}

/// A parsed expression.
#[derive(Clone, Debug)]
pub(crate) struct Ast {
    /// The root of the tree.
    pub root: Expr,
    /// Where each node begins in the text, in code points; the index is the node's id.
    pub positions: Vec<u32>,
}

impl Ast {
    /// Where the node with this id begins in the text.
    pub(crate) fn position(&self, id: u32) -> u32 {
        self.positions.get(id as usize).copied().unwrap_or(0)
    }
}

impl Expr {
    /// The dotted name that the node spells, if it is one.
    pub(crate) fn qualified_name(&self) -> Option<String> {
        match &self.kind {
            ExprKind::Ident(name) => Some(name.clone()),
            ExprKind::Select { operand, field, test: false } => {
                operand.qualified_name().map(|prefix| format!("{prefix}.{field}"))
            }
            _ => None,
        }
    }

    /// The nodes directly below this one.
    pub(crate) fn children(&self) -> Vec<&Expr> {
        match &self.kind {
            ExprKind::Literal(_) | ExprKind::Ident(_) => Vec::new(),
            ExprKind::Select { operand, .. } => vec![operand],
            ExprKind::Call { target, args, .. } => target.as_deref().into_iter().chain(args).collect(),
            ExprKind::List(elements) => elements.iter().map(|element| &element.value).collect(),
            ExprKind::Map(entries) => entries.iter().flat_map(|entry| [&entry.key, &entry.value]).collect(),
            ExprKind::Message { fields, .. } => fields.iter().map(|field| &field.value).collect(),
            ExprKind::Fold(fold) => {
                vec![&fold.range, &fold.accu_init, &fold.condition, &fold.step, &fold.result]
            }
        }
    }
}
