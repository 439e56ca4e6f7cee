//! The spec as JSON, with the position of each node in the YAML.

use std::collections::{BTreeSet, HashMap};

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use serde_json::{Map, Value};

/// One line: file, line, column, JSON pointer and the broken rule.
pub type SpecError = String;

pub struct Spec {
    pub value: Value,
    file: String,
    /// Line and column, counted from 1, of the node at each JSON pointer.
    places: HashMap<String, (usize, usize)>,
}

impl Spec {
    pub fn parse(file: &str, text: &str) -> Result<Self, SpecError> {
        let documents = MarkedYaml::load_from_str(text).map_err(|error| {
            let (line, column) = (error.marker().line(), error.marker().col() + 1);
            format!("{file}:{line}:{column}: not YAML: {}", error.info())
        })?;
        let [document] = documents.as_slice() else {
            let found = documents.len();
            return Err(format!("{file}:1:1: {found} YAML documents, expected one"));
        };
        let mut spec = Self { value: Value::Null, file: file.to_owned(), places: HashMap::new() };
        spec.value = spec.convert(document, "")?;
        Ok(spec)
    }

    fn convert(&mut self, node: &MarkedYaml<'_>, pointer: &str) -> Result<Value, SpecError> {
        let place = |node: &MarkedYaml<'_>| (node.span.start.line(), node.span.start.col() + 1);
        self.places.insert(pointer.to_owned(), place(node));
        Ok(match &node.data {
            YamlData::Value(Scalar::Null) => Value::Null,
            YamlData::Value(Scalar::Boolean(value)) => Value::from(*value),
            YamlData::Value(Scalar::Integer(value)) => Value::from(*value),
            YamlData::Value(Scalar::FloatingPoint(value)) => Value::from(value.into_inner()),
            YamlData::Value(Scalar::String(value)) => Value::from(value.as_ref()),
            YamlData::Sequence(items) => {
                let items = items.iter().enumerate();
                let items = items.map(|(at, item)| self.convert(item, &format!("{pointer}/{at}")));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            YamlData::Mapping(members) => {
                let mut object = Map::new();
                for (key, member) in members {
                    // `200:` is a number in YAML but a name in OpenAPI.
                    let name = match &key.data {
                        YamlData::Value(Scalar::String(name)) => name.to_string(),
                        YamlData::Value(Scalar::Integer(name)) => name.to_string(),
                        _ => return Err(self.error(pointer, "a member name has to be a string")),
                    };
                    let below = format!("{pointer}/{}", escape(&name));
                    let value = self.convert(member, &below)?;
                    if value.is_object() || value.is_array() {
                        // The position of a block is that of its name, not of its first entry.
                        self.places.insert(below, place(key));
                    }
                    object.insert(name, value);
                }
                Value::Object(object)
            }
            _ => return Err(self.error(pointer, "YAML aliases and tags are not supported")),
        })
    }

    /// The node at a JSON pointer, or an error at its nearest existing ancestor.
    pub fn require(&self, pointer: &str, why: &str) -> Result<&Value, SpecError> {
        let node = self.value.pointer(pointer);
        node.ok_or_else(|| self.error(pointer, &format!("is missing; {why}")))
    }

    /// The schema of this name. It exists, because references are checked first.
    pub fn schema(&self, name: &str) -> &Value {
        &self.value["components"]["schemas"][name]
    }

    /// The names of all schemas that the node at a pointer refers to, directly or not.
    pub fn reachable(&self, pointer: &str) -> BTreeSet<String> {
        fn add(spec: &Spec, node: &Value, found: &mut BTreeSet<String>) {
            match node {
                Value::Object(members) => {
                    if let Some(name) = ref_name(node)
                        && found.insert(name.to_owned())
                    {
                        add(spec, spec.schema(name), found);
                    }
                    members.values().for_each(|member| add(spec, member, found));
                }
                Value::Array(items) => items.iter().for_each(|item| add(spec, item, found)),
                _ => {}
            }
        }
        let mut found = BTreeSet::new();
        if let Some(node) = self.value.pointer(pointer) {
            add(self, node, &mut found);
        }
        found
    }

    /// An error at a JSON pointer, or at its nearest existing ancestor.
    pub fn error(&self, pointer: &str, rule: &str) -> SpecError {
        let mut above = pointer;
        let (line, column) = loop {
            match (self.places.get(above), above.rfind('/')) {
                (Some(place), _) => break *place,
                (None, Some(end)) => above = &above[..end],
                (None, None) => break (1, 1),
            }
        };
        format!("{}:{line}:{column}: #{pointer}: {rule}", self.file)
    }
}

/// Escapes a name as a segment of a JSON pointer (RFC 6901).
pub fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The JSON pointer of a schema.
pub fn schema_pointer(name: &str) -> String {
    format!("/components/schemas/{name}")
}

/// The name of the schema that a `$ref` refers to.
pub fn ref_name(node: &Value) -> Option<&str> {
    node.get("$ref")?.as_str()?.strip_prefix("#/components/schemas/")
}

/// The members of an object. Empty for any other node.
pub fn members(node: &Value) -> impl Iterator<Item = (&String, &Value)> {
    node.as_object().into_iter().flatten()
}

/// The entries of a list. Empty for any other node.
pub fn entries(node: &Value) -> &[Value] {
    node.as_array().map_or(&[], Vec::as_slice)
}

pub fn is_required(schema: &Value, member: &str) -> bool {
    entries(&schema["required"]).iter().any(|name| name == member)
}
