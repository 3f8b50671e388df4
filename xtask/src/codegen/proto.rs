//! Reads the messages of `k8s-pb`: tags, wire types and the markers in their comments.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use syn::visit::Visit;

/// One field of a message.
#[derive(Debug, Clone)]
pub struct Field {
    pub name: String,
    pub tag: u32,
    /// The protobuf type; of a map, that of its values.
    pub wire: String,
    /// The module and name of the message it holds, if it holds messages.
    pub message: Option<String>,
    /// Lines of its comment that start with `+`, without it.
    pub markers: Vec<String>,
}

/// One message.
#[derive(Debug)]
pub struct Message {
    pub fields: Vec<Field>,
    pub markers: Vec<String>,
}

/// Messages by module path and lower-case name, such as `api::core::v1::podspec`.
pub type Messages = BTreeMap<String, Message>;

/// Names are compared in lower case and without separators, because prost renames what the API calls otherwise.
pub fn normalize(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '$' | '-' | '#')).flat_map(char::to_lowercase).collect()
}

/// Reads every message below `root`.
pub fn read(root: &Path) -> Result<Messages> {
    let mut messages = Messages::new();
    for entry in walkdir::WalkDir::new(root).sort_by_file_name() {
        let entry = entry.context("walking the sources of k8s-pb")?;
        if entry.file_name() != "mod.rs" {
            continue;
        }
        let text = fs::read_to_string(entry.path()).with_context(|| format!("reading {}", entry.path().display()))?;
        let file = syn::parse_file(&text).with_context(|| format!("parsing {}", entry.path().display()))?;
        let directory = entry.path().parent().and_then(|path| path.strip_prefix(root).ok()).unwrap_or(Path::new(""));
        let module: Vec<_> = directory.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        for item in &file.items {
            let syn::Item::Struct(item) = item else { continue };
            let fields = item.fields.iter().filter_map(|each| field(each, &module)).collect();
            let name = format!("{}::{}", module.join("::"), normalize(&item.ident.to_string()));
            messages.insert(name, Message { fields, markers: markers(&item.attrs) });
        }
    }
    Ok(messages)
}

fn field(field: &syn::Field, module: &[String]) -> Option<Field> {
    let name = field.ident.as_ref()?.to_string();
    let attribute = field.attrs.iter().find(|attribute| attribute.path().is_ident("prost"))?;
    let syn::Meta::List(list) = &attribute.meta else { return None };
    let text = list.tokens.to_string();
    let tag = text.split("tag = \"").nth(1)?.split('"').next()?.parse().ok()?;
    let first = text.split([',', ' ', '=']).next()?;
    let wire = match first {
        "btree_map" | "map" => text.split('"').nth(1)?.split(',').nth(1)?.trim(),
        other => other,
    };
    let mut found = MessagePath { module, found: None };
    found.visit_type(&field.ty);
    Some(Field {
        name: name.strip_prefix("r#").unwrap_or(&name).to_owned(),
        tag,
        wire: wire.to_owned(),
        message: found.found.filter(|_| wire == "message"),
        markers: markers(&field.attrs),
    })
}

/// The last path in a type that is a message of the crate.
struct MessagePath<'a> {
    module: &'a [String],
    found: Option<String>,
}

impl<'ast> Visit<'ast> for MessagePath<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let standard = path
            .segments
            .first()
            .is_some_and(|first| first.ident == "core" || first.ident == "prost" || first.ident == "std");
        if !standard {
            let mut at = self.module.to_vec();
            let mut name = String::new();
            for segment in &path.segments {
                match segment.ident.to_string().as_str() {
                    "super" => drop(at.pop()),
                    other => {
                        if !name.is_empty() {
                            at.push(std::mem::take(&mut name));
                        }
                        name = other.to_owned();
                    }
                }
            }
            self.found = Some(format!("{}::{}", at.join("::"), normalize(&name)));
        }
        syn::visit::visit_path(self, path);
    }
}

fn markers(attributes: &[syn::Attribute]) -> Vec<String> {
    let mut markers = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("doc")) {
        let syn::Meta::NameValue(value) = &attribute.meta else { continue };
        let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &value.value else { continue };
        for line in text.value().lines() {
            if let Some(marker) = line.trim().strip_prefix('+') {
                markers.push(marker.trim().to_owned());
            }
        }
    }
    markers
}
