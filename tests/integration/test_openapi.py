"""The OpenAPI document says of every setting what it means, and what it is when it is left out."""

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
KINDS = ("optimizer", "schedule")


@pytest.fixture(scope="module")
def schemas(service: RunningService) -> dict[str, Any]:
    found: dict[str, Any] = service.get("/openapi.json")["components"]["schemas"]
    return found


def meaning(field: dict[str, Any], schemas: dict[str, Any]) -> str:
    """Its description, or that of what it may be."""
    parts = [field, *field.get("anyOf", [])]
    parts += [schemas[part["$ref"].split("/")[-1]] for part in parts if "$ref" in part]
    return " ".join(str(part["description"]) for part in parts if "description" in part)


def kinds(schemas: dict[str, Any]) -> list[str]:
    """The objects that a job's optimizer or schedule may be."""
    text = str([schemas["NewJob"]["properties"][name] for name in KINDS])
    return [name for name in schemas if f"'#/components/schemas/{name}'" in text]


def test_every_setting_has_a_meaning(schemas: dict[str, Any]) -> None:
    objects = [name for name in SETTINGS if name in schemas] + kinds(schemas)
    assert {"NewJob", "NewNetwork", "LayerFields", "Adam", "Lbfgs", "Cosine", "StageFields"} <= set(objects)
    without = [
        f"{name}.{field}"
        for name in objects
        for field, what in schemas[name]["properties"].items()
        if field != "type" and not meaning(what, schemas)
    ]
    assert without == []


def test_every_setting_that_may_be_left_out_has_a_default_or_says_what_it_is(schemas: dict[str, Any]) -> None:
    for name in ("NewNetwork", "LayerFields", "NewJob", *kinds(schemas)):
        required = schemas[name].get("required", [])
        for field, what in schemas[name]["properties"].items():
            assert field in required or field in KINDS or "default" in what or "null" in str(what), f"{name}.{field}"
