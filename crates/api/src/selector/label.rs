//! Label selectors.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use serde_json::{Map, Value};

use super::SelectorError;
use super::lexer::{Token, tokens};
use crate::field::{FieldError, Path};
use crate::validation::names;

/// How a requirement compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// The label has one of the values; written `in`.
    In,
    /// The label is absent or has none of the values; written `notin`.
    NotIn,
    /// The label has the value; written `=` or `==`.
    Equals,
    /// The label is absent or has another value; written `!=`.
    NotEquals,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
    /// The label is a greater number; written `>`.
    GreaterThan,
    /// The label is a smaller number; written `<`.
    LessThan,
}

/// One requirement on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// The comparison.
    pub operator: Operator,
    /// The values to compare with.
    pub values: BTreeSet<String>,
}

impl Requirement {
    fn new(key: &str, operator: Operator, values: BTreeSet<String>) -> Result<Self, FieldError> {
        let path = Path::new("values");
        let shown = || Value::from(values.iter().cloned().collect::<Vec<_>>());
        let refused = |why: &str| Err(FieldError::invalid(&path, shown(), why));
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                return refused("for 'in', 'notin' operators, values set can't be empty");
            }
            Operator::Equals | Operator::NotEquals if values.len() != 1 => {
                return refused("exact-match compatibility requires one single value");
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                return refused("values set must be empty for exists and does not exist");
            }
            Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
                return refused("for 'Gt', 'Lt' operators, exactly one value is required");
            }
            Operator::GreaterThan | Operator::LessThan => {
                if let Some(value) = values.iter().find(|value| value.parse::<i64>().is_err()) {
                    let why = "for 'Gt', 'Lt' operators, the value must be an integer";
                    return Err(FieldError::invalid(&path.index(0), value.as_str(), why));
                }
            }
            _ => {}
        }
        for (index, value) in values.iter().enumerate() {
            if let Some(why) = joined(names::label_value(value)) {
                return Err(FieldError::invalid(&path.index(index).key(key), value.as_str(), why));
            }
        }
        Ok(Self { key: key.to_owned(), operator, values })
    }

    /// Whether the labels that `lookup` finds meet the requirement.
    fn matches<'a>(&self, lookup: &impl Fn(&str) -> Option<&'a str>) -> bool {
        let found = lookup(&self.key);
        let number = |text: &str| text.parse::<i64>().ok();
        let bound = || self.values.first().and_then(|value| number(value));
        match self.operator {
            Operator::In | Operator::Equals => found.is_some_and(|value| self.values.contains(value)),
            Operator::NotIn | Operator::NotEquals => found.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => found.is_some(),
            Operator::DoesNotExist => found.is_none(),
            Operator::GreaterThan => found.and_then(number).zip(bound()).is_some_and(|(value, bound)| value > bound),
            Operator::LessThan => found.and_then(number).zip(bound()).is_some_and(|(value, bound)| value < bound),
        }
    }
}

fn joined(messages: Vec<String>) -> Option<String> {
    (!messages.is_empty()).then(|| messages.join("; "))
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut values = self.values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        if values.is_empty() && matches!(self.operator, Operator::In | Operator::NotIn) {
            // Only the empty value: `()` would be no value at all.
            values.push(',');
        }
        let key = &self.key;
        match self.operator {
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

/// A conjunction of requirements; without any it matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

impl LabelSelector {
    /// Matches everything.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// Reads the text of a `labelSelector` parameter.
    ///
    /// # Errors
    /// If it does not follow the grammar or names impossible labels.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut requirements = Parser { tokens: tokens(text), position: 0 }.selector()?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements })
    }

    /// Takes over a selector of an API object.
    ///
    /// # Errors
    /// If it has an unknown operator or impossible labels.
    pub fn from_k8s(selector: &meta::LabelSelector) -> Result<Self, SelectorError> {
        let invalid = |error: FieldError| SelectorError::Syntax(error.to_string());
        let mut requirements = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            let values = BTreeSet::from([value.clone()]);
            requirements.push(Requirement::new(key, Operator::In, values).map_err(invalid)?);
        }
        for expression in selector.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(SelectorError::Operator(other.to_owned())),
            };
            let values = expression.values.iter().flatten().cloned().collect();
            requirements.push(Requirement::new(&expression.key, operator, values).map_err(invalid)?);
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements })
    }

    /// A selector that wants each of these labels with its value.
    #[must_use]
    pub fn from_labels(labels: &BTreeMap<String, String>) -> Self {
        let requirement = |(key, value): (&String, &String)| Requirement {
            key: key.clone(),
            operator: Operator::Equals,
            values: BTreeSet::from([value.clone()]),
        };
        Self { requirements: labels.iter().map(requirement).collect() }
    }

    /// Whether the labels meet every requirement.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_lookup(|key| labels.get(key).map(String::as_str))
    }

    /// The same for `metadata.labels` of a JSON document.
    #[must_use]
    pub fn matches_json(&self, labels: Option<&Map<String, Value>>) -> bool {
        self.matches_lookup(|key| labels?.get(key)?.as_str())
    }

    /// The same for labels that `lookup` finds by their keys.
    pub fn matches_lookup<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(&lookup))
    }

    /// Whether this matches everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The requirements, by label.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
}

impl FromIterator<Requirement> for LabelSelector {
    fn from_iter<I: IntoIterator<Item = Requirement>>(requirements: I) -> Self {
        let mut requirements: Vec<Requirement> = requirements.into_iter().collect();
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements }
    }
}

/// The canonical text.
impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{requirement}")?;
        }
        Ok(())
    }
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    position: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> &Token<'a> {
        // The list ends with `End`, and `next` never moves beyond it.
        &self.tokens[self.position]
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek().clone();
        if token != Token::End {
            self.position += 1;
        }
        token
    }

    fn at_identifier(&self) -> bool {
        matches!(self.peek(), Token::Identifier(_))
    }

    fn at(&self, symbol: &str) -> bool {
        matches!(self.peek(), Token::Symbol(found) if *found == symbol)
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, SelectorError> {
        let mut requirements = Vec::new();
        loop {
            if *self.peek() == Token::End {
                return Ok(requirements);
            }
            if !self.at_identifier() && !self.at("!") {
                let found = self.peek().text();
                let text = format!("found '{found}', expected: !, identifier, or 'end of string'");
                return Err(SelectorError::Syntax(text));
            }
            requirements.push(self.requirement().map_err(SelectorError::Requirement)?);
            match self.next() {
                Token::End => return Ok(requirements),
                Token::Symbol(",") => {
                    if !self.at_identifier() && !self.at("!") {
                        let text = format!("found '{}', expected: identifier after ','", self.peek().text());
                        return Err(SelectorError::Syntax(text));
                    }
                }
                other => {
                    let text = format!("found '{}', expected: ',' or 'end of string'", other.text());
                    return Err(SelectorError::Syntax(text));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let absent = self.at("!");
        if absent {
            self.next();
        }
        let key = match self.next() {
            Token::Identifier(key) => key,
            other => return Err(format!("found '{}', expected: identifier", other.text())),
        };
        if let Some(why) = joined(names::label_key(key)) {
            // Upstream validates the key without a path, which it prints like this.
            return Err(FieldError::invalid(&Path::new("<nil>"), key, why).to_string());
        }
        let new = |operator, values| Requirement::new(key, operator, values).map_err(|error| error.to_string());
        if absent {
            return new(Operator::DoesNotExist, BTreeSet::new());
        }
        if *self.peek() == Token::End || self.at(",") {
            return new(Operator::Exists, BTreeSet::new());
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.value_list()?,
            _ => BTreeSet::from([self.exact_value()?]),
        };
        new(operator, values)
    }

    fn operator(&mut self) -> Result<Operator, String> {
        let token = self.next();
        match token.text() {
            "in" => Ok(Operator::In),
            "notin" => Ok(Operator::NotIn),
            "=" | "==" => Ok(Operator::Equals),
            "!=" => Ok(Operator::NotEquals),
            ">" => Ok(Operator::GreaterThan),
            "<" => Ok(Operator::LessThan),
            other => Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")),
        }
    }

    fn exact_value(&mut self) -> Result<String, String> {
        if *self.peek() == Token::End || self.at(",") {
            return Ok(String::new());
        }
        match self.next() {
            Token::Identifier(value) => Ok(value.to_owned()),
            other => Err(format!("found '{}', expected: identifier", other.text())),
        }
    }

    fn value_list(&mut self) -> Result<BTreeSet<String>, String> {
        let open = self.next();
        if open != Token::Symbol("(") {
            return Err(format!("found '{}' expected: '('", open.text()));
        }
        let mut values = BTreeSet::new();
        if self.at(")") {
            self.next();
            // Nothing between the parentheses is the empty value too.
            return Ok(BTreeSet::from([String::new()]));
        }
        if !self.at_identifier() && !self.at(",") {
            return Err(format!("found '{}', expected: ',', ')' or identifier", self.peek().text()));
        }
        loop {
            // An empty place between commas is the empty value.
            if self.at_identifier() {
                values.insert(self.next().text().to_owned());
            } else {
                values.insert(String::new());
            }
            match self.next() {
                Token::Symbol(")") => return Ok(values),
                Token::Symbol(",") => {
                    if !self.at_identifier() && !self.at(",") && !self.at(")") {
                        return Err(format!("found '{}', expected: ',', or identifier", self.peek().text()));
                    }
                }
                other => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
            }
        }
    }
}
