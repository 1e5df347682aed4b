//! The JSON Schema of a spec, which the platform validates a submit against before it stores anything.

use serde_json::{Value, json};

use super::make_seeds::{MAX_INSTRUCTIONS, MAX_SEEDS};

/// JSON Schema (2020-12) of [`super::JobSpec`].
pub fn json_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "generate",
        "description": "Seed records and a template become a synthetic dataset.",
        "type": "object",
        "required": ["records"],
        "if": {"required": ["make_seeds"]},
        "then": {
            "properties": {
                "template": false,
                "seed": false,
                "records": {"maximum": MAX_SEEDS}
            }
        },
        "else": {"required": ["template", "seed"]},
        "additionalProperties": false,
        "properties": {
            "schema_version": {"const": 1, "default": 1},
            "template": template(),
            "seed": seed(),
            "make_seeds": make_seeds(),
            "records": {"type": "integer", "minimum": 1, "maximum": 10_000_000},
            "budget_usd": {
                "anyOf": [
                    {"type": "number", "exclusiveMinimum": 0},
                    {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?$"},
                    {"type": "null"}
                ],
                "description": "The most that the job may cost, in USD."
            },
            "formats": {
                "type": "array", "minItems": 1, "uniqueItems": true, "default": ["jsonl"],
                "items": {"enum": ["jsonl", "csv", "parquet"]}
            },
            "pairing": {"enum": ["random", "sequential", "product"], "default": "random"},
            "random_seed": {
                "type": ["integer", "null"], "minimum": 0, "maximum": 9_007_199_254_740_991_u64,
                "description": "Same seed, same prompts. Drawn and pinned at submit when absent."
            },
            "shard_size": {"type": "integer", "minimum": 1, "maximum": 10_000, "default": 500},
            "concurrency": {"type": "integer", "minimum": 1, "maximum": 1_024, "default": 16},
            "on_invalid": {"enum": ["skip", "fail"], "default": "skip"},
            "on_record_error": {"enum": ["skip", "fail"], "default": "skip"},
            "max_error_rate": {
                "type": "number", "minimum": 0, "maximum": 1, "default": 0.2,
                "description": "Above this share of failed records (after 50) the job fails. Retrying it accepts what has failed so far: \
                                errors are counted anew, and those records stay rejects.",
            },
            "refill": {"type": "boolean", "default": false},
            "overrides": overrides(),
            "partition_by": {
                "type": "string", "minLength": 1, "default": "none",
                "description": "none, date (of the record's creation), or a field of the output. A record whose value is a list, an \
                                object, too long for a folder's name, or beyond 500 others stands in FIELD=__OTHER__."
            },
            "dedup": {"enum": ["none", "exact", "near"], "default": "none"}
        }
    })
}

fn template() -> Value {
    json!({
        "type": "string",
        "pattern": "^[a-z0-9][a-z0-9._-]{0,99}(@(latest|[1-9][0-9]{0,9}))?$",
        "description": "id@version or name@version; without a version, or with @latest, the latest is pinned."
    })
}

fn seed() -> Value {
    json!({
        "type": "string",
        "pattern": "^(sample:[a-z0-9][a-z0-9._-]{0,99}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$",
        "description": "The id of a stored upload, or sample:NAME."
    })
}

fn overrides() -> Value {
    let model = json!({"type": "string", "minLength": 1, "description": "An alias or a model id."});
    let temperature = json!({"type": "number", "minimum": 0, "maximum": 2});
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "model": model,
            "temperature": temperature,
            "steps": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": {
                        "model": model,
                        "temperature": temperature,
                        "max_tokens": {"type": "integer", "minimum": 1, "maximum": 4_294_967_295_u64}
                    }
                }
            }
        }
    })
}

fn make_seeds() -> Value {
    json!({
        "type": "object",
        "description": "Make seed records like an example instead of a dataset from seed records.",
        "required": ["example"],
        "additionalProperties": false,
        "properties": {
            "example": {"type": "object", "minProperties": 1},
            "instructions": {"type": "string", "maxLength": MAX_INSTRUCTIONS}
        }
    })
}
