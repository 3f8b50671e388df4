//! The grammar, by recursive descent. How deep an expression may nest is bounded, so that no text can exhaust the
//! stack, neither here nor in what walks the tree later.

use api::validation::names::CEL_WORDS;

use super::ast::{Ast, Element, Entry, Expr, ExprKind, Literal, MessageField};
use super::issue::Issue;
use super::lexer::{self, Kind, Token};
use super::{literal, macros};

/// How many levels of nodes a tree may have.
const MAX_DEPTH: u16 = 250;
/// How many brackets may be open at once. cel-go allows more, and no expression that a person can read needs them.
const MAX_OPEN: u16 = 100;
/// The longest expression, in code points.
const MAX_LENGTH: usize = 100_000;

/// What may begin an operand, as the messages list it.
const OPERAND: &str = "'-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
/// What may follow an operand, as the messages list it.
const FOLLOW: &str = "'==', '!=', 'in', '<', '<=', '>=', '>', '&&', '||', '[', '.', '-'";

/// How close `&&` binds; `||` binds less.
const AND: usize = 1;

/// The operators between two operands: how close they bind, and their functions.
const OPERATORS: [(&str, usize, &str); 14] = [
    ("||", 0, "_||_"),
    ("&&", AND, "_&&_"),
    ("==", 2, "_==_"),
    ("!=", 2, "_!=_"),
    ("<=", 2, "_<=_"),
    (">=", 2, "_>=_"),
    ("<", 2, "_<_"),
    (">", 2, "_>_"),
    ("in", 2, "@in"),
    ("+", 3, "_+_"),
    ("-", 3, "_-_"),
    ("*", 4, "_*_"),
    ("/", 4, "_/_"),
    ("%", 4, "_%_"),
];

/// Parses an expression.
pub(crate) fn parse(source: &str) -> Result<Ast, Issue> {
    let length = source.chars().count();
    if length > MAX_LENGTH {
        let message = format!("expression code point size exceeds limit: size: {length}, limit {MAX_LENGTH}");
        return Err(Issue::new(0, message));
    }
    let mut parser = Parser { tokens: lexer::tokens(source)?, at: 0, open: 0, nodes: Nodes::default() };
    let root = parser.expression()?;
    parser.end()?;
    Ok(Ast { root, positions: parser.nodes.positions })
}

/// Makes nodes: gives out ids, remembers places, and refuses trees that are too deep.
#[derive(Default)]
pub(super) struct Nodes {
    positions: Vec<u32>,
}

impl Nodes {
    /// Makes a node that belongs to the place `position`.
    pub(super) fn make(&mut self, position: u32, kind: ExprKind) -> Result<Expr, Issue> {
        let id = self.positions.len() as u32;
        self.positions.push(position);
        let mut expr = Expr { id, depth: 1, kind };
        expr.depth = 1 + expr.children().iter().map(|child| child.depth).max().unwrap_or(0);
        if expr.depth > MAX_DEPTH {
            return Err(too_deep(position, MAX_DEPTH));
        }
        Ok(expr)
    }

    /// Where the node begins.
    pub(super) fn position(&self, expr: &Expr) -> u32 {
        self.positions[expr.id as usize]
    }

    pub(super) fn ident(&mut self, position: u32, name: &str) -> Result<Expr, Issue> {
        self.make(position, ExprKind::Ident(name.to_owned()))
    }

    pub(super) fn literal(&mut self, position: u32, value: Literal) -> Result<Expr, Issue> {
        self.make(position, ExprKind::Literal(value))
    }

    pub(super) fn call(&mut self, position: u32, function: &str, args: Vec<Expr>) -> Result<Expr, Issue> {
        self.make(position, ExprKind::Call { target: None, function: function.to_owned(), args })
    }
}

fn too_deep(position: u32, limit: u16) -> Issue {
    Issue::new(position, format!("expression recursion limit exceeded: {limit}"))
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    open: u16,
    nodes: Nodes,
}

impl Parser {
    fn token(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn is(&self, punct: &str) -> bool {
        self.token().kind == Kind::Punct(punct_name(punct))
    }

    /// Steps over a token if it is the given one, and says where it was.
    fn accept(&mut self, punct: &str) -> Option<u32> {
        let start = self.token().start;
        self.is(punct).then(|| {
            self.at += 1;
            start
        })
    }

    fn expect(&mut self, punct: &str) -> Result<u32, Issue> {
        let token = self.token();
        let issue = Issue::new(token.start, format!("Syntax error: missing '{punct}' at '{}'", token.text));
        self.accept(punct).ok_or(issue)
    }

    fn end(&self) -> Result<(), Issue> {
        let token = self.token();
        if token.kind == Kind::Eof {
            return Ok(());
        }
        let alone = self.tokens.get(self.at + 1).is_some_and(|next| next.kind == Kind::Eof);
        let message = if alone {
            format!("Syntax error: extraneous input '{}' expecting <EOF>", token.text)
        } else {
            format!(
                "Syntax error: mismatched input '{}' expecting {{<EOF>, {FOLLOW}, '?', '+', '*', '/', '%'}}",
                token.text
            )
        };
        Err(Issue::new(token.start, message))
    }

    /// An expression inside brackets or at the top.
    fn expression(&mut self) -> Result<Expr, Issue> {
        self.open += 1;
        if self.open > MAX_OPEN {
            return Err(too_deep(self.token().start, MAX_OPEN));
        }
        let condition = self.operators(0)?;
        let result = match self.accept("?") {
            None => condition,
            Some(position) => self.choice(position, condition)?,
        };
        self.open -= 1;
        Ok(result)
    }

    /// The rest of `condition ? then : otherwise`.
    fn choice(&mut self, position: u32, condition: Expr) -> Result<Expr, Issue> {
        let then = self.operators(0)?;
        if self.accept(":").is_none() {
            let token = self.token();
            let message = format!(
                "Syntax error: mismatched input '{}' expecting {{{FOLLOW}, ':', '+', '*', '/', '%'}}",
                token.text
            );
            return Err(Issue::new(token.start, message));
        }
        let otherwise = self.expression()?;
        self.nodes.call(position, "_?_:_", vec![condition, then, otherwise])
    }

    /// Operands joined by operators that bind as `level` or closer, grouped from the left.
    fn operators(&mut self, level: usize) -> Result<Expr, Issue> {
        let mut left = self.unary()?;
        while let Some((found, function)) = self.operator().filter(|(found, _)| *found >= level) {
            let position = self.token().start;
            self.at += 1;
            let right = self.operators(found + 1)?;
            left = if found <= AND {
                self.chain(found, function, [left, right], position)?
            } else {
                self.nodes.call(position, function, vec![left, right])?
            };
        }
        Ok(left)
    }

    /// The operator that comes next: how close it binds, and its function.
    fn operator(&self) -> Option<(usize, &'static str)> {
        let token = self.token();
        let text = match token.kind {
            Kind::Punct(punct) => punct,
            Kind::Ident if token.text == "in" => "in",
            _ => return None,
        };
        OPERATORS.iter().find(|(punct, ..)| *punct == text).map(|(_, level, function)| (*level, *function))
    }

    /// The rest of a chain of one logical operator. The tree is balanced, so that a long chain is not a deep tree.
    fn chain(&mut self, level: usize, function: &str, first: [Expr; 2], position: u32) -> Result<Expr, Issue> {
        let mut terms = Vec::from(first);
        let mut positions = vec![position];
        while self.operator().is_some_and(|(found, _)| found == level) {
            positions.push(self.token().start);
            self.at += 1;
            terms.push(self.operators(level + 1)?);
        }
        self.balance(function, &positions, &mut terms.into_iter())
    }

    fn balance(
        &mut self,
        function: &str,
        positions: &[u32],
        terms: &mut std::vec::IntoIter<Expr>,
    ) -> Result<Expr, Issue> {
        if positions.is_empty() {
            return Ok(terms.next().expect("there is one operand more than there are operators"));
        }
        let middle = positions.len() / 2;
        let left = self.balance(function, &positions[..middle], terms)?;
        let right = self.balance(function, &positions[middle + 1..], terms)?;
        self.nodes.call(positions[middle], function, vec![left, right])
    }

    fn unary(&mut self) -> Result<Expr, Issue> {
        for (punct, function) in [("!", "!_"), ("-", "-_")] {
            let position = self.token().start;
            let mut count = 0_usize;
            while self.is(punct) && !(punct == "-" && self.negative_number()) {
                self.at += 1;
                count += 1;
            }
            if count > 0 {
                let operand = self.member()?;
                // An even number of them means nothing.
                return if count.is_multiple_of(2) {
                    Ok(operand)
                } else {
                    self.nodes.call(position, function, vec![operand])
                };
            }
        }
        self.member()
    }

    /// Whether a minus and a number follow, which together are one literal.
    fn negative_number(&self) -> bool {
        let next = self.tokens.get(self.at + 1).map(|token| token.kind);
        self.is("-") && matches!(next, Some(Kind::Int | Kind::Float))
    }

    /// An operand and the fields, calls and indices that follow it.
    fn member(&mut self) -> Result<Expr, Issue> {
        let mut operand = self.operand()?;
        loop {
            if let Some(position) = self.accept(".") {
                operand = self.selection(operand, position)?;
            } else if let Some(position) = self.accept("[") {
                let function = if self.accept("?").is_some() { "_[?_]" } else { "_[_]" };
                let index = self.expression()?;
                self.expect("]")?;
                operand = self.nodes.call(position, function, vec![operand, index])?;
            } else if self.is("{")
                && let Some(name) = operand.qualified_name()
            {
                let open = self.expect("{")?;
                operand = self.message(open, name)?;
            } else {
                return Ok(operand);
            }
        }
    }

    fn selection(&mut self, operand: Expr, dot: u32) -> Result<Expr, Issue> {
        let optional = self.accept("?").is_some();
        let token = self.token().clone();
        if token.kind != Kind::Ident || matches!(token.text.as_str(), "in" | "true" | "false" | "null") {
            let shown = if token.kind == Kind::Eof { "." } else { &format!(".{}", token.text) };
            let message = format!("Syntax error: no viable alternative at input '{shown}'");
            return Err(Issue::new(token.start, message));
        }
        self.at += 1;
        if optional {
            let field = self.nodes.literal(token.start, Literal::String(token.text.as_str().into()))?;
            return self.nodes.call(dot, "_?._", vec![operand, field]);
        }
        match self.accept("(") {
            Some(open) => {
                let args = self.arguments(")")?;
                macros::call(&mut self.nodes, open, Some(operand), &token.text, args)
            }
            None => {
                let kind = ExprKind::Select { operand: Box::new(operand), field: token.text, test: false };
                self.nodes.make(dot, kind)
            }
        }
    }

    /// The arguments of a call and the bracket behind them.
    fn arguments(&mut self, close: &str) -> Result<Vec<Expr>, Issue> {
        let mut args = Vec::new();
        if self.accept(close).is_some() {
            return Ok(args);
        }
        loop {
            args.push(self.expression()?);
            if self.accept(",").is_none() {
                self.expect(close)?;
                return Ok(args);
            }
        }
    }

    fn operand(&mut self) -> Result<Expr, Issue> {
        let token = self.token().clone();
        match token.kind {
            Kind::Int | Kind::Uint | Kind::Float | Kind::String | Kind::Bytes => {
                self.number_or_text(token.start, false)
            }
            Kind::Punct("-") if self.negative_number() => {
                self.at += 1;
                self.number_or_text(token.start, true)
            }
            Kind::Punct("(") => {
                self.at += 1;
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            Kind::Punct("[") => self.list(),
            Kind::Punct("{") => self.map(),
            Kind::Punct(".") => {
                self.at += 1;
                self.name(".")
            }
            Kind::Ident if token.text == "in" => Err(self.no_operand()),
            Kind::Ident => self.name(""),
            _ => Err(self.no_operand()),
        }
    }

    fn no_operand(&self) -> Issue {
        let token = self.token();
        let starts_operand = |token: &Token| {
            !matches!(token.kind, Kind::Eof | Kind::Punct(_)) || matches!(token.kind, Kind::Punct("(" | "[" | "{"))
        };
        let extraneous = token.kind != Kind::Eof && self.tokens.get(self.at + 1).is_some_and(starts_operand);
        let word = if extraneous { "extraneous" } else { "mismatched" };
        let message = format!("Syntax error: {word} input '{}' expecting {{'[', '{{', '(', '.', {OPERAND}", token.text);
        Issue::new(token.start, message)
    }

    fn number_or_text(&mut self, position: u32, negative: bool) -> Result<Expr, Issue> {
        let value = literal::value(self.token(), negative).map_err(|message| Issue::new(position, message))?;
        self.at += 1;
        self.nodes.literal(position, value)
    }

    /// A constant word, a variable, a call of a global function, or a message.
    fn name(&mut self, dot: &str) -> Result<Expr, Issue> {
        let token = self.token().clone();
        let start = token.start - dot.len() as u32;
        if token.kind != Kind::Ident {
            let shown = if token.kind == Kind::Eof { "." } else { &format!(".{}", token.text) };
            return Err(Issue::new(token.start, format!("Syntax error: no viable alternative at input '{shown}'")));
        }
        self.at += 1;
        if dot.is_empty() {
            let constant = match token.text.as_str() {
                "true" => Some(Literal::Bool(true)),
                "false" => Some(Literal::Bool(false)),
                "null" => Some(Literal::Null),
                _ => None,
            };
            if let Some(constant) = constant {
                return self.nodes.literal(start, constant);
            }
        }
        if CEL_WORDS.contains(&token.text.as_str()) {
            return Err(Issue::new(start, format!("reserved identifier: {}", token.text)));
        }
        if let Some(open) = self.accept("(") {
            let args = self.arguments(")")?;
            return macros::call(&mut self.nodes, open, None, &token.text, args);
        }
        self.nodes.ident(start, &token.text)
    }

    /// The fields of a message and the bracket behind them.
    fn message(&mut self, open: u32, name: String) -> Result<Expr, Issue> {
        let mut fields = Vec::new();
        while self.accept("}").is_none() {
            let optional = self.accept("?").is_some();
            let token = self.token().clone();
            if token.kind != Kind::Ident {
                return Err(self.no_field());
            }
            self.at += 1;
            self.expect(":")?;
            fields.push(MessageField { name: token.text, value: self.expression()?, optional });
            if self.accept(",").is_none() {
                if self.accept("}").is_none() {
                    return Err(self.unclosed("}"));
                }
                break;
            }
        }
        self.nodes.make(open, ExprKind::Message { name, fields })
    }

    fn no_field(&self) -> Issue {
        let token = self.token();
        let message = format!(
            "Syntax error: mismatched input '{}' expecting {{'}}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}}",
            token.text
        );
        Issue::new(token.start, message)
    }

    fn list(&mut self) -> Result<Expr, Issue> {
        let open = self.expect("[")?;
        let mut elements = Vec::new();
        while self.accept("]").is_none() {
            let optional = self.accept("?").is_some();
            elements.push(Element { value: self.expression()?, optional });
            if self.accept(",").is_none() {
                if self.accept("]").is_none() {
                    return Err(self.unclosed("]"));
                }
                break;
            }
        }
        self.nodes.make(open, ExprKind::List(elements))
    }

    fn map(&mut self) -> Result<Expr, Issue> {
        let open = self.expect("{")?;
        let mut entries = Vec::new();
        while self.accept("}").is_none() {
            let optional = self.accept("?").is_some();
            let key = self.expression()?;
            self.expect(":")?;
            entries.push(Entry { key, value: self.expression()?, optional });
            if self.accept(",").is_none() {
                if self.accept("}").is_none() {
                    return Err(self.unclosed("}"));
                }
                break;
            }
        }
        self.nodes.make(open, ExprKind::Map(entries))
    }

    fn unclosed(&self, close: &str) -> Issue {
        let token = self.token();
        let word = if token.kind == Kind::Eof { "mismatched" } else { "extraneous" };
        Issue::new(token.start, format!("Syntax error: {word} input '{}' expecting {{'{close}', ','}}", token.text))
    }
}

/// The text with the lifetime that tokens carry.
fn punct_name(punct: &str) -> &'static str {
    const ALL: [&str; 16] = ["&&", "||", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":", "+", "*"];
    const MORE: [&str; 8] = ["/", "%", "==", "!=", "<=", ">=", "<", ">"];
    ALL.iter().chain(&MORE).copied().find(|known| *known == punct).expect("the grammar asks for known operators alone")
}
