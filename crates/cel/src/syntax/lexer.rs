//! Text to tokens.

use super::issue::Issue;

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    /// What kind of token it is.
    pub kind: Kind,
    /// Where it begins, in code points.
    pub start: u32,
    /// Its text as written.
    pub text: String,
}

/// The kinds of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Punct(&'static str),
    Ident,
    Int,
    Uint,
    Float,
    String,
    Bytes,
    Eof,
}

/// The operators and brackets, longer ones first.
const PUNCT: [&str; 24] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":", "+", "*",
    "/", "%",
];

/// Splits `source` into tokens, of which the last is [`Kind::Eof`].
pub(super) fn tokens(source: &str) -> Result<Vec<Token>, Issue> {
    let mut lexer = Lexer { chars: source.chars().collect(), at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blanks();
        let start = lexer.at;
        let Some(first) = lexer.peek(0) else {
            tokens.push(Token { kind: Kind::Eof, start: start as u32, text: "<EOF>".to_owned() });
            return Ok(tokens);
        };
        let kind = lexer.token(first)?;
        let text = lexer.chars[start..lexer.at].iter().collect();
        tokens.push(Token { kind, start: start as u32, text });
    }
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn digit(&self, ahead: usize) -> bool {
        self.peek(ahead).is_some_and(|c| c.is_ascii_digit())
    }

    fn skip_blanks(&mut self) {
        while let Some(c) = self.peek(0) {
            if matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{c}') {
                self.at += 1;
            } else if c == '/' && self.peek(1) == Some('/') {
                while self.peek(0).is_some_and(|c| c != '\n') {
                    self.at += 1;
                }
            } else {
                break;
            }
        }
    }

    fn token(&mut self, first: char) -> Result<Kind, Issue> {
        if first.is_ascii_digit() || (first == '.' && self.digit(1)) {
            return Ok(self.number());
        }
        if let Some(prefix) = self.string_prefix() {
            return self.string(prefix);
        }
        if first.is_ascii_alphabetic() || first == '_' {
            while self.peek(0).is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
                self.at += 1;
            }
            return Ok(Kind::Ident);
        }
        let punct = PUNCT.iter().find(|punct| punct.chars().enumerate().all(|(i, c)| self.peek(i) == Some(c)));
        match punct {
            Some(punct) => {
                self.at += punct.len();
                Ok(Kind::Punct(punct))
            }
            None => {
                // Where a longer operator could have begun, the character that ruled it out is shown as well.
                let width = if matches!(first, '=' | '&' | '|') { 2 } else { 1 };
                let text: String = self.chars[self.at..].iter().take(width).collect();
                Err(Issue::new(self.at as u32, format!("Syntax error: token recognition error at: '{text}'")))
            }
        }
    }

    fn number(&mut self) -> Kind {
        if self.peek(0) == Some('0') && self.peek(1) == Some('x') && self.peek(2).is_some_and(|c| c.is_ascii_hexdigit())
        {
            self.at += 2;
            while self.peek(0).is_some_and(|c| c.is_ascii_hexdigit()) {
                self.at += 1;
            }
            return self.unsigned_suffix();
        }
        let mut float = false;
        while self.digit(0) {
            self.at += 1;
        }
        if self.peek(0) == Some('.') && self.digit(1) {
            float = true;
            self.at += 1;
            while self.digit(0) {
                self.at += 1;
            }
        }
        if matches!(self.peek(0), Some('e' | 'E')) {
            let sign = usize::from(matches!(self.peek(1), Some('+' | '-')));
            if self.digit(1 + sign) {
                float = true;
                self.at += 1 + sign;
                while self.digit(0) {
                    self.at += 1;
                }
            }
        }
        if float { Kind::Float } else { self.unsigned_suffix() }
    }

    fn unsigned_suffix(&mut self) -> Kind {
        if matches!(self.peek(0), Some('u' | 'U')) {
            self.at += 1;
            return Kind::Uint;
        }
        Kind::Int
    }

    /// How many letters stand before the quote, if a string or bytes literal begins here.
    fn string_prefix(&self) -> Option<usize> {
        let length = (0..3).find(|&i| matches!(self.peek(i), Some('"' | '\'')))?;
        let prefix: String = self.chars[self.at..self.at + length].iter().collect();
        matches!(prefix.to_ascii_lowercase().as_str(), "" | "r" | "b" | "br" | "rb").then_some(length)
    }

    fn string(&mut self, prefix: usize) -> Result<Kind, Issue> {
        let start = self.at;
        let letters: String = self.chars[start..start + prefix].iter().collect();
        let raw = letters.contains(['r', 'R']);
        let kind = if letters.contains(['b', 'B']) { Kind::Bytes } else { Kind::String };
        self.at += prefix;
        let quote = self.chars[self.at];
        let long = self.peek(1) == Some(quote) && self.peek(2) == Some(quote);
        self.at += if long { 3 } else { 1 };
        loop {
            match self.peek(0) {
                Some('\\') if !raw => self.at += 2,
                Some(c) if c == quote && !long => {
                    self.at += 1;
                    return Ok(kind);
                }
                Some(c) if c == quote && self.peek(1) == Some(quote) && self.peek(2) == Some(quote) => {
                    self.at += 3;
                    return Ok(kind);
                }
                Some('\n' | '\r') if !long => break,
                Some(_) => self.at += 1,
                None => break,
            }
        }
        let end = self.at.min(self.chars.len());
        let text: String = self.chars[start..end].iter().collect();
        Err(Issue::new(start as u32, format!("Syntax error: token recognition error at: '{text}'")))
    }
}
