"""Rows to be predicted, and what comes back: each kind of them travels in the form that costs least."""

from collections.abc import Mapping
from typing import Any

from app.client.arrays import as_npy, from_npy, is_array
from app.client.encoding import ARROW_STREAM, NPY, as_text
from app.client.frames import frame_like, is_frame, stream
from app.schemas.predictions import PredictionView


def request_for(rows: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """What is sent: lists and objects as JSON, an array as .npy, a table as an Arrow stream."""
    given = {name: value for name, value in options.items() if value is not None}
    if is_frame(rows):
        return _binary(b"".join(stream(rows)), ARROW_STREAM, given)
    if is_array(rows):
        return _binary(as_npy(rows), NPY, given)
    rows = list(rows)
    field = "rows" if rows and isinstance(rows[0], Mapping) else "inputs"
    return {"json": {field: rows, **given}}


def _binary(content: bytes, kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    headers = {"Content-Type": kind, "Accept": kind}
    return {"content": content, "headers": headers, "params": as_text(options)}


def answer_for(rows: Any, content: bytes) -> Any:
    """As the rows were."""
    if is_frame(rows):
        return frame_like(rows, content)
    if is_array(rows):
        return from_npy(content)
    return PredictionView.model_validate_json(content)
