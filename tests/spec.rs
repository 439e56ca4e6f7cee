//! The build: the code generated from a changed spec, and the error for a broken one.
//!
//! The tests run the modules of the build script on modified copies of the spec.

use std::fs;
use std::path::Path;

use syn::{File, Item};

#[path = "../build/check.rs"]
mod check;
#[path = "../build/generate.rs"]
mod generate;
#[path = "../build/lenient.rs"]
mod lenient;
#[path = "../build/schemas.rs"]
mod schemas;
#[path = "../build/spec.rs"]
mod spec;
#[path = "../build/tables.rs"]
mod tables;

const FILE: &str = "spec/lon-batch.yaml";

fn text() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE)).unwrap()
}

/// The spec with places replaced, the first of each.
fn changed(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text(), |text, (from, to)| {
        assert!(text.contains(from), "{from:?} is not in the spec");
        text.replacen(from, to, 1)
    })
}

/// The output of the build script for a spec.
struct Generated {
    types: File,
    tables: String,
    mocks: String,
    schemas: String,
}

fn build(text: &str) -> Result<Generated, String> {
    let spec = spec::Spec::parse(FILE, text)?;
    check::check(&spec)?;
    Ok(Generated {
        tables: tables::tables(&spec)?,
        types: syn::parse_file(&generate::client(&spec)?).unwrap(),
        mocks: generate::mocks(&spec)?,
        schemas: schemas::schemas(&spec)?,
    })
}

impl Generated {
    fn types(&self) -> &[Item] {
        let types = self.types.items.iter().find_map(|item| match item {
            Item::Mod(module) if module.ident == "types" => module.content.as_ref(),
            _ => None,
        });
        &types.unwrap().1
    }

    /// The type of a public field, and its documentation.
    fn field(&self, object: &str, name: &str) -> (String, String) {
        let object = self.types().iter().find_map(|item| match item {
            Item::Struct(it) if it.ident == object => Some(it),
            _ => None,
        });
        let mut fields = object.expect("the type exists").fields.iter();
        let field = fields.find(|it| it.ident.as_ref().is_some_and(|it| it == name));
        let field = field.unwrap_or_else(|| panic!("{name} is a field"));
        assert!(matches!(field.vis, syn::Visibility::Public(_)));
        let ty = &field.ty;
        let doc = field.attrs.iter().find(|it| it.path().is_ident("doc"));
        let doc = doc.map_or_else(String::new, |it| quote::quote!(#it).to_string());
        (quote::quote!(#ty).to_string().replace(' ', ""), doc)
    }

    fn variants(&self, list: &str) -> Vec<String> {
        let list = self.types().iter().find_map(|item| match item {
            Item::Enum(it) if it.ident == list => Some(it),
            _ => None,
        });
        list.expect("the enum exists").variants.iter().map(|it| it.ident.to_string()).collect()
    }

    fn has_table(&self, text: &str) -> bool {
        self.tables.split_whitespace().collect::<Vec<_>>().join(" ").contains(text)
    }
}

#[test]
fn a_request_member_becomes_a_public_field_with_its_checks() {
    let generated = build(&changed(&[
        (
            "        clientMessageId:\n",
            "        campaign:\n          type: string\n          maxLength: 3\n          description: New.\n        type:\n          type: string\n          format: uri\n          description: New.\n        clientMessageId:\n",
        ),
        ("          maxItems: 1000\n", "          maxItems: 2\n"),
    ]))
    .unwrap();
    let (campaign, doc) = generated.field("Message", "campaign");
    assert_eq!(campaign, "::std::option::Option<crate::types::Text>");
    assert!(doc.contains("New."), "{doc}");
    generated.field("Message", "type_");
    assert!(generated.has_table(r#"found.length(path, "campaign", self.campaign.as_deref(), 3);"#));
    assert!(generated.has_table(r#"found.url(path, "type", self.type_.as_deref());"#));
    assert!(generated.has_table(r#"found.list(path, "messages", &self.messages, 1..=2);"#));
    assert!(generated.has_table("pub const MAX_MESSAGES_PER_BATCH: usize = 2;"));
    assert!(generated.schemas.contains("campaign"));
}

#[test]
fn a_response_member_copied_from_the_reference_page_is_lenient() {
    let page = "        heldCount:\n          type: integer\n          minimum: 0\n          maximum: 10000\n          description: New.\n        heldId:\n          type: string\n          format: uuid\n          description: New.\n        heldAt:\n          type: string\n          format: date-time\n          maxLength: 40\n          description: New.\n        held:\n          $ref: '#/components/schemas/Held'\n        reasons:\n          type: array\n          maxItems: 3\n          description: New.\n          items:\n            $ref: '#/components/schemas/Held'\n        acceptedCount:\n";
    let generated = build(&changed(&[
        ("        acceptedCount:\n", page),
        ("      required: [batchId,", "      required: [heldCount, held, batchId,"),
        (
            "    BatchResponse:\n",
            "    Held:\n      type: object\n      description: New.\n      additionalProperties: false\n      required: [word]\n      properties:\n        word:\n          $ref: '#/components/schemas/HeldWord'\n    HeldWord:\n      type: string\n      description: New.\n      enum: [no_funds, other_word]\n    BatchResponse:\n",
        ),
    ]))
    .unwrap();
    let field_type = |name| generated.field("BatchResponse", name).0;
    assert_eq!(field_type("held_count"), "::std::option::Option<i64>");
    assert_eq!(field_type("held_id"), "::std::option::Option<crate::types::Text>");
    assert_eq!(field_type("held_at"), "::std::option::Option<crate::types::Timestamp>");
    assert_eq!(field_type("held"), "::std::option::Option<Held>");
    assert_eq!(
        field_type("reasons"),
        "::std::option::Option<crate::types::ReceivedList<crate::generated::types::Held>,>"
    );
    let (word, doc) = generated.field("Held", "word");
    assert_eq!(word, "::std::option::Option<crate::types::HeldWord>");
    assert!(doc.contains("New."), "a reference has the documentation of its schema: {doc}");
    assert!(generated.has_table(r#"NoFunds = "no_funds""#), "{}", generated.tables);
}

#[test]
fn values_regions_and_schemas_are_public_at_once() {
    let generated = build(&changed(&[
        ("        - userPlus\n", "        - rocketLaunch\n        - userPlus\n"),
        ("      enum: [AUTO, GSM7, UCS2]", "      enum: [AUTO, GSM7, UCS2, UTF8]"),
        (
            "servers:\n",
            "servers:\n  - {url: 'https://new.example.com', description: Nowhere, x-region: Nowhere}\n",
        ),
        (
            "        encoding:\n",
            "        urgency:\n          $ref: '#/components/schemas/Urgency'\n        encoding:\n",
        ),
        (
            "    Encoding:\n",
            "    Urgency:\n      type: string\n      description: New.\n      enum: [low, high]\n    Encoding:\n",
        ),
    ]))
    .unwrap();
    assert!(generated.has_table(r#"RocketLaunch = "rocketLaunch";"#));
    assert_eq!(generated.variants("Encoding"), ["Auto", "Gsm7", "Ucs2", "Utf8"]);
    assert_eq!(generated.variants("Urgency"), ["Low", "High"]);
    assert!(generated.has_table(r#"Nowhere = "https://new.example.com", "Nowhere";"#));
    assert_eq!(generated.field("SmsFallback", "urgency").0, "::std::option::Option<Urgency>");
}

#[test]
fn every_generated_type_is_non_exhaustive_and_every_field_documented() {
    let generated = build(&text()).unwrap();
    let is = |attrs: &[syn::Attribute], name| attrs.iter().any(|it| it.path().is_ident(name));
    let mut fields = 0;
    for item in generated.types() {
        match item {
            Item::Struct(object) => {
                assert!(is(&object.attrs, "non_exhaustive"), "{}", object.ident);
                for field in &object.fields {
                    let name = field.ident.as_ref().unwrap();
                    assert!(is(&field.attrs, "doc"), "{}.{name}", object.ident);
                    fields += 1;
                }
            }
            Item::Enum(list) => assert!(is(&list.attrs, "non_exhaustive"), "{}", list.ident),
            _ => {}
        }
    }
    assert!(fields > 40, "{fields}");
    for status in ["too_many_requests", "unauthorized", "internal_server_error", "ok"] {
        assert!(generated.mocks.contains(&format!("pub fn {status}(")), "{status}");
    }
}

#[test]
fn values_that_differ_in_case_are_two_unless_case_is_ignored() {
    let generated = build(&changed(&[
        ("      enum:\n        - unknown\n", "      enum:\n        - QUEUED\n        - unknown\n"),
        (
            "      x-enum-descriptions:\n        - The state is not known.",
            "      x-enum-descriptions:\n        - New.\n        - The state is not known.",
        ),
    ]))
    .unwrap();
    assert!(generated.has_table(r#"false #[doc = " The state of a message."] MessageState {"#));
    assert!(generated.has_table(r#"#[doc = " New."] QUEUED = "QUEUED";"#), "{}", generated.tables);
    assert!(generated.has_table(r#"Queued = "queued";"#));

    assert!(
        generated
            .has_table(r#"true #[doc = " The channel of a message. Case-insensitive."] Channel {"#)
    );
    let line = "        - LineNotification\n";
    let named = "        - LineNotification # LineNotification\n";
    let described = "        - LINE Official Notifications. # LineNotification\n";
    let add = |to: &str, value: &str| format!("        - {value}\n{to}");
    for value in ["VIBER", "viber"] {
        let spec = changed(&[
            (line, &add(line, value)),
            (named, &add(named, "Upper")),
            (described, &add(described, "New.")),
        ]);
        let error = build(&spec).err().unwrap();
        assert!(
            error.ends_with(": #/components/schemas/Channel/enum/5: is listed twice"),
            "{error}"
        );
    }
}

#[test]
fn a_new_object_of_a_request_has_a_constructor_and_checks() {
    let generated = build(&changed(&[
        ("        greeting:\n", "        footer:\n          $ref: '#/components/schemas/Footer'\n        greeting:\n"),
        (
            "    ListItem:\n",
            "    Footer:\n      type: object\n      description: New.\n      additionalProperties: false\n      required: [icon, lines]\n      properties:\n        icon:\n          $ref: '#/components/schemas/Icon'\n        lines:\n          type: array\n          minItems: 2\n          description: New.\n          items:\n            $ref: '#/components/schemas/ListItem'\n        note:\n          type: string\n          maxLength: 4\n          description: New.\n    ListItem:\n",
        ),
    ]))
    .unwrap();
    assert_eq!(generated.field("Content", "footer").0, "::std::option::Option<Footer>");
    assert!(generated.has_table(r#"found.object(path, "footer", self.footer.as_ref());"#));
    assert!(generated.has_table("impl super::types::Footer {"));
    assert!(generated.has_table("icon: impl Into<crate::generated::tables::Icon>,"));
    assert!(generated.has_table("lines: impl Into<Vec<crate::generated::types::ListItem>>,"));
    assert!(generated.has_table("note: Default::default(),"), "{}", generated.tables);
    assert!(generated.has_table(r#"found.list(path, "lines", &self.lines, 2..=usize::MAX);"#));
    assert!(generated.has_table(r#"found.length(path, "note", self.note.as_deref(), 4);"#));
    assert!(generated.schemas.contains("Footer"));
}

#[test]
fn generated_code_has_no_path_of_this_machine() {
    let Generated { types, tables, mocks, schemas } = build(&text()).unwrap();
    for code in [quote::quote!(#types).to_string(), tables, mocks, schemas] {
        assert!(!code.contains(env!("CARGO_MANIFEST_DIR")));
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
    assert!(!fs::read_to_string(script).unwrap().contains("rustc-env"));
}

/// The replacements; a text at the line, the column, the pointer and the rule of the error.
type Broken<'a> = (&'a [(&'a str, &'a str)], &'a str, usize, &'a str, &'a str);

const OPERATION: &str = "/paths/~1api~1v1~1subaccounts~1{subAccountId}~1lon~1batch/post";

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn a_broken_spec_is_one_error_with_place_pointer_and_rule() {
    let id = "        clientMessageId:\n          type: string\n          maxLength: 50\n";
    let at_id = "/components/schemas/Message/properties/clientMessageId";
    let in_id = |to: &str| id.replace("maxLength: 50", to);
    let (fifty, pattern) =
        (in_id("maxLength: fifty"), in_id("maxLength: 50\n          pattern: '^a$'"));
    let kind = id.replace("type: string", "type: text");
    let operation = |below: &str| format!("{OPERATION}{below}");
    let cases: &[Broken<'_>] = &[
        // YAML.
        (&[("  title: 8x8", "  title: [8x8")], "  version: '1.0'", 10, "", "not YAML: "),
        (
            &[(
                "        clientMessageId:\n",
                "        user:\n          type: string\n        clientMessageId:\n",
            )],
            "        user:\n          type: string",
            9,
            "",
            "not YAML: duplicated key in mapping",
        ),
        (&[("  version: '1.0'", "\tversion: '1.0'")], "  title: 8x8 LINE", 10, "", "not YAML: "),
        (
            &[("  title: 8x8 LINE Official", "  title: *name\n  x-title: 8x8 LINE Official")],
            "  title: *name",
            10,
            "",
            "not YAML: ",
        ),
        (
            &[("\ninfo:\n", "\n---\ninfo:\n")],
            "openapi: 3.0.3",
            1,
            "",
            "2 YAML documents, expected one",
        ),
        // Keywords of the wrong type.
        (
            &[(id, &fifty)],
            "maxLength: fifty",
            22,
            &format!("{at_id}/maxLength"),
            "has to be a whole number, 0 or more",
        ),
        (
            &[(id, &kind)],
            "type: text",
            17,
            &format!("{at_id}/type"),
            "has to be string, integer, number, boolean, array or object",
        ),
        (
            &[(id, &pattern)],
            "pattern: '^a$'",
            20,
            &format!("{at_id}/pattern"),
            "nothing enforces it",
        ),
        (
            &[("      required: [user, content]", "      required: user")],
            "required: user\n",
            17,
            "/components/schemas/Message/required",
            "has to be a list of strings",
        ),
        (
            &[("      required: [user, content]", "      required: [user, contents]")],
            "required: [user, contents]",
            24,
            "/components/schemas/Message/required/1",
            "requires a member that is not among the properties",
        ),
        (
            &[(
                "        greeting:\n          type: string\n",
                "        greeting:\n          type: string\n          enum: [hello]\n",
            )],
            "enum: [hello]",
            11,
            "/components/schemas/Content/properties/greeting/enum",
            "nothing enforces it; add a rule to `build/tables.rs`, or make it a schema of its own",
        ),
        (
            &[(
                "        greeting:\n          type: string\n",
                "        greeting:\n          type: object\n",
            )],
            "        greeting:\n          type: object",
            9,
            "/components/schemas/Content/properties/greeting",
            "an object has to be a schema of its own",
        ),
        (
            &[(
                "        greeting:\n          type: string\n",
                "        greeting:\n          type: string\n          maxLenght: 50\n",
            )],
            "maxLenght: 50",
            22,
            "/components/schemas/Content/properties/greeting/maxLenght",
            "nothing enforces it; add a rule to `build/tables.rs`, or make it a schema of its own",
        ),
        (
            &[(
                "        greeting:\n          type: string\n",
                "        greeting:\n          type: string\n          format: uuid\n",
            )],
            "format: uuid\n          description: A greeting.",
            19,
            "/components/schemas/Content/properties/greeting/format",
            "nothing enforces it",
        ),
        (
            &[(
                "            $ref: '#/components/schemas/ListItem'\n",
                "            type: string\n",
            )],
            "          items:\n            type: string",
            11,
            "/components/schemas/Content/properties/list/items",
            "nothing enforces it",
        ),
        (
            &[(
                "      required: [user, content]",
                "      required: [user, content, clientMessageId]",
            )],
            "        clientMessageId:\n          type: string\n          maxLength: 50",
            9,
            at_id,
            "a required member of a request has to be a `$ref`, or an array of one",
        ),
        (
            &[(
                "        namespace:\n          $ref: '#/components/schemas/Namespace'\n",
                "        namespace:\n          allOf:\n            - $ref: '#/components/schemas/Namespace'\n",
            )],
            "          allOf:\n",
            11,
            "/components/schemas/DeliveryReceipt/properties/namespace/allOf",
            "has to be left out; the build cannot map it",
        ),
        (
            &[("          items:\n            $ref: '#/components/schemas/MessageResult'\n", "")],
            "        messages:\n          type: array\n          description: >-\n            The result",
            9,
            "/components/schemas/BatchResponse/properties/messages",
            "an array needs `items`",
        ),
        (
            &[(
                "            $ref: '#/components/schemas/MessageResult'\n",
                "            type: string\n",
            )],
            "          items:\n            type: string",
            11,
            "/components/schemas/BatchResponse/properties/messages/items",
            "the items of a response have to be a `$ref`",
        ),
        (
            &[(
                "          description: The clientMessageId of the request.\n",
                "          enum: [a]\n          description: New.\n",
            )],
            "\n  schemas:",
            3,
            "/components/schemas",
            "a string is left without a text type",
        ),
        // References.
        (
            &[(
                "            $ref: '#/components/schemas/Message'\n",
                "            $ref: '#/components/schemas/Massage'\n",
            )],
            "Massage",
            19,
            "/components/schemas/BatchRequest/properties/messages/items/$ref",
            "`#/components/schemas/Massage` does not exist",
        ),
        (
            &[(
                "          $ref: '#/components/schemas/MessageStatus'\n",
                "          $ref: '#/components/schemas/SmsFallback'\n",
            )],
            "    SmsFallback:\n",
            5,
            "/components/schemas/SmsFallback",
            "used by both requests and responses; copy the schema and give each side its own",
        ),
        (
            &[(
                "            $ref: '#/components/schemas/ListItem'\n",
                "            $ref: '#/components/schemas/Content'\n",
            )],
            "    Content:\n",
            5,
            "/components/schemas/Content",
            "contains itself; the build cannot map it",
        ),
        // The operation.
        (
            &[("openapi: 3.0.3", "openapi: 3.1.0")],
            "openapi: 3.1.0",
            10,
            "/openapi",
            "the generator supports OpenAPI 3.0.x only",
        ),
        (
            &[(
                "  /api/v1/subaccounts/{subAccountId}/lon/batch:",
                "  /api/v2/subaccounts/{subAccountId}/lon/batch:",
            )],
            "\npaths:",
            1,
            OPERATION,
            "is missing; the client is generated from this operation",
        ),
        (
            &[("operationId: sendLonBatch", "operationId: sendBatch")],
            "operationId: sendBatch",
            20,
            &operation("/operationId"),
            "has to be `sendLonBatch`",
        ),
        (
            &[("        '429':", "        default:")],
            "        default:\n",
            9,
            &operation("/responses/default"),
            "has to be a status of three digits; the generator treats `default` as a success",
        ),
        (
            &[("      callbacks:\n", "      x-callbacks:\n")],
            "    post:\n      operationId: sendLonBatch",
            5,
            &operation("/callbacks"),
            "has to post a `DeliveryReceipt`",
        ),
        (
            &[("          in: path\n", "          in: pathway\n")],
            "    post:\n      operationId: sendLonBatch",
            5,
            OPERATION,
            "not OpenAPI 3.0: unknown variant `pathway`",
        ),
        (
            &[(
                "              schema:\n                $ref: '#/components/schemas/BatchResponse'\n",
                "              schema:\n                $ref: '#/components/schemas/MessageResult'\n",
            )],
            "                $ref: '#/components/schemas/MessageResult'\n              example",
            23,
            &operation("/responses/200/content/application~1json/schema/$ref"),
            "has to be `#/components/schemas/BatchResponse`",
        ),
        (
            &[(
                "                      $ref: '#/components/schemas/DeliveryReceipt'\n",
                "                      $ref: '#/components/schemas/BatchResponse'\n",
            )],
            "      callbacks:\n",
            7,
            &operation("/callbacks"),
            "has to post a `DeliveryReceipt`",
        ),
        (
            &[("  title: 8x8 LINE Official Notification batch API\n", "")],
            "openapi: 3.0.3",
            1,
            "",
            "#: not OpenAPI 3.0: missing field `title`",
        ),
        // Parts that handwritten code relies on.
        (
            &[
                ("    MessageState:\n", "    MessageStatus2:\n"),
                ("schemas/MessageState'", "schemas/MessageStatus2'"),
                ("schemas/MessageState'", "schemas/MessageStatus2'"),
            ],
            "\n  schemas:",
            3,
            "/components/schemas/MessageState",
            "is missing; handwritten code uses its type",
        ),
        (
            &[("          maxItems: 1000\n", "")],
            "        messages:\n          type: array\n          minItems",
            9,
            "/components/schemas/BatchRequest/properties/messages/maxItems",
            "is missing; the crate has a constant for it",
        ),
        (
            &[("    x-region: Europe\n", "    x-region: AsiaPacific\n")],
            "x-region: AsiaPacific",
            15,
            "/servers/2/x-region",
            "has to be a name of its own, such as `AsiaPacific`",
        ),
        (
            &[("  - url: https://chatapps.8x8.uk", "  - url: http://chatapps.8x8.uk")],
            "url: http://chatapps.8x8.uk",
            10,
            "/servers/2/url",
            "has to be an https URL without a slash at its end",
        ),
        (
            &[("      pattern: '^[A-Za-z0-9\\-._&]{3,50}$'", "      pattern: '^[a-z]{3,50}$'")],
            "pattern: '^[a-z]{3,50}$'",
            16,
            "/components/schemas/SubAccountId/pattern",
            "differs from what `src/types/sub_account.rs` checks",
        ),
        (
            &[("    description: Europe\n", "    description: ''\n")],
            "description: ''",
            18,
            "/servers/2/description",
            "has to be the name of the region",
        ),
        // Enums.
        (
            &[("        - userPlus\n", "        - userPlus\n        - userPlus\n")],
            "        - userPlus\n        - chat",
            11,
            "/components/schemas/Icon/enum/1",
            "is listed twice",
        ),
        (
            &[("        - userPlus\n", "        - userPlus\n        - 7\n")],
            "        - 7\n",
            11,
            "/components/schemas/Icon/enum/1",
            "differs from the `type` of the schema",
        ),
        (
            &[("        - userPlus\n", "        - userPlus\n        - 7up\n")],
            "        - 7up\n",
            11,
            "/components/schemas/Icon/enum/1",
            "has no name of its own; list names in `x-enum-varnames`",
        ),
        (
            &[("        - 1000\n", "        - 1000\n        - 1000\n")],
            "      x-enum-varnames:\n        - TooManyRequests",
            7,
            "/components/schemas/ErrorCode/x-enum-varnames",
            "78 entries for 79 values",
        ),
        (
            &[("        - 1001\n", "        - 1000\n")],
            "        - 1000\n        - 1002",
            11,
            "/components/schemas/ErrorCode/enum/2",
            "is listed twice",
        ),
        (
            &[("      enum: [AUTO, GSM7, UCS2]", "      enum: [AUTO, GSM7, AUTO]")],
            "AUTO]",
            26,
            "/components/schemas/Encoding/enum/2",
            "is listed twice",
        ),
        (
            &[("      enum: [AUTO, GSM7, UCS2]", "      enum: [AUTO, GSM7, auto]")],
            "auto]",
            26,
            "/components/schemas/Encoding/enum/2",
            "is listed twice",
        ),
        (
            &[("        - ChatApps # ChatApps\n", "        - Other # ChatApps\n")],
            "Other # ChatApps",
            11,
            "/components/schemas/Namespace/x-enum-varnames/0",
            "has no name of its own; list names in `x-enum-varnames`",
        ),
        (
            &[("      x-ignore-case: true\n", "      x-ignore-case: often\n")],
            "x-ignore-case: often",
            22,
            "/components/schemas/Namespace/x-ignore-case",
            "has to be true or false",
        ),
        // Steps of the build.
        (
            &[("          default: false\n", "")],
            "\n  schemas:",
            3,
            "/components/schemas",
            "the step `without_defaults` of `build/generate.rs` no longer applies; remove it",
        ),
    ];
    let mut wrong = Vec::new();
    for (changes, at, column, pointer, rule) in cases {
        let text = changed(changes);
        let place = text.rfind(at).unwrap_or_else(|| panic!("{at:?} is not in the spec"));
        let start = place + at.len() - at.trim_start_matches('\n').len();
        let line = text[..start].matches('\n').count() + 1;
        let pointer = if pointer.is_empty() { String::new() } else { format!("#{pointer}: ") };
        let expected = format!("{FILE}:{line}:{column}: {pointer}{rule}");
        let error = build(&text).err().expect(rule);
        if !error.starts_with(&expected) {
            wrong.push(format!("{expected}\n{error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
