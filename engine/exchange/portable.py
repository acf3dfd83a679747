"""A version of a network as it goes out of one service and into another: its arrays by name, and its words.

Every format of our own has the same arrays (those of a file of weights) and the same words: `architecture`, `rule` (how
data are prepared), `preparation` (what was found for that) and `classes`, each as JSON.
"""

from dataclasses import dataclass

import msgspec

from engine.data.preparation import Preparation, PreparationRule
from engine.names import ActivationName, CostName, NetworkFormat
from engine.nn.network import Network
from engine.training.checkpoint import Arrays, Classes, named_tensors, words_of_classes
from engine.training.stored_preparation import tensors_of, words_of


@dataclass(frozen=True, eq=False)
class Portable:
    """`preparation`: what was found for the `rule`; None where nothing has been trained."""

    network: Network
    rule: PreparationRule
    preparation: Preparation | None = None
    classes: Classes = None

    @property
    def arrays(self) -> Arrays:
        """Views of the network's, and what was found for its preparation."""
        found: Arrays = dict(named_tensors(self.network))
        return found if self.preparation is None else found | tensors_of(self.preparation)

    @property
    def words(self) -> dict[str, str]:
        found = {
            "architecture": msgspec.json.encode(self.network.architecture).decode(),
            "rule": msgspec.json.encode(self.rule).decode(),
            **words_of_classes(self.classes),
        }
        return found if self.preparation is None else found | words_of(self.preparation)


@dataclass(frozen=True)
class Hints:
    """What a sender says of a file. `format`: None finds out. The others are for files that do not say it themselves:
    an activation for each layer, the cost, and the names of the classes."""

    format: NetworkFormat | None = None
    activations: tuple[ActivationName, ...] | None = None
    cost: CostName | None = None
    classes: tuple[str, ...] | None = None
