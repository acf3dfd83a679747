"""Answers to requests to infer."""

from typing import Any

import msgspec
import numpy as np
from fastapi import Response

from app.inference.models import LABELS, OUTPUTS, PROBABILITIES, outputs_of
from app.inference.requests import Inference, Output
from app.inference.tensors import Array, Tensor, tensor_of
from engine.errors import InvalidInput, TooLarge
from engine.jobs.network import NetworkRecord, Version
from engine.training.evaluation import predicted_codes
from engine.training.model import Answers
from engine.training.probabilities import likeliest, scores_of

JSON_LENGTH = "Inference-Header-Content-Length"
# Numbers.
_MOST_IN_JSON = 2**22


class _Inferred(msgspec.Struct, omit_defaults=True):
    model_name: str
    model_version: str
    outputs: list[Tensor[Any]]
    id: str | None = None
    parameters: dict[str, Any] = {}


def wanted_outputs(inference: Inference[Any], network: NetworkRecord, version: Version) -> list[Output]:
    """All, if it names none. Raises InvalidInput."""
    known = [described.name for described in outputs_of(network.architecture, version)]
    wanted = inference.outputs or [Output(name) for name in known]
    named: set[str] = set()
    for output in wanted:
        if output.name not in known:
            raise InvalidInput(output.name, f"There is no such output. The outputs are {', '.join(known)}.")
        if output.name in named:
            raise InvalidInput(output.name, "This output is asked for twice.")
        named.add(output.name)
        if "classification" in output.parameters and version.classes is None:
            raise InvalidInput(output.name, "The model has no classes, by which its outputs could be named.")
    return wanted


def check_words(inference: Inference[Any], wanted: list[Output], answers: Answers) -> None:
    """Raises TooLarge if an answer in JSON would take a multiple of all that is sent in it."""
    if answers.size > _MOST_IN_JSON and not all(map(inference.wants_binary, wanted)):
        raise TooLarge(
            OUTPUTS,
            f"The outputs are {answers.size} numbers; at most {_MOST_IN_JSON} are given in JSON. Ask for binary data.",
        )


def inferred(
    name: str, version: Version, inference: Inference[Any], wanted: list[Output], answers: Answers
) -> Response:
    """`name`: by which the model was asked for."""
    arrays = _Arrays(version, answers)
    tensors, contents = [], []
    for output in wanted:
        tensor, content = tensor_of(output.name, arrays.of(output), binary=inference.wants_binary(output))
        tensors.append(tensor)
        contents.append(content)
    json = msgspec.json.encode(_Inferred(name, str(version.number), tensors, inference.id))
    binary = b"".join(contents)
    if not binary:
        return Response(json, media_type="application/json")
    return Response(json + binary, media_type="application/octet-stream", headers={JSON_LENGTH: str(len(json))})


class _Arrays:
    """The outputs of a model by their names."""

    def __init__(self, version: Version, answers: Answers) -> None:
        self._classes = np.array(version.classes or (), object)
        self._answers = answers

    def of(self, output: Output) -> Array:
        count = output.parameters.get("classification")
        if count is not None:
            return self._classified(count, output.name)
        if output.name == LABELS:
            return self._classes[predicted_codes(self._answers)]
        return {OUTPUTS: self._answers, PROBABILITIES: scores_of(self._answers)}[output.name]

    def _classified(self, count: Any, name: str) -> Array:
        """The extension for classification: score, place and name of the likeliest classes, as one text."""
        if type(count) is not int or count < 1:
            raise InvalidInput(name, f"classification is {count}; an integer of at least 1 is expected.")
        scores, order = scores_of(self._answers), likeliest(self._answers, count)
        found = np.empty(order.shape, object)
        for (row, place), code in np.ndenumerate(order):
            found[row, place] = f"{scores[row, code]:f}:{code}:{self._classes[code]}"
        return found
