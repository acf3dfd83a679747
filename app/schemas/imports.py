"""Networks that come as files."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from app.schemas.base import Name, Request
from app.schemas.reading import listed
from engine.exchange.portable import Hints
from engine.names import ActivationName, CostName, NetworkFormat


def _layers(value: Any) -> Any:
    """Names of activations stand for layers that have them."""
    found = listed(value)
    return tuple({"activation": one} if isinstance(one, str) else one for one in found) if found is not value else value


class LayerActivation(Request):
    """What a file of plain arrays does not say of a layer."""

    activation: ActivationName


class NetworkFields(Request):
    """What goes with the file, as fields of the form or in the query. A file that was copied out of a service needs
    none of them; an ONNX file of another maker may have a cost and classes; plain arrays need the activations. Lists
    have commas between their items or are JSON."""

    name: Annotated[Name | None, Field(description="By default that of the file, where it can be one.")] = None
    format: Annotated[
        NetworkFormat | None, Field(description="What the file is; by default its first bytes tell, and they have to.")
    ] = None
    layers: Annotated[
        tuple[LayerActivation, ...] | None,
        BeforeValidator(_layers),
        Field(
            min_length=1,
            max_length=1000,
            description="Plain arrays: the activation of each layer, as JSON or as a list of names.",
        ),
        WithJsonSchema(
            {"type": "string", "examples": ['[{"activation": "relu"}, {"activation": "softmax"}]', "relu, softmax"]}
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
        tuple[str, ...] | None,
        BeforeValidator(listed),
        Field(
            min_length=2,
            description="The names of the classes in the order of the outputs (two for a single output), of plain "
            "arrays and of ONNX files of other makers.",
        ),
        WithJsonSchema({"type": "string", "examples": ['["no", "yes"]', "no, yes"]}),
    ] = None

    def hints(self) -> Hints:
        activations = None if self.layers is None else tuple(layer.activation for layer in self.layers)
        return Hints(self.format, activations, self.cost, self.classes)


class NetworkFile(NetworkFields):
    """A network in `file`: safetensors, npz or ONNX."""

    file: Annotated[str, Field(json_schema_extra={"format": "binary"})]
