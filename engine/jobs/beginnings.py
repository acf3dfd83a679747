"""How runs begin: from the network's start, a version, a checkpoint of another job, or one of their own."""

from pathlib import Path

from engine.data.opening import OpenDataset, open_for_training, open_raw
from engine.data.preparation import Preparation, fit
from engine.errors import Damaged
from engine.jobs import messages
from engine.training.checkpoint import Checkpoint, load_checkpoint, load_weights
from engine.training.device import Device
from engine.training.parts import divide
from engine.training.trainer import Trainer


class CheckpointDamaged(Exception):
    """The run may go on from an older one."""


def begin(run: messages.Run, device: Device) -> tuple[Trainer, Preparation]:
    """A trainer where the run is to go on, and what its data are prepared by: what was fitted before, where it
    does not begin with weights that were only drawn."""
    architecture = run.architecture
    network, fitted = load_weights(Path(run.weights), architecture)
    saved = _saved(run)
    dataset, preparation = _opened(run, fitted if saved is None else saved.preparation)
    validation = None
    if run.validation is not None and run.validation_folder is not None:
        validation = open_for_training(
            run.validation, Path(run.validation_folder), architecture.outputs, architecture.dtype, preparation
        )
    trainer = Trainer(
        network,
        dataset,
        run.spec,
        classes=run.dataset.classes,
        validation=validation,
        make_stepper=device.stepper_for(architecture, run.spec, run.dataset.rows),
    )
    if saved is not None and run.checkpoint is not None:
        try:
            saved.restore(trainer)
        except Damaged as problem:
            raise CheckpointDamaged(str(problem)) from problem
    elif saved is not None:
        saved.begin(trainer)
    return trainer, preparation


def _saved(run: messages.Run) -> Checkpoint | None:
    """The checkpoint to go on from, or to begin with."""
    if run.checkpoint is not None:
        try:
            return load_checkpoint(Path(run.checkpoint))
        except Damaged as problem:
            raise CheckpointDamaged(str(problem)) from problem
    return None if run.begin_with is None else load_checkpoint(Path(run.begin_with))


def _opened(run: messages.Run, fitted: Preparation | None) -> tuple[OpenDataset, Preparation]:
    """The data prepared by what was fitted, or by what is found in the rows that are trained on."""
    architecture = run.architecture
    if fitted is not None:
        fitted.check_columns(run.dataset.features)
    columns = None if fitted is None else fitted.columns
    run.dataset.check_fits(architecture, run.preparation, columns)
    raw = open_raw(run.dataset, Path(run.dataset_folder), columns)
    if fitted is None:
        training, _ = divide(raw.features.rows, raw.codes, run.spec)
        fitted = fit(run.preparation, raw.features, raw.targets, training)
    return raw.prepared(fitted, architecture.outputs, architecture.dtype), fitted
