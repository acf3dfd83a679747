"""The process that reads files that were handed in, and the one that looks at datasets."""

from pathlib import Path

from engine import durable
from engine.data.profile import profile
from engine.data.reading.files import read
from engine.data.splitting import split
from engine.jobs.carrying_out import Advance, work
from engine.jobs.errands import Divide, Errand, Look, Looked, Read, Result, Stored
from engine.jobs.priority import give_way_to_answers


def _carry_out(errand: Errand, advanced: Advance) -> Result:
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
        case _:
            raise NotImplementedError(errand)


if __name__ == "__main__":
    work(_carry_out, give_way_to_answers)
