//! Reads the types of `k8s-openapi`: JSON names, Rust types, kinds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use syn::visit::Visit;

use super::overrides;

/// A Rust type, as far as it matters.
#[derive(Debug, Clone, PartialEq)]
pub enum Ty {
    String,
    Int32,
    Int64,
    Double,
    Bool,
    Bytes,
    /// A definition, by its name in OpenAPI.
    Named(String),
    List(Box<Ty>),
    Map(Box<Ty>),
}

/// One field of a definition.
#[derive(Debug)]
pub struct Field {
    pub json: String,
    pub ty: Ty,
    pub required: bool,
}

/// Where objects of a kind live.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scope {
    Cluster,
    Namespace,
    Subresource,
}

/// What a definition that is a kind says about itself.
#[derive(Debug)]
pub struct Kind {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub plural: String,
    pub list_kind: Option<String>,
    pub scope: Scope,
}

/// One definition.
#[derive(Debug)]
pub struct Definition {
    pub fields: Vec<Field>,
    pub kind: Option<Kind>,
}

/// Definitions by name in OpenAPI.
pub type Definitions = BTreeMap<String, Definition>;

const HEADER: &str = "// Generated from definition ";

/// Reads every definition below `root`.
pub fn read(root: &Path) -> Result<Definitions> {
    let mut sources = Vec::new();
    let mut names = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root).sort_by_file_name() {
        let entry = entry.context("walking the sources of k8s-openapi")?;
        if entry.path().extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(entry.path()).with_context(|| format!("reading {}", entry.path().display()))?;
        let Some(name) = text.lines().next().and_then(|line| line.strip_prefix(HEADER)) else { continue };
        let file = syn::parse_file(&text).with_context(|| format!("parsing {}", entry.path().display()))?;
        let directory = entry.path().parent().and_then(|path| path.strip_prefix(root).ok()).unwrap_or(Path::new(""));
        let module: Vec<_> = directory.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let ident = name.rsplit('.').next().unwrap_or(name);
        names.insert(format!("{}::{ident}", module.join("::")), name.to_owned());
        sources.push((name.to_owned(), file));
    }
    let mut definitions = Definitions::new();
    for (name, file) in sources {
        if let Some(definition) =
            definition(&name, &file, &names).with_context(|| format!("reading definition {name}"))?
        {
            definitions.insert(name, definition);
        }
    }
    Ok(definitions)
}

fn definition(name: &str, file: &syn::File, names: &BTreeMap<String, String>) -> Result<Option<Definition>> {
    let structure = file.items.iter().find_map(|item| match item {
        syn::Item::Struct(item) => Some(item),
        _ => None,
    });
    let named = match structure.map(|item| &item.fields) {
        Some(syn::Fields::Named(named)) => named,
        // Objects that have no fields yet.
        Some(syn::Fields::Unnamed(_)) if overrides::opaque(name).is_none() => {
            return Ok(Some(Definition { fields: Vec::new(), kind: None }));
        }
        _ => return Ok(None),
    };
    if structure.is_some_and(|item| !item.generics.params.is_empty()) {
        return Ok(None);
    }
    let mut keys = JsonKeys::default();
    keys.visit_file(file);
    let mut fields = Vec::new();
    for field in &named.named {
        let ident = field.ident.as_ref().context("a field without a name")?.to_string();
        let ident = ident.strip_prefix("r#").unwrap_or(&ident);
        let json = keys.0.get(ident).with_context(|| format!("no JSON name for {ident}"))?.clone();
        let (ty, required) = match generic(&field.ty, "Option") {
            Some(inner) => (ty(inner, names)?, false),
            None => (ty(&field.ty, names)?, true),
        };
        fields.push(Field { json, ty, required });
    }
    Ok(Some(Definition { fields, kind: kind(file) }))
}

/// JSON names by Rust field, from the match arms of the deserializer.
#[derive(Default)]
struct JsonKeys(BTreeMap<String, String>);

impl<'ast> Visit<'ast> for JsonKeys {
    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if let (syn::Pat::Lit(literal), syn::Expr::Path(target)) = (&arm.pat, &*arm.body)
            && let syn::Lit::Str(json) = &literal.lit
            && let Some(last) = target.path.segments.last()
            && let Some(ident) = last.ident.to_string().strip_prefix("Key_")
        {
            self.0.insert(ident.to_owned(), json.value());
        }
        syn::visit::visit_arm(self, arm);
    }
}

fn generic<'a>(ty: &'a syn::Type, name: &str) -> Option<&'a syn::Type> {
    let syn::Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    if last.ident != name {
        return None;
    }
    let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    arguments.args.iter().rev().find_map(|argument| match argument {
        syn::GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

fn ty(source: &syn::Type, names: &BTreeMap<String, String>) -> Result<Ty> {
    for wrapper in ["Box", "Vec", "BTreeMap"] {
        if let Some(inner) = generic(source, wrapper) {
            let inner = ty(inner, names)?;
            return Ok(match wrapper {
                "Box" => inner,
                "Vec" => Ty::List(Box::new(inner)),
                _ => Ty::Map(Box::new(inner)),
            });
        }
    }
    let syn::Type::Path(path) = source else { bail!("an unexpected type") };
    let segments: Vec<_> = path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
    Ok(match segments.last().map(String::as_str) {
        Some("String") => Ty::String,
        Some("i32") => Ty::Int32,
        Some("i64") => Ty::Int64,
        Some("f64") => Ty::Double,
        Some("bool") => Ty::Bool,
        Some("ByteString") => Ty::Bytes,
        _ => {
            let path = segments.strip_prefix(&["crate".to_owned()]).unwrap_or(&segments).join("::");
            Ty::Named(names.get(&path).with_context(|| format!("unknown type {path}"))?.clone())
        }
    })
}

fn kind(file: &syn::File) -> Option<Kind> {
    let mut constants = BTreeMap::new();
    let mut scope = None;
    for item in &file.items {
        let syn::Item::Impl(item) = item else { continue };
        for member in &item.items {
            match member {
                syn::ImplItem::Const(constant) => {
                    if let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(value), .. }) = &constant.expr {
                        constants.insert(constant.ident.to_string(), value.value());
                    }
                }
                syn::ImplItem::Type(alias) if alias.ident == "Scope" => {
                    let syn::Type::Path(path) = &alias.ty else { continue };
                    scope = path.path.segments.last().map(|segment| segment.ident.to_string());
                }
                _ => {}
            }
        }
    }
    let scope = match scope?.as_str() {
        "ClusterResourceScope" => Scope::Cluster,
        "NamespaceResourceScope" => Scope::Namespace,
        _ => Scope::Subresource,
    };
    Some(Kind {
        group: constants.remove("GROUP")?,
        version: constants.remove("VERSION")?,
        kind: constants.remove("KIND")?,
        plural: constants.remove("URL_PATH_SEGMENT")?,
        list_kind: constants.remove("LIST_KIND"),
        scope,
    })
}
