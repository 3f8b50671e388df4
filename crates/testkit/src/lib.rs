//! Tests: object makers and helpers.
