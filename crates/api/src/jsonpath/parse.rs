//! From text to steps.

use serde_json::Value;

use super::{Filter, Node, Operator, ParseError, Slice};

pub(super) fn nodes(text: &str) -> Result<Vec<Node>, ParseError> {
    let mut reader = Reader { rest: text, nodes: Vec::new() };
    while reader.step()? {}
    Ok(reader.nodes)
}

struct Reader<'a> {
    rest: &'a str,
    nodes: Vec<Node>,
}

fn is_terminator(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n' | '.' | ',' | '[' | ']' | '$' | '@' | '{' | '}')
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

impl<'a> Reader<'a> {
    /// Reads one step; answers whether there may be more. What follows a closing brace is another matter.
    fn step(&mut self) -> Result<bool, ParseError> {
        let Some(c) = self.rest.chars().next().filter(|c| *c != '}') else { return Ok(false) };
        if let Some(filter) = self.rest.strip_prefix("[?(") {
            self.filter(filter)?;
            return Ok(true);
        }
        if let Some(after) = self.rest.strip_prefix("..") {
            if self.nodes.last() == Some(&Node::Recursive) {
                return Err(ParseError::Recursive);
            }
            self.nodes.push(Node::Recursive);
            self.rest = after;
            if after.starts_with(is_word) {
                self.field();
            }
            return Ok(true);
        }
        match c {
            ' ' | '@' | '$' => self.rest = &self.rest[1..],
            '[' => self.brackets()?,
            '"' | '\'' => self.quoted(c)?,
            '.' => {
                self.rest = &self.rest[1..];
                self.field();
            }
            '+' | '-' | '0'..='9' => self.number()?,
            '\r' | '\n' => return Err(ParseError::Unterminated("action")),
            c if is_word(c) => self.word()?,
            c => return Err(ParseError::Character(c)),
        }
        Ok(true)
    }

    fn field(&mut self) {
        let mut name = String::new();
        let mut chars = self.rest.chars();
        loop {
            let before = chars.as_str();
            match chars.next() {
                Some('\\') => name.extend(chars.next()),
                Some(c) if !is_terminator(c) => name.push(c),
                _ => {
                    self.rest = before;
                    break;
                }
            }
        }
        self.nodes.push(if name == "*" { Node::Wildcard } else { Node::Field(name) });
    }

    fn word(&mut self) -> Result<(), ParseError> {
        let end = self.rest.find(is_terminator).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        match word {
            "true" | "false" => {
                self.nodes.push(Node::Literal(Value::Bool(word == "true")));
                Ok(())
            }
            other => Err(ParseError::Identifier(other.to_owned())),
        }
    }

    fn number(&mut self) -> Result<(), ParseError> {
        let sign = usize::from(self.rest.starts_with(['+', '-']));
        let digits = self.rest[sign..].find(|c: char| c != '.' && !c.is_ascii_digit());
        let end = digits.map_or(self.rest.len(), |digits| sign + digits);
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        let number = match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(number), _) => Value::from(number),
            (_, Ok(number)) => Value::from(number),
            _ => return Err(ParseError::Number(text.to_owned())),
        };
        self.nodes.push(Node::Literal(number));
        Ok(())
    }

    fn quoted(&mut self, quote: char) -> Result<(), ParseError> {
        let mut text = String::new();
        let mut chars = self.rest[1..].chars();
        loop {
            match chars.next() {
                None | Some('\n') => return Err(ParseError::Unterminated("quoted string")),
                Some('\\') => match chars.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some(c) => text.push(c),
                    None => return Err(ParseError::Unterminated("quoted string")),
                },
                Some(c) if c == quote => break,
                Some(c) => text.push(c),
            }
        }
        self.rest = chars.as_str();
        self.nodes.push(Node::Literal(Value::String(text)));
        Ok(())
    }

    fn brackets(&mut self) -> Result<(), ParseError> {
        let end = self.rest.find([']', '\n']).filter(|end| self.rest[*end..].starts_with(']'));
        let end = end.ok_or(ParseError::Unterminated("array"))?;
        let inner = &self.rest[1..end];
        self.rest = &self.rest[end + 1..];
        let parts: Vec<&str> = inner.split(',').collect();
        if parts.len() > 1 {
            let union = parts.iter().map(|part| nodes(&format!("[{}]", part.trim_matches(' '))));
            self.nodes.push(Node::Union(union.collect::<Result<_, _>>()?));
            return Ok(());
        }
        let key = inner.strip_prefix('\'').and_then(|key| key.strip_suffix('\'')).filter(|key| !key.contains('\''));
        match key {
            Some(key) => self.nodes.extend(nodes(&format!(".{key}"))?),
            None => self.nodes.push(Node::Slice(slice(inner)?)),
        }
        Ok(())
    }

    fn filter(&mut self, text: &'a str) -> Result<(), ParseError> {
        let end = end_of_filter(text).ok_or(ParseError::Unterminated("filter"))?;
        let (inner, rest) = text.split_at(end);
        let rest = rest.strip_prefix(")]").ok_or(ParseError::Unterminated("array"))?;
        let is_comparing = |c: char| matches!(c, '!' | '<' | '>' | '=');
        let operator = inner.find(is_comparing).filter(|at| *at > 0).map(|at| {
            let length = inner[at..].find(|c| !is_comparing(c)).unwrap_or(inner.len() - at);
            (&inner[..at], &inner[at..at + length], &inner[at + length..])
        });
        let filter = match operator {
            Some((left, operator, right)) if !right.is_empty() => {
                Filter { left: nodes(left)?, right: Some((self::operator(operator)?, nodes(right)?)) }
            }
            _ => Filter { left: nodes(inner)?, right: None },
        };
        self.nodes.push(Node::Filter(filter));
        self.rest = rest;
        Ok(())
    }
}

/// Where the bracket is that closes a filter; brackets in quotes do not.
fn end_of_filter(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match (c, quote) {
            ('\n', _) => return None,
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open && before != '\\' => quote = None,
            (')', None) => return Some(at),
            _ => {}
        }
        before = c;
    }
    None
}

fn operator(text: &str) -> Result<Operator, ParseError> {
    Ok(match text {
        "<" => Operator::Less,
        "<=" => Operator::LessOrEqual,
        "==" => Operator::Equal,
        "!=" => Operator::NotEqual,
        ">=" => Operator::GreaterOrEqual,
        ">" => Operator::Greater,
        other => return Err(ParseError::Operator(other.to_owned())),
    })
}

fn slice(text: &str) -> Result<Slice, ParseError> {
    if text == "*" {
        return Ok(Slice::default());
    }
    let refused = || ParseError::Index(text.to_owned());
    let number = |part: Option<&str>| match part {
        None | Some("") => Ok(None),
        Some(part) => part.parse::<i64>().map(Some).map_err(|_| refused()),
    };
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 3 || text.contains('+') {
        return Err(refused());
    }
    let slice = Slice {
        start: number(parts.first().copied())?,
        end: number(parts.get(1).copied())?,
        step: number(parts.get(2).copied())?,
        is_index: parts.len() == 1,
    };
    // Nothing at all is the first item.
    Ok(if slice.is_index { Slice { start: slice.start.or(Some(0)), ..slice } } else { slice })
}
