//! Tables for people.

use std::fmt::Write;

/// The rows, a line each, their columns as wide as they must be.
pub fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let line: String = row.iter().zip(&widths).fold(String::new(), |mut line, (cell, width)| {
            // Writing to a text cannot fail.
            let _ = write!(line, "{cell:<width$}   ");
            line
        });
        text += line.trim_end();
        text.push('\n');
    }
    text
}
