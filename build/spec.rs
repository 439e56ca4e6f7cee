//! Reads the YAML into a JSON value and remembers where each node stands.

use std::collections::HashMap;

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use serde_json::{Map, Value};

/// What is wrong with the spec, in one line: file, line, column, JSON pointer, rule.
pub type SpecError = String;

pub struct Spec {
    pub value: Value,
    file: String,
    /// Line and column, from 1, of the node at a JSON pointer.
    places: HashMap<String, (usize, usize)>,
}

impl Spec {
    pub fn parse(file: &str, text: &str) -> Result<Self, SpecError> {
        let documents = MarkedYaml::load_from_str(text).map_err(|error| {
            let at = error.marker();
            format!("{file}:{}:{}: not YAML: {}", at.line(), at.col() + 1, error.info())
        })?;
        let [document] = documents.as_slice() else {
            return Err(format!(
                "{file}:1:1: {} YAML documents, exactly one is needed",
                documents.len()
            ));
        };
        let mut spec = Self { value: Value::Null, file: file.to_owned(), places: HashMap::new() };
        spec.value = spec.convert(document, "")?;
        Ok(spec)
    }

    fn convert(&mut self, node: &MarkedYaml<'_>, pointer: &str) -> Result<Value, SpecError> {
        let start = node.span.start;
        self.places.insert(pointer.to_owned(), (start.line(), start.col() + 1));
        let value = match &node.data {
            YamlData::Value(Scalar::Null) => Value::Null,
            YamlData::Value(Scalar::Boolean(value)) => Value::from(*value),
            YamlData::Value(Scalar::Integer(value)) => Value::from(*value),
            YamlData::Value(Scalar::FloatingPoint(value)) => Value::from(value.into_inner()),
            YamlData::Value(Scalar::String(value)) => Value::from(value.as_ref()),
            YamlData::Sequence(items) => Value::Array(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| self.convert(item, &format!("{pointer}/{index}")))
                    .collect::<Result<_, _>>()?,
            ),
            YamlData::Mapping(members) => {
                let mut object = Map::new();
                for (key, member) in members {
                    // `200:` is a number in YAML and the name of a member in OpenAPI.
                    let name = match &key.data {
                        YamlData::Value(Scalar::String(name)) => name.to_string(),
                        YamlData::Value(Scalar::Integer(name)) => name.to_string(),
                        _ => {
                            return Err(self.error(pointer, "the name of a member is no string"));
                        }
                    };
                    let below = format!("{pointer}/{}", escape(&name));
                    let value = self.convert(member, &below)?;
                    if value.is_object() || value.is_array() {
                        // What holds others is found by its name, not by the first of them.
                        let start = key.span.start;
                        self.places.insert(below, (start.line(), start.col() + 1));
                    }
                    object.insert(name, value);
                }
                Value::Object(object)
            }
            _ => return Err(self.error(pointer, "YAML aliases and tags are not read here")),
        };
        Ok(value)
    }

    /// The node at a JSON pointer, or an error that names the nearest node above it.
    pub fn at(&self, pointer: &str, why: &str) -> Result<&Value, SpecError> {
        self.value
            .pointer(pointer)
            .ok_or_else(|| self.error(pointer, &format!("is missing; {why}")))
    }

    /// One line for a problem at a JSON pointer. Where nothing stands at the pointer, line and
    /// column are those of the nearest node above it.
    pub fn error(&self, pointer: &str, rule: &str) -> SpecError {
        let mut above = pointer;
        let (line, column) = loop {
            if let Some(place) = self.places.get(above) {
                break *place;
            }
            match above.rfind('/') {
                Some(end) => above = &above[..end],
                None => break (1, 1),
            }
        };
        format!("{}:{line}:{column}: #{pointer}: {rule}", self.file)
    }
}

/// A name as a segment of a JSON pointer (RFC 6901).
pub fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A JSON pointer to a schema of the components.
pub fn schema_pointer(name: &str) -> String {
    format!("/components/schemas/{name}")
}
