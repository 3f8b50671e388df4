//! Rules on the syntax of a file.

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::Complaint;
use super::source::{SourceFile, Tree};
use super::style::REASON_MARK;

/// The longest function, in lines, that needs no reason.
const MAX_FUNCTION_LINES: usize = 150;

/// Collects the findings of one rule in one file.
struct Finder<'a> {
    file: &'a SourceFile,
    look: Look,
    in_test: bool,
    found: Vec<Complaint>,
}

/// What a [`Finder`] looks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    LongFunctions,
    Unfinished,
    Allow,
    Ignore,
    Sleep,
    Unsafe,
}

fn find(tree: &Tree, look: Look) -> Vec<Complaint> {
    let files = tree.files.iter().filter(|file| !file.is_generated());
    files
        .flat_map(|file| {
            let mut finder = Finder { file, look, in_test: file.is_test(), found: Vec::new() };
            finder.visit_file(&file.syntax);
            finder.found
        })
        .collect()
}

/// Functions stay below [`MAX_FUNCTION_LINES`].
pub(super) fn function_length(tree: &Tree) -> Vec<Complaint> {
    find(tree, Look::LongFunctions)
}

/// No `todo!`, `unimplemented!` or `dbg!`.
pub(super) fn unfinished(tree: &Tree) -> Vec<Complaint> {
    find(tree, Look::Unfinished)
}

/// A lint is only ever expected, with a reason.
pub(super) fn blanket_allow(tree: &Tree) -> Vec<Complaint> {
    find(tree, Look::Allow)
}

/// A test that does not run is no test.
pub(super) fn ignored_tests(tree: &Tree) -> Vec<Complaint> {
    find(tree, Look::Ignore)
}

/// Tests wait on conditions with a deadline.
pub(super) fn sleeping_tests(tree: &Tree) -> Vec<Complaint> {
    find(tree, Look::Sleep)
}

/// `unsafe` is only written in modules named `sys` or `syscall`.
pub(super) fn unsafe_outside_syscalls(tree: &Tree) -> Vec<Complaint> {
    find(tree, Look::Unsafe)
}

impl Finder<'_> {
    fn complain(&mut self, span: Span, message: &str) {
        let (file, line) = (self.file.path.clone(), span.start().line);
        self.found.push(Complaint { file, line, message: message.to_owned() });
    }

    fn function(&mut self, name: Span, whole: Span) {
        let (first, last) = (whole.start().line, whole.end().line);
        if self.look != Look::LongFunctions || self.in_test || last - first <= MAX_FUNCTION_LINES {
            return;
        }
        let start = first.saturating_sub(3);
        let mut around = self.file.text.lines().skip(start).take(name.start().line - start + 3);
        if !around.any(|line| line.contains(REASON_MARK)) {
            let message = format!("over {MAX_FUNCTION_LINES} lines: split it, or say `// {REASON_MARK}...` above it");
            self.complain(name, &message);
        }
    }

    fn attributes(&mut self, attributes: &[syn::Attribute]) {
        for attribute in attributes {
            let path = attribute.path();
            if self.look == Look::Allow && path.is_ident("allow") {
                self.complain(attribute.span(), "switches a lint off: use `expect` with a reason on one item");
            }
            if self.look == Look::Allow && path.is_ident("expect") && !states_reason(attribute) {
                self.complain(attribute.span(), "expects a lint without a reason");
            }
            if self.look == Look::Ignore && path.is_ident("ignore") {
                self.complain(attribute.span(), "ignores a test: make it run or delete it");
            }
        }
    }

    fn in_system_call_module(&self) -> bool {
        let path = std::path::Path::new(&self.file.path).with_extension("");
        path.components().any(|part| matches!(part.as_os_str().to_str(), Some("sys" | "syscall")))
    }
}

fn states_reason(attribute: &syn::Attribute) -> bool {
    matches!(&attribute.meta, syn::Meta::List(list) if list.tokens.to_string().contains("reason ="))
}

fn is_test_item(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        other => other.path().segments.last().is_some_and(|segment| segment.ident == "test"),
    })
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        self.attributes(std::slice::from_ref(attribute));
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let outer = self.in_test;
        self.in_test |= is_test_item(&item.attrs);
        visit::visit_item_mod(self, item);
        self.in_test = outer;
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(item.sig.ident.span(), item.span());
        if self.look == Look::Unsafe && item.sig.unsafety.is_some() && !self.in_system_call_module() {
            self.complain(item.span(), "unsafe function outside a `sys` module");
        }
        let outer = self.in_test;
        self.in_test |= is_test_item(&item.attrs);
        visit::visit_item_fn(self, item);
        self.in_test = outer;
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(item.sig.ident.span(), item.span());
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_expr_unsafe(&mut self, expression: &'ast syn::ExprUnsafe) {
        if self.look == Look::Unsafe && !self.in_system_call_module() {
            self.complain(expression.span(), "unsafe block outside a `sys` module");
        }
        visit::visit_expr_unsafe(self, expression);
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        let unfinished = ["todo", "unimplemented", "dbg"].iter().any(|name| invocation.path.is_ident(name));
        if self.look == Look::Unfinished && unfinished {
            self.complain(invocation.span(), "is not finished");
        }
        visit::visit_macro(self, invocation);
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let syn::Expr::Path(function) = &*call.func {
            let mut segments = function.path.segments.iter().rev();
            let sleeps = segments.next().is_some_and(|last| last.ident == "sleep")
                && segments.next().is_none_or(|module| module.ident == "thread" || module.ident == "time");
            if self.look == Look::Sleep && self.in_test && sleeps {
                self.complain(call.span(), "a test sleeps: wait on a condition with a deadline");
            }
        }
        visit::visit_expr_call(self, call);
    }
}
