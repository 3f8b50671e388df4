//! What an OpenAPI document says about values: the types that the expressions of policies are checked against.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::schema::Decl;
use crate::types::Type;

/// The schemas of a document of OpenAPI v3.
pub struct Schemas<'d> {
    schemas: Option<&'d Map<String, Json>>,
    /// What references have led to. A type inside of itself is not followed.
    known: RefCell<BTreeMap<&'d str, Arc<Decl>>>,
    open: RefCell<BTreeSet<&'d str>>,
}

impl<'d> Schemas<'d> {
    /// The schemas of `document`.
    #[must_use]
    pub fn new(document: &'d Json) -> Self {
        let schemas = document["components"]["schemas"].as_object();
        Self { schemas, known: RefCell::default(), open: RefCell::default() }
    }

    /// The shape of the objects of a kind, if the document describes it.
    #[must_use]
    pub fn of_kind(&self, group: &str, version: &str, kind: &str) -> Option<Arc<Decl>> {
        let is_kind = |schema: &&Json| {
            let marks = schema["x-kubernetes-group-version-kind"].as_array().into_iter().flatten();
            let mut marks = marks.map(|mark| [&mark["group"], &mark["version"], &mark["kind"]]);
            marks.any(|mark| mark[0] == group && mark[1] == version && mark[2] == kind)
        };
        let schema = self.schemas?.values().find(is_kind)?;
        Some(self.decl(kind, schema))
    }

    /// The shape that a schema declares. What it leaves open, or JSON cannot tell, is anything.
    fn decl(&self, name: &str, schema: &'d Json) -> Arc<Decl> {
        if let Some(reference) = schema["$ref"].as_str() {
            return self.reference(reference);
        }
        if let Some([one]) = schema["allOf"].as_array().map(Vec::as_slice)
            && schema["properties"].is_null()
        {
            return self.decl(name, one);
        }
        let is_either = schema["x-kubernetes-int-or-string"] == true || schema["format"] == "int-or-string";
        let ty = match schema["type"].as_str() {
            _ if is_either => Type::Dyn,
            Some("array") => Type::list(self.decl(&format!("{name}.@idx"), &schema["items"]).type_of()),
            Some("object") => return self.object(name, schema),
            Some("string") => match schema["format"].as_str() {
                Some("byte") => Type::Bytes,
                Some("date" | "date-time") => Type::Timestamp,
                Some("duration") => Type::Duration,
                _ => Type::String,
            },
            Some("boolean") => Type::Bool,
            Some("number") => Type::Double,
            Some("integer") => Type::Int,
            _ => Type::Dyn,
        };
        Decl::typed(ty)
    }

    fn object(&self, name: &str, schema: &'d Json) -> Arc<Decl> {
        if schema["additionalProperties"].is_object() {
            let value = self.decl(&format!("{name}.@elem"), &schema["additionalProperties"]);
            return Decl::typed(Type::map(Type::String, value.type_of()));
        }
        match schema["properties"].as_object() {
            Some(properties) => {
                let field = |(field, schema): (&String, &'d Json)| {
                    (field.clone(), self.decl(&format!("{name}.{field}"), schema))
                };
                Decl::object_of_schema(name, properties.iter().map(field))
            }
            None => Decl::typed(Type::Dyn),
        }
    }

    fn reference(&self, reference: &'d str) -> Arc<Decl> {
        let name = reference.rsplit('/').next().unwrap_or_default();
        if let Some(known) = self.known.borrow().get(name) {
            return Arc::clone(known);
        }
        let schema = self.schemas.and_then(|schemas| schemas.get(name));
        let Some(schema) = schema.filter(|_| self.open.borrow_mut().insert(name)) else {
            return Decl::typed(Type::Dyn);
        };
        let decl = self.decl(name, schema);
        self.open.borrow_mut().remove(name);
        self.known.borrow_mut().insert(name, Arc::clone(&decl));
        decl
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admission::{Environment, Purpose};

    fn document() -> Json {
        let reference =
            |name: &str| json!({"allOf": [{"$ref": format!("#/components/schemas/{name}")}], "default": {}});
        json!({"components": {"schemas": {
            "a.Thing": {"type": "object", "x-kubernetes-group-version-kind": [{"group": "a", "version": "v1", "kind": "Thing"}],
                "properties": {
                    "spec": reference("a.Spec"), "apiVersion": {"type": "string"},
                    "metadata": {"$ref": "#/components/schemas/Meta"}}},
            "a.Spec": {"type": "object", "properties": {
                "replicas": {"type": "integer", "format": "int32"}, "names": {"type": "array", "items": {"type": "string"}},
                "limits": {"type": "object", "additionalProperties": reference("Quantity")}, "in": {"type": "boolean"},
                "port": {"format": "int-or-string", "oneOf": []}, "when": {"type": "string", "format": "date-time"},
                "raw": {"type": "object"}, "self": reference("a.Spec"), "my-key": {"type": "string"}}},
            "Quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
            "Meta": {"type": "object", "properties": {"name": {"type": "string"}}}}}})
    }

    /// What is wrong with an expression over an object, nothing if nothing is.
    #[track_caller]
    fn check(source: &str, expected: Option<&str>) {
        let document = document();
        let decl = Schemas::new(&document).of_kind("a", "v1", "Thing").expect("the kind");
        let environment = Environment::typed(&decl, None);
        let expression = environment.compile(Purpose::Variable, source);
        let actual = expression.error().map(ToString::to_string);
        match expected {
            None => assert_eq!(actual, None, "{source}"),
            Some(part) => assert!(actual.as_ref().is_some_and(|error| error.contains(part)), "{source}: {actual:?}"),
        }
    }

    #[test]
    fn expressions_are_checked_against_published_types() {
        check("object.spec.replicas > 1 && object.spec.names.all(n, n.startsWith('a')) && object.spec.__in__", None);
        check("quantity(object.spec.limits['cpu']).isLessThan(quantity('1')) || object.spec.port == 1", None);
        check("object.spec.raw.anything == 1 && object.spec.self.anything == 1", None);
        check("object.spec.when < timestamp(0) && object.spec.my__dash__key == object.metadata.name", None);
        check("oldObject.replicas > 1", Some("undefined field 'replicas'"));
        check("object.spec.replicas == 'a'", Some("found no matching overload for '_==_' applied to '(int, string)'"));
        check("object.spec.names[0] + 1", Some("no matching overload"));
        check("params.a", Some("undeclared reference to 'params'"));
        let document = document();
        assert!(Schemas::new(&document).of_kind("a", "v2", "Thing").is_none());
    }
}
