"""Networks that come as files."""

from typing import Annotated, Any

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.schemas.base import Name
from engine.exchange.portable import FormatName, Hints
from engine.nn.activations import ActivationName
from engine.nn.costs import CostName


def _from_text(value: Any) -> Any:
    """Fields of forms and queries are texts; lists and objects in them are JSON."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as problem:
        raise ValueError(f"JSON is expected: {problem}") from problem


class LayerActivation(BaseModel):
    """What a file of plain arrays does not say of a layer."""

    model_config = ConfigDict(extra="forbid")

    activation: ActivationName


class NetworkFields(BaseModel):
    """What goes with the file, as fields of the form or in the query. A file that was copied out of a service needs
    none of them; an ONNX file of another maker may have a cost and classes; plain arrays need the activations."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[Name | None, Field(description="By default that of the file, where it can be one.")] = None
    format: Annotated[
        FormatName | None, Field(description="What the file is; by default its first bytes tell, and they have to.")
    ] = None
    layers: Annotated[
        list[LayerActivation] | None,
        BeforeValidator(_from_text),
        Field(
            min_length=1,
            max_length=1000,
            description="Plain arrays: the activation of each layer, as JSON.",
            examples=['[{"activation": "relu"}, {"activation": "softmax"}]'],
        ),
    ] = None
    cost: Annotated[
        CostName | None,
        Field(
            description="The cost that jobs go on with, of plain arrays and of ONNX files of other makers. By default "
            "categorical_cross_entropy behind softmax, binary_cross_entropy behind sigmoid, else quadratic."
        ),
    ] = None
    classes: Annotated[
        list[str] | None,
        BeforeValidator(_from_text),
        Field(
            min_length=2,
            description="The names of the classes in the order of the outputs (two for a single output), as JSON; of "
            "plain arrays and of ONNX files of other makers.",
            examples=['["no", "yes"]'],
        ),
    ] = None

    def hints(self) -> Hints:
        activations = None if self.layers is None else tuple(layer.activation for layer in self.layers)
        return Hints(self.format, activations, self.cost, None if self.classes is None else tuple(self.classes))


class NetworkFile(NetworkFields):
    """A network in `file`: safetensors, npz or ONNX."""

    file: Annotated[str, Field(json_schema_extra={"format": "binary"})]
