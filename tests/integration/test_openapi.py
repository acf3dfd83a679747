"""The OpenAPI document describes every setting and its default."""

from typing import Any

import pytest

from tests.support.service import RunningService

SETTINGS = (
    "NewNetwork",
    "LayerFields",
    "NewDataset",
    "NewJob",
    "ValidationFields",
    "EarlyStoppingFields",
    "StageFields",
    "NewEvaluation",
    "NewPrediction",
    "NewBatchPrediction",
    "PreprocessingFields",
    "CheckpointFields",
    "ResumeFields",
    "JobChange",
    "Cancellation",
    "Publication",
    "NetworkChange",
    "NewClone",
    "TagFields",
)
TAGGED_UNIONS = ("optimizer", "schedule")


@pytest.fixture(scope="module")
def schemas(service: RunningService) -> dict[str, Any]:
    components: dict[str, Any] = service.get("/openapi.json")["components"]["schemas"]
    return components


def description(field: dict[str, Any], schemas: dict[str, Any]) -> str:
    """Return the description of a field, or those of the schemas that it references."""
    parts = [field, *field.get("anyOf", [])]
    parts += [schemas[part["$ref"].split("/")[-1]] for part in parts if "$ref" in part]
    return " ".join(str(part["description"]) for part in parts if "description" in part)


def members(schemas: dict[str, Any]) -> list[str]:
    """Return the schemas of all optimizers and schedules."""
    text = str([schemas["NewJob"]["properties"][name] for name in TAGGED_UNIONS])
    return [name for name in schemas if f"'#/components/schemas/{name}'" in text]


def test_every_setting_has_a_description(schemas: dict[str, Any]) -> None:
    objects = [name for name in SETTINGS if name in schemas] + members(schemas)
    assert {"NewJob", "NewNetwork", "LayerFields", "Adam", "Lbfgs", "Cosine", "StageFields"} <= set(objects)
    undescribed = [
        f"{name}.{field}"
        for name in objects
        for field, schema in schemas[name]["properties"].items()
        if field != "type" and not description(schema, schemas)
    ]
    assert undescribed == []


def test_every_optional_setting_has_a_default(schemas: dict[str, Any]) -> None:
    for name in ("NewNetwork", "LayerFields", "NewJob", *members(schemas)):
        required = schemas[name].get("required", [])
        for field, schema in schemas[name]["properties"].items():
            assert field in required or field in TAGGED_UNIONS or "default" in schema or "null" in str(schema), (
                f"{name}.{field}"
            )
