"""Arrays as other libraries have them: scikit-learn's MLP and PyTorch's Sequential. They say nothing of activations."""

import re
from collections.abc import Mapping, Sequence

from engine.exchange.chain import Dense, Named, Normalization
from engine.exchange.tensors import Found, Tensor, listed, refused, shortened

_SCIKIT_LEARN = re.compile(r"(coefs|intercepts)_(0|[1-9][0-9]{0,4})", re.ASCII)
# The arrays of a module in a Sequential, which may itself be a part of something.
_PYTORCH = re.compile(
    r"(?:(.*)\.)?(0|[1-9][0-9]{0,4})\.(weight|bias|running_mean|running_var|num_batches_tracked)", re.ASCII
)
_NORMALIZED = "running_mean"


def layers_in(found: Found) -> Sequence[Dense]:
    """Raises InvalidInput if they are none that is known."""
    names = found.tensors.keys()
    if any(_SCIKIT_LEARN.fullmatch(name) for name in names):
        return _scikit_learn(found.tensors)
    if any(_PYTORCH.fullmatch(name) for name in names):
        return _pytorch(found.tensors)
    raise refused(
        f"The file has the arrays {listed(names)}. Accepted: a network as it was copied out here; coefs_0, "
        "intercepts_0, … as scikit-learn's MLP has them; 0.weight, 0.bias, … as PyTorch's Sequential has them."
    )


def _scikit_learn(tensors: Mapping[str, Tensor]) -> list[Dense]:
    """Weights are (inputs, units) there."""
    others = [name for name in tensors if not _SCIKIT_LEARN.fullmatch(name)]
    if others:
        raise refused(f"The file also has the array {shortened(others[0])!r}. Accepted: coefs_N and intercepts_N.")
    layers = []
    for number in range((len(tensors) + 1) // 2):
        names = (f"coefs_{number}", f"intercepts_{number}")
        for name in names:
            if name not in tensors:
                raise refused(f"The file lacks the array {name}. It has: {listed(tensors)}.")
        (weights, biases) = ((name, tensors[name]) for name in names)
        layers.append(Dense(weights, biases, transposed=True))
    return layers


def _pytorch(tensors: Mapping[str, Tensor]) -> list[Dense]:
    """A layer for every Linear; a BatchNorm1d belongs to the Linear right before it."""
    modules = _modules(tensors)
    layers: dict[int, Dense] = {}
    for number, parts in modules.items():
        if _NORMALIZED in parts:
            before = layers.get(number - 1)
            if before is None:
                raise refused(
                    f"{parts[_NORMALIZED][0]}: batch normalization is accepted right behind a Linear, before its "
                    "activation; elsewhere a network here cannot have it."
                )
            layers[number - 1] = Dense(before.weights, before.biases, normalization=_normalization(parts))
        else:
            layers[number] = _linear(parts)
    return list(layers.values())


def _modules(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Named]]:
    """In their order."""
    found: dict[int, dict[str, Named]] = {}
    prefixes = set()
    for name, tensor in tensors.items():
        match = _PYTORCH.fullmatch(name)
        if match is None:
            raise refused(f"The file also has the array {shortened(name)!r}. Accepted: those of one Sequential.")
        prefixes.add(match[1])
        found.setdefault(int(match[2]), {})[match[3]] = (name, tensor)
    if len(prefixes) > 1:
        raise refused(f"The file has arrays of {len(prefixes)} modules; one Sequential is accepted.")
    return dict(sorted(found.items()))


def _linear(parts: Mapping[str, Named]) -> Dense:
    if "weight" not in parts:
        name = next(iter(parts.values()))[0]
        raise refused(f"The file has the array {shortened(name)}, and no weight beside it; a Linear has one.")
    if parts.keys() - {"weight", "bias"}:
        raise refused(f"What {shortened(parts['weight'][0])} belongs to is no Linear; only Linear and BatchNorm1d are.")
    return Dense(parts["weight"], parts.get("bias"))


def _normalization(parts: Mapping[str, Named]) -> Normalization:
    if "running_var" not in parts:
        raise refused(f"The file has the array {shortened(parts[_NORMALIZED][0])}, and no running_var beside it.")
    return Normalization(parts[_NORMALIZED], parts["running_var"], parts.get("weight"), parts.get("bias"))
