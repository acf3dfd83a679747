"""What the processes do that read files that were handed in, look at datasets, read and write networks, and read and
make the tables of requests."""

from contextlib import suppress
from pathlib import Path

import numpy as np

from engine import durable
from engine.data.profile import profile
from engine.data.reading.files import read
from engine.data.reading.meter import Meter
from engine.data.reading.raw_rows import write_rows
from engine.data.sources import Progress, Source
from engine.data.splitting import split
from engine.errors import TooLarge
from engine.exchange import files
from engine.jobs.carrying_out import Advance, work
from engine.jobs.errands import (
    AnswersWritten,
    CopiedOut,
    CopyOut,
    Divide,
    Errand,
    Look,
    Looked,
    Read,
    ReadRows,
    Result,
    RowsRead,
    Stored,
    TakeIn,
    TakenIn,
    WriteAnswers,
)
from engine.jobs.priority import give_way_to_answers
from engine.training.predicting import answers_to_file


def _carry_out(errand: Errand, advanced: Advance) -> Result:
    with suppress(MemoryError):
        return _done(errand, advanced)
    # What took the memory is let go by now, and there is some to say so.
    raise _beyond_memory(errand)


def _done(errand: Errand, advanced: Advance) -> Result:
    match errand:
        case Look(dataset=dataset, folder=folder):
            return Looked(profile(dataset, Path(folder), advanced))
        case Divide(dataset=dataset, folder=folder, parts=parts, seed=seed, stratified=stratified):
            return Stored(split(dataset, Path(folder), parts, seed, stratified, advanced))
        case Read(sources=sources, reading=reading, folder=folder, check=check):
            if check:
                for path in (path for source in sources for path in source.paths):
                    durable.check(path)
            return Stored((read(sources, reading, Path(folder), advanced),))
        case TakeIn():
            return _take_in(errand)
        case CopyOut():
            version = files.stored(Path(errand.weights), errand.architecture, errand.rule, errand.classes)
            files.write(Path(errand.path), version, errand.format)
            return CopiedOut()
        case ReadRows():
            return _read_rows(errand, advanced)
        case WriteAnswers():
            return _write_answers(errand, advanced)
        case _:
            raise NotImplementedError(errand)


def _take_in(errand: TakeIn) -> TakenIn:
    format, network = files.read(Path(errand.path), errand.hints, errand.most_parameters)
    columns = None
    if network.preparation is not None and network.preparation.columns is not None:
        columns = tuple((column.name, column.type) for column in network.preparation.columns)
    file = files.keep(Path(errand.weights), network).name
    return TakenIn(format, file, network.network.architecture, network.rule, network.classes, columns)


def _read_rows(errand: ReadRows, advanced: Advance) -> RowsRead:
    path = Path(errand.path)
    meter = Meter((Source((path,)),), errand.largest, advanced)
    file = durable.hand_over(
        Path(errand.folder),
        lambda sink: write_rows(path, errand.columns, errand.inputs, errand.most_rows, sink, meter),
    )
    return RowsRead(file.name, meter.rows)


def _write_answers(errand: WriteAnswers, advanced: Advance) -> AnswersWritten:
    answers = np.load(errand.outputs, mmap_mode="r")
    file = answers_to_file(
        answers,
        errand.classes,
        errand.probabilities,
        errand.top_k,
        errand.form,
        Path(errand.folder),
        lambda rows: advanced(Progress(rows, len(answers), rows)),
    )
    return AnswersWritten(file.name)


def _beyond_memory(errand: Errand) -> TooLarge:
    match errand:
        case CopyOut():
            message = "Writing this network takes more memory than there is; safetensors takes least of all formats."
            return TooLarge("format", message)
        case TakeIn():
            message = "Reading this network takes more memory than there is; safetensors takes least of all formats."
            return TooLarge("file", message)
        case ReadRows():
            message = "Reading this table takes more memory than there is; hand in fewer rows at once."
            return TooLarge("body", message)
        case WriteAnswers():
            message = "Making this table takes more memory than there is; hand in fewer rows at once, or ask for JSON."
            return TooLarge("body", message)
        case _:
            message = "Reading this takes more memory than there is; hand in less at once, or in another format."
            return TooLarge("file", message)


if __name__ == "__main__":
    work(_carry_out, give_way_to_answers)
