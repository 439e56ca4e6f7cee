//! The examples of `spec/lon-batch.yaml` are valid against their own schemas.

use std::collections::BTreeSet;

use jsonschema::Draft;
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value, json};

const SPEC: &str = include_str!("../spec/lon-batch.yaml");
const OPERATION: &str = "#/paths/~1api~1v1~1subaccounts~1{subAccountId}~1lon~1batch/post";

#[test]
fn every_example_of_the_spec_is_valid() {
    let checked = check_examples(SPEC);
    assert!(checked.problems.is_empty(), "{}", checked.problems.join("\n"));
    // Examples of properties, schemas, bodies, headers and the path parameter.
    assert!(checked.count >= 50, "only {} examples were found", checked.count);
}

#[test]
fn a_misspelt_icon_is_reported_at_each_example_that_has_it() {
    let misspelt = changed(": calendarCheck", ": calendarChek");
    let body = format!("{OPERATION}/requestBody/content/application~1json/example");
    assert_eq!(
        places(&misspelt),
        set([&format!("{body}/messages/0/content/icon"), "#/components/schemas/Icon/example",])
    );
    let problems = check_examples(&misspelt).problems.join("\n");
    assert!(problems.contains(r#"/Icon/example: "calendarChek" is not one of "#), "{problems}");
}

#[test]
fn an_unlisted_code_in_a_named_example_of_a_response_is_reported() {
    let unlisted = changed("code: 1002", "code: 10002");
    let examples = format!("{OPERATION}/responses/400/content/application~1json/examples");
    assert_eq!(places(&unlisted), set([&format!("{examples}/msisdn/value/code")]));
}

#[test]
fn a_malformed_id_timestamp_or_url_is_reported() {
    for (from, to, place) in [
        (
            "example: 91b106f0-c0da-4aba-a43a-7af9c5893a80",
            "example: 91b106f0-c0da-4aba-a43a-7af9c5893a8",
            "#/components/schemas/ErrorBody/properties/errorId/example",
        ),
        (
            "example: '2017-04-19T02:31:19.4297387+00:00'",
            "example: '2017-04-19 02:31'",
            "#/components/schemas/ErrorBody/properties/timestamp/example",
        ),
        (
            "example: https://example.com/receipts",
            "example: example.com receipts",
            "#/components/schemas/Message/properties/dlrCallbackUrl/example",
        ),
    ] {
        assert_eq!(places(&changed(from, to)), set([place]));
    }
}

#[test]
fn null_is_valid_only_where_the_schema_is_nullable() {
    let schemas = "
        components: {schemas: {
          Open: {type: string, nullable: true, enum: [a], example: null},
          Closed: {type: string, enum: [a], example: null}}}";
    assert_eq!(places(schemas), set(["#/components/schemas/Closed/example"]));
}

#[test]
fn an_example_without_a_value_is_reported() {
    let elsewhere = "
        content: {application/json: {
          schema: {type: string},
          examples: {remote: {externalValue: https://example.com/a.json}}}}";
    assert_eq!(places(elsewhere), set(["#/content/application~1json/examples/remote"]));
}

/// The spec with a text replaced.
fn changed(from: &str, to: &str) -> String {
    assert!(SPEC.contains(from), "{from:?} is not in the spec");
    SPEC.replace(from, to)
}

/// The JSON pointers of the problems, without their reasons.
fn places(yaml: &str) -> BTreeSet<String> {
    let problems = check_examples(yaml).problems.into_iter();
    problems
        .map(|problem| match problem.split_once(": ") {
            Some((place, _)) => place.to_owned(),
            None => problem,
        })
        .collect()
}

fn set<const N: usize>(places: [&str; N]) -> BTreeSet<String> {
    places.map(str::to_owned).into()
}

/// The result of checking every example of a document.
struct Examples {
    components: Value,
    /// How many examples were compared with a schema.
    count: usize,
    /// One line for each problem: JSON pointer, reason.
    problems: Vec<String>,
}

fn check_examples(yaml: &str) -> Examples {
    let documents = Yaml::load_from_str(yaml).expect("the spec is YAML");
    let document = with_null_types(to_json(&documents[0]));
    let mut examples =
        Examples { components: document["components"].clone(), count: 0, problems: Vec::new() };
    examples.visit(&document, "#");
    examples
}

impl Examples {
    /// Visits a node of the document and everything below it, except for data.
    fn visit(&mut self, node: &Value, pointer: &str) {
        if let Value::Array(items) = node {
            for (index, item) in items.iter().enumerate() {
                self.visit(item, &format!("{pointer}/{index}"));
            }
        }
        let Value::Object(members) = node else { return };
        // A media type, a parameter and a header have a schema; a schema has examples of its own.
        let schema = members.get("schema").unwrap_or(node);
        for (name, member) in members {
            let at = format!("{pointer}/{}", escape(name));
            match name.as_str() {
                "example" => self.compare(member, schema, &at),
                "examples" => self.compare_each(member, schema, &at),
                "default" | "enum" => {}
                // The names in these are not keywords: a property can be called `example`.
                "properties" | "schemas" | "headers" => {
                    for (name, member) in member.as_object().into_iter().flatten() {
                        self.visit(member, &format!("{at}/{}", escape(name)));
                    }
                }
                _ => self.visit(member, &at),
            }
        }
    }

    fn compare_each(&mut self, examples: &Value, schema: &Value, pointer: &str) {
        for (name, example) in examples.as_object().into_iter().flatten() {
            let at = format!("{pointer}/{}", escape(name));
            match example.get("value") {
                Some(value) => self.compare(value, schema, &format!("{at}/value")),
                None => self.problems.push(format!("{at}: has no `value` to check")),
            }
        }
    }

    fn compare(&mut self, example: &Value, schema: &Value, pointer: &str) {
        self.count += 1;
        // `#/components/schemas/...` is resolved within the schema that is validated.
        let mut root = schema.clone();
        root["components"] = self.components.clone();
        // Schemas of OpenAPI 3.0 follow a draft between 4 and 5.
        let validator = jsonschema::options()
            .with_draft(Draft::Draft4)
            .should_validate_formats(true)
            .with_format("uuid", is_hex_8_4_4_4_12)
            .build(&root)
            .unwrap_or_else(|error| panic!("{pointer}: the schema is not one: {error}"));
        let errors = validator.iter_errors(example);
        self.problems
            .extend(errors.map(|error| format!("{pointer}{}: {error}", error.instance_path())));
    }
}

/// Any id of the form of a UUID. The published samples have a version digit that no RFC defines.
fn is_hex_8_4_4_4_12(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.concat().bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// The keyword `nullable`, translated to the type `null` of JSON Schema.
fn with_null_types(node: Value) -> Value {
    match node {
        Value::Array(items) => items.into_iter().map(with_null_types).collect(),
        Value::Object(members) => {
            let below = members.into_iter();
            let mut members: Map<_, _> =
                below.map(|(name, member)| (name, with_null_types(member))).collect();
            if members.get("nullable") == Some(&json!(true)) {
                if let Some(kind) = members.get_mut("type") {
                    *kind = json!([kind, "null"]);
                }
                if let Some(Value::Array(values)) = members.get_mut("enum") {
                    values.push(Value::Null);
                }
            }
            Value::Object(members)
        }
        scalar => scalar,
    }
}

fn to_json(node: &Yaml<'_>) -> Value {
    match node {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(value)) => json!(value),
        Yaml::Value(Scalar::Integer(value)) => json!(value),
        Yaml::Value(Scalar::FloatingPoint(value)) => json!(value.into_inner()),
        Yaml::Value(Scalar::String(value)) => json!(value),
        Yaml::Sequence(items) => items.iter().map(to_json).collect(),
        Yaml::Mapping(members) => {
            let members = members.iter();
            members
                .map(|(name, member)| match to_json(name) {
                    Value::String(name) => (name, to_json(member)),
                    // `200:` is a number in YAML and a name in OpenAPI.
                    other => (other.to_string(), to_json(member)),
                })
                .collect()
        }
        other => panic!("the spec has YAML that is not JSON: {other:?}"),
    }
}

/// A name as a segment of a JSON pointer.
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
