//! The words of the label selector grammar.

/// One word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// The end of the text.
    End,
    /// Anything else; `in` and `notin` are words of the grammar only where an operator may stand.
    Identifier(&'a str),
    /// One of `( ) , ! = == != < >`.
    Symbol(&'static str),
}

impl<'a> Token<'a> {
    /// The word as it was written.
    pub(super) fn text(&self) -> &'a str {
        match self {
            Token::End => "",
            Token::Identifier(text) => text,
            Token::Symbol(text) => text,
        }
    }
}

const SYMBOLS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];

/// Splits a selector into words; the last one is [`Token::End`].
pub(super) fn tokens(mut text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    loop {
        text = text.trim_start_matches([' ', '\t', '\r', '\n']);
        if text.is_empty() {
            tokens.push(Token::End);
            return tokens;
        }
        if let Some(symbol) = SYMBOLS.into_iter().find(|symbol| text.starts_with(symbol)) {
            tokens.push(Token::Symbol(symbol));
            text = &text[symbol.len()..];
            continue;
        }
        let end = text.find(|c: char| " \t\r\n=!(),><".contains(c)).unwrap_or(text.len());
        tokens.push(Token::Identifier(&text[..end]));
        text = &text[end..];
    }
}
