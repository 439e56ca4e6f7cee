//! The build: what it says of a broken spec, and what it depends on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[allow(dead_code, reason = "the build uses the rest")]
#[path = "../../build/spec.rs"]
mod reader;

pub const FILE: &str = "spec/lon-batch.yaml";

/// The spec as it is committed.
pub fn committed() -> reader::Spec {
    reader::Spec::parse(FILE, &text()).unwrap()
}

pub fn text() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE)).unwrap()
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("spec")).unwrap();
    folder
}

/// The build script of this crate, the very program, in a folder with another spec.
fn build_script(folder: &Path) -> Command {
    let mut script = Command::new(env!("LON_BATCH_BUILD_SCRIPT"));
    script.current_dir(folder).env("OUT_DIR", folder);
    script
}

/// Builds another spec. `Err` is what the build says.
fn build(name: &str, spec: &str) -> Result<PathBuf, String> {
    let folder = folder(name);
    fs::write(folder.join(FILE), spec).unwrap();
    let mut script = build_script(&folder);
    let output = script.env("CARGO_FEATURE_MOCK", "1").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let noise = String::from_utf8(output.stderr).unwrap();
    let errors: Vec<_> =
        said.lines().filter_map(|line| line.strip_prefix("cargo::error=")).collect();
    match (output.status.success(), errors.as_slice()) {
        (true, []) => Ok(folder),
        (false, [error]) if noise.is_empty() => Err((*error).to_owned()),
        _ => panic!("{said}\n{noise}"),
    }
}

/// The spec with one place changed.
fn changed(from: &str, to: &str) -> String {
    let text = text();
    assert!(text.contains(from), "{from:?} is not in the spec");
    text.replacen(from, to, 1)
}

/// The line, from 1, that has a text, the last where several have it.
fn line_of(spec: &str, text: &str) -> usize {
    let at = spec.rfind(text).unwrap_or_else(|| panic!("{text:?} is not in the spec"));
    let start = at + text.len() - text.trim_start_matches('\n').len();
    spec[..start].matches('\n').count() + 1
}

#[test]
fn a_broken_spec_is_one_error_with_its_place_and_the_rule() {
    let operation = "/paths/~1api~1v1~1subaccounts~1{subAccountId}~1lon~1batch/post";
    let callback = &format!(
        "{operation}/callbacks/deliveryReceipt/{{$request.body#~1messages~10~1dlrCallbackUrl}}"
    );
    let message_id = "        clientMessageId:\n          type: string\n          maxLength: 50\n";
    let in_id = |to: &str| message_id.replace("maxLength: 50", to);
    let at_id = "/components/schemas/Message/properties/clientMessageId";
    // What is replaced, by what; a text at the line, the column, the pointer and the rule that are
    // told.
    let cases: Vec<(&str, String, &str, usize, String, &str)> = vec![
        // YAML.
        (
            "  title: 8x8",
            "  title: [8x8".into(),
            "  version: '1.0'",
            10,
            String::new(),
            "not YAML: ",
        ),
        (
            "  version: '1.0'",
            "\tversion: '1.0'".into(),
            "  title: 8x8 LINE",
            10,
            String::new(),
            "not YAML: ",
        ),
        (
            "        clientMessageId:\n",
            "        user:\n          type: string\n        clientMessageId:\n".into(),
            "        user:\n          type: string",
            9,
            String::new(),
            "not YAML: duplicated key in mapping",
        ),
        // Types.
        (
            message_id,
            in_id("maxLength: fifty"),
            "maxLength: fifty",
            22,
            format!("{at_id}/maxLength"),
            "has to be a whole number, 0 or more",
        ),
        (
            message_id,
            message_id.replace("type: string", "type: text"),
            "type: text",
            17,
            format!("{at_id}/type"),
            "has to be one of string, integer, number, boolean, array, object",
        ),
        (
            message_id,
            in_id("maxLenght: 50"),
            "maxLenght: 50",
            22,
            format!("{at_id}/maxLenght"),
            "is no keyword of a schema that this crate reads",
        ),
        (
            "      required: [user, content]",
            "      required: user".into(),
            "required: user\n",
            17,
            "/components/schemas/Message/required".into(),
            "has to be a list of names",
        ),
        (
            "      required: [user, content]",
            "      required: [user, contents]".into(),
            "required: [user, contents]",
            24,
            "/components/schemas/Message/required/1".into(),
            "requires a member that is not among the properties",
        ),
        (
            "      required: [user, content]",
            "      required: [user]".into(),
            "required: [user]",
            7,
            "/components/schemas/Message/required".into(),
            "has to be [user, content], which the builders give",
        ),
        (
            "            msisdn:\n              type: string\n              format: received-text\n",
            "            msisdn:\n              type: string\n".into(),
            "            msisdn:\n              type: string\n              nullable",
            13,
            "/components/schemas/MessageResult/properties/user/properties/msisdn".into(),
            "a text of a response has to have one of the formats opaque-id, lenient-date-time, received-text",
        ),
        (
            "        greeting:\n          type: string\n",
            "        greeting:\n          type: string\n          format: uuid\n".into(),
            "format: uuid",
            19,
            "/components/schemas/Content/properties/greeting/format".into(),
            "a text of a request has no format but `uri` here",
        ),
        (
            "        greeting:\n          type: string\n",
            "        greeting:\n          type: string\n          enum: [hello]\n".into(),
            "enum: [hello]",
            11,
            "/components/schemas/Content/properties/greeting/enum".into(),
            "a list of values has to be a schema of its own, with a `$ref` to it",
        ),
        (
            "          in: path\n",
            "          in: pathway\n".into(),
            "        - name: subAccountId",
            11,
            format!("{operation}/parameters/0"),
            "not OpenAPI 3.0: ",
        ),
        (
            "  title: 8x8 LINE Official Notification batch API\n",
            String::new(),
            "\ninfo:",
            1,
            "/info".into(),
            "not OpenAPI 3.0: missing field `title`",
        ),
        // What this crate needs.
        (
            "openapi: 3.0.3",
            "openapi: 3.1.0".into(),
            "openapi: 3.1.0",
            10,
            "/openapi".into(),
            "the generator reads OpenAPI 3.0.x only",
        ),
        (
            "            $ref: '#/components/schemas/Message'\n",
            "            $ref: '#/components/schemas/Massage'\n".into(),
            "Massage",
            19,
            "/components/schemas/BatchRequest/properties/messages/items/$ref".into(),
            "`#/components/schemas/Massage` does not exist",
        ),
        (
            "  /api/v1/subaccounts/{subAccountId}/lon/batch:",
            "  /api/v2/subaccounts/{subAccountId}/lon/batch:".into(),
            "\npaths:",
            1,
            operation.into(),
            "is missing; the client is made of this operation, at this path",
        ),
        (
            "operationId: sendLonBatch",
            "operationId: sendBatch".into(),
            "operationId: sendBatch",
            20,
            format!("{operation}/operationId"),
            "has to be `sendLonBatch`",
        ),
        (
            "          maxItems: 1000\n",
            String::new(),
            "        messages:\n          type: array\n          minItems",
            9,
            "/components/schemas/BatchRequest/properties/messages/maxItems".into(),
            "is missing; the crate checks the number of messages against it",
        ),
        (
            "    x-region: Europe\n",
            "    x-region: Indonesia\n".into(),
            "x-region: Indonesia",
            15,
            "/servers/3/x-region".into(),
            "names a region that another server has",
        ),
        (
            "  - url: https://chatapps.8x8.uk",
            "  - url: http://chatapps.8x8.uk".into(),
            "url: http://chatapps.8x8.uk",
            10,
            "/servers/2/url".into(),
            "has to be an https URL without a slash at its end",
        ),
        (
            "        '429':",
            "        default:".into(),
            "        default:\n",
            9,
            format!("{operation}/responses/default"),
            "has to be a status of three digits (the generator takes `default` for a success)",
        ),
        (
            "        - {value: queued, description",
            "        - {value: queued, says".into(),
            "- {value: queued, says",
            33,
            "/components/schemas/MessageState/x-known-values/1/says".into(),
            "is not one of value, name, description (quote a text with a comma)",
        ),
        (
            "        - {value: 1002, name: InvalidMsisdn",
            "        - {value: 1002, name: IllegalSubAccountId".into(),
            "- {value: 1002, name: Illegal",
            11,
            "/components/schemas/ErrorCode/x-known-values/3".into(),
            "is listed twice",
        ),
        (
            "    MessageState:\n      type: string\n",
            "    MessageState:\n      type: string\n      enum: [queued]\n".into(),
            "enum: [queued]",
            7,
            "/components/schemas/MessageState/enum".into(),
            "a response has no closed list; write x-known-values",
        ),
        (
            "        namespace:\n          $ref: '#/components/schemas/Namespace'\n",
            "        namespace:\n          nullable: true\n          allOf:\n            - enum: [ChatApps]\n".into(),
            "            - enum: [ChatApps]",
            15,
            "/components/schemas/DeliveryReceipt/properties/namespace/allOf/0/enum".into(),
            "a response has no closed list; write x-known-values",
        ),
        (
            "    BatchResponse:\n      type: object\n",
            "    BatchResponse:\n      type: object\n      additionalProperties: false\n".into(),
            "additionalProperties: false\n      description: What the platform says",
            29,
            "/components/schemas/BatchResponse/additionalProperties".into(),
            "a response has no closed object",
        ),
        (
            "        acceptedCount:\n          type: integer\n          format: int64\n          nullable: true\n",
            "        acceptedCount:\n          type: integer\n          format: int64\n".into(),
            "        acceptedCount:\n          type: integer",
            9,
            "/components/schemas/BatchResponse/properties/acceptedCount".into(),
            "a member of a response has to be nullable",
        ),
        (
            "        greeting:\n          type: string\n",
            "        greeting:\n          type: string\n          pattern: '^a$'\n".into(),
            "pattern: '^a$'",
            20,
            "/components/schemas/Content/properties/greeting/pattern".into(),
            "nothing in this crate checks it; teach `build/tables.rs` to, or give the value a type of its own",
        ),
        (
            "      pattern: '^[A-Za-z0-9\\-._&]{3,50}$'",
            "      pattern: '^[a-z]{3,50}$'".into(),
            "pattern: '^[a-z]{3,50}$'",
            16,
            "/components/schemas/SubAccountId/pattern".into(),
            "`src/sub_account.rs` checks another pattern; change it there too, and in `build/check.rs`",
        ),
        (
            "          default: false\n",
            String::new(),
            "\n  schemas:",
            3,
            "/components/schemas".into(),
            "the step `without_default` of the build finds nothing to do here; remove the step",
        ),
        (
            "            $ref: '#/components/schemas/ListItem'\n",
            "            $ref: '#/components/schemas/Content'\n".into(),
            "          items:\n            $ref: '#/components/schemas/Action'",
            11,
            "/components/schemas/Content/properties/actions/items".into(),
            "a schema cannot contain itself here",
        ),
        // What is said of a receipt.
        (
            "      callbacks:\n",
            "      x-callbacks:\n".into(),
            "    post:\n      operationId: sendLonBatch",
            5,
            format!("{operation}/callbacks"),
            "is missing; the platform posts receipts to it",
        ),
        (
            "                      $ref: '#/components/schemas/DeliveryReceipt'\n",
            "                      $ref: '#/components/schemas/BatchResponse'\n".into(),
            "                      $ref: '#/components/schemas/BatchResponse'",
            29,
            format!("{callback}/post/requestBody/content/application~1json/schema/$ref"),
            "has to be `#/components/schemas/DeliveryReceipt`",
        ),
        (
            "                      $ref: '#/components/schemas/DeliveryReceipt'\n",
            "                      type: object\n".into(),
            "                    schema:\n                      type: object",
            21,
            format!("{callback}/post/requestBody/content/application~1json/schema/$ref"),
            "is missing; the crate reads what is posted",
        ),
        (
            "            post:\n              operationId: deliveryReceipt",
            "            put:\n              operationId: deliveryReceipt".into(),
            "          '{$request.body#/messages/0/dlrCallbackUrl}':",
            11,
            format!("{callback}/post/requestBody/content/application~1json/schema/$ref"),
            "is missing; the crate reads what is posted",
        ),
        (
            "        deliveryReceipt:\n          '{$request",
            "        {}\n      x-callbacks:\n        deliveryReceipt:\n          '{$request".into(),
            "      callbacks:\n",
            7,
            format!("{operation}/callbacks"),
            "has to have a callback, which the platform posts receipts to",
        ),
        (
            "          description: The id that the platform gave to the message.\n          example: d03cbbf5-3e2d-ea11-815d-020897df5459\n        batchId",
            "          nullable: true\n          description: The id that the platform gave to the message.\n          example: d03cbbf5-3e2d-ea11-815d-020897df5459\n        batchId".into(),
            "          nullable: true\n          description: The id that the platform gave to the message.\n          example: d03cbbf5-3e2d-ea11-815d-020897df5459\n        batchId",
            21,
            "/components/schemas/ReceiptPayload/properties/umid/nullable".into(),
            "cannot be null, a receipt without it says nothing",
        ),
        (
            "      required: [payload]\n",
            String::new(),
            "    DeliveryReceipt:\n      type",
            5,
            "/components/schemas/DeliveryReceipt".into(),
            "has to require `payload`, without which a receipt says nothing",
        ),
        (
            "      required: [umid, status]\n",
            "      required: [status]\n".into(),
            "    ReceiptPayload:\n",
            5,
            "/components/schemas/ReceiptPayload".into(),
            "has to require `umid`, without which a receipt says nothing",
        ),
        (
            "      required: [umid, status]\n",
            "      required: [umid]\n".into(),
            "    ReceiptPayload:\n",
            5,
            "/components/schemas/ReceiptPayload".into(),
            "has to require `status`, without which a receipt says nothing",
        ),
        (
            "      required: [state]\n",
            String::new(),
            "    ReceiptStatus:\n",
            5,
            "/components/schemas/ReceiptStatus".into(),
            "has to require `state`, without which a receipt says nothing",
        ),
        (
            "          nullable: true\n          description: The id that the platform gave to the batch.\n          example: cf3cbbf5-3e2d-ea11-815d-020897df5459\n        clientMessageId",
            "          description: The id that the platform gave to the batch.\n          example: cf3cbbf5-3e2d-ea11-815d-020897df5459\n        clientMessageId".into(),
            "        batchId:\n",
            9,
            "/components/schemas/ReceiptPayload/properties/batchId".into(),
            "a member of a response has to be nullable",
        ),
        (
            "              nullable: true\n              description: The country of the number.\n",
            "              description: The country of the number.\n".into(),
            "            country:\n",
            13,
            "/components/schemas/ReceiptPayload/properties/user/properties/country".into(),
            "a member of a response has to be nullable",
        ),
        (
            "      required: [umid, status]\n",
            "      required: [umid, status, channel]\n".into(),
            "        channel:\n",
            9,
            "/components/schemas/ReceiptPayload/properties/channel".into(),
            "a member of a response has to be nullable",
        ),
        (
            "          format: received-text\n          nullable: true\n          description: The event, in words.\n",
            "          nullable: true\n          description: The event, in words.\n".into(),
            "        description:\n          type: string\n          nullable: true\n          description: The event, in words.",
            9,
            "/components/schemas/DeliveryReceipt/properties/description".into(),
            "a text of a response has to have one of the formats opaque-id, lenient-date-time, received-text",
        ),
        (
            "          format: opaque-id\n          description: The id that the platform gave to the message.\n          example: d03cbbf5-3e2d-ea11-815d-020897df5459\n        batchId",
            "          description: The id that the platform gave to the message.\n          example: d03cbbf5-3e2d-ea11-815d-020897df5459\n        batchId".into(),
            "        umid:\n",
            9,
            "/components/schemas/ReceiptPayload/properties/umid".into(),
            "a text of a response has to have one of the formats opaque-id, lenient-date-time, received-text",
        ),
        (
            "          format: received-text\n          nullable: true\n          description: What went wrong, in words.\n          example: Absent",
            "          format: received-text\n          nullable: true\n          maxLength: 99\n          description: What went wrong, in words.\n          example: Absent".into(),
            "maxLength: 99",
            22,
            "/components/schemas/ReceiptStatus/properties/errorMessage/maxLength".into(),
            "a response has no limit of length",
        ),
        (
            "      description: The channel that a message went through.\n      example: LineNotification\n      x-ignore-case: true\n",
            "      description: The channel that a message went through.\n      example: LineNotification\n      x-ignore-case: often\n".into(),
            "x-ignore-case: often",
            22,
            "/components/schemas/Channel/x-ignore-case".into(),
            "has to be true or false, of a list of texts",
        ),
        (
            "      example: 1\n      x-known-values:\n",
            "      example: 1\n      x-ignore-case: true\n      x-known-values:\n".into(),
            "      x-ignore-case: true\n      x-known-values:\n        - {value: 0",
            22,
            "/components/schemas/ReceiptErrorCode/x-ignore-case".into(),
            "has to be true or false, of a list of texts",
        ),
        (
            "        - {value: sms, description: SMS.}\n",
            "        - {value: sms, description: SMS.}\n        - {value: LINE, name: Upper}\n".into(),
            "- {value: LINE, name: Upper}",
            11,
            "/components/schemas/Channel/x-known-values/3".into(),
            "is listed twice",
        ),
    ];
    let mut tried = 0;
    let mut wrong = Vec::new();
    for (index, (from, to, at, column, pointer, rule)) in cases.into_iter().enumerate() {
        tried += 1;
        let spec = changed(from, &to);
        let line = line_of(&spec, at);
        let said = build(&format!("broken-{index}"), &spec).expect_err(rule);
        let place = format!("{FILE}:{line}:{column}: ");
        let pointer = if pointer.is_empty() { String::new() } else { format!("#{pointer}: ") };
        let expected = format!("{place}{pointer}{rule}");
        if !said.starts_with(&expected) {
            wrong.push(format!("{expected}\n{said}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(tried >= 45);
}

#[test]
fn values_that_differ_in_case_are_two_where_case_matters() {
    let queued = "        - {value: queued, description";
    let spec = changed(queued, &format!("        - {{value: QUEUED, name: Upper}}\n{queued}"));
    let folder = build("case", &spec).unwrap();
    let tables = fs::read_to_string(folder.join("tables.rs")).unwrap();
    assert!(tables.contains(r#"Upper = "QUEUED";"#), "{tables}");
}

#[test]
fn a_spec_that_is_not_there() {
    let folder = folder("no-spec");
    let output = build_script(&folder).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success());
    assert!(said.contains("cargo::error=spec/lon-batch.yaml: "), "{said}");
}

#[test]
fn the_build_depends_on_the_spec_and_on_itself_alone() {
    let folder = folder("inputs");
    fs::write(folder.join(FILE), text()).unwrap();
    let output = build_script(&folder).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let inputs: Vec<_> =
        said.lines().filter_map(|line| line.strip_prefix("cargo::rerun-if-changed=")).collect();
    assert_eq!(inputs, [FILE, "build.rs", "build"]);
    assert!(!folder.join("mocks.rs").exists(), "the mocks are a feature");
}
