"""The process that works datasets through networks."""

from contextlib import suppress
from pathlib import Path

from engine.data.opening import open_features
from engine.data.preparation import Preparation
from engine.data.sources import Progress
from engine.errors import TooLarge
from engine.jobs.carrying_out import Advance, work
from engine.jobs.errands import Errand, Predict, Predicted, Result
from engine.jobs.priority import give_way
from engine.training.checkpoint import load_weights
from engine.training.model import Model
from engine.training.predicting import predict_to_file


def _carry_out(errand: Errand, advanced: Advance) -> Result:
    assert isinstance(errand, Predict)
    with suppress(MemoryError):
        return _predict(errand, advanced)
    # What took the memory is let go by now, and there is some to say so.
    raise TooLarge("dataset_id", "Predicting this takes more memory than this service has for it.")


def _predict(errand: Predict, advanced: Advance) -> Predicted:
    rows = errand.dataset.rows

    def done(count: int) -> None:
        advanced(Progress(count, rows, count))

    done(0)
    network, fitted = load_weights(Path(errand.weights), errand.architecture)
    model = Model(network, fitted or Preparation.plain(errand.rule))
    columns = model.preparation.columns
    features = open_features(errand.dataset, Path(errand.dataset_folder), columns, lambda: done(0))
    path = predict_to_file(
        model, features, errand.classes, errand.format, errand.probabilities, Path(errand.folder), done
    )
    return Predicted(path.name, path.stat().st_size)


if __name__ == "__main__":
    # Training is what there is always more of, and so is this.
    work(_carry_out, give_way)
