"""Jobs under random sequences of events: the replayed journal equals the registry, and invalid events are refused."""

import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from nabla.engine.errors import Conflict
from nabla.engine.literals import DeviceKind
from nabla.engine.records.job import (
    FINISHED,
    TRANSITIONS,
    Cancelled,
    Changed,
    CheckpointLost,
    CheckpointRecord,
    EpochsDone,
    Event,
    Failed,
    Interrupted,
    Job,
    JobError,
    Paused,
    Placed,
    Resumed,
    Saved,
    Started,
    Succeeded,
    apply,
)
from nabla.engine.storage.journal import Journal
from nabla.engine.storage.registry import Registry, decode_event
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.state import Epoch

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
SPEC = TrainingSpec(epochs=5, batch_size=1, learning_rate=0.1)


def make_job(id: str = "job_1") -> Job:
    return Job(id, None, "net_1", "ds_1", SPEC, NOW)


def make_epoch(number: int) -> Epoch:
    return Epoch(number, 1 / number, learning_rate=0.1, seconds=0.25)


EVENTS: list[Event] = [
    Placed("cuda", "why"),
    Started(NOW, "cpu"),
    EpochsDone((make_epoch(1), make_epoch(2))),
    Saved(NOW, "file", 10),
    CheckpointLost(),
    Interrupted(retried=False),
    Interrupted(retried=True),
    Changed(priority=3),
    Changed(learning_rate=0.5, epoch=1),
    Paused(),
    Resumed(),
    Succeeded(NOW, 1),
    Failed(NOW, JobError("diverged", "why")),
    Cancelled(NOW),
]


def test_transitions_cover_every_event_and_never_leave_a_finished_state() -> None:
    assert {type(event) for event in EVENTS} == set(TRANSITIONS)
    for _, states in TRANSITIONS.values():
        assert not set(states) & set(FINISHED)


def test_interrupted_job_continues_from_its_checkpoint() -> None:
    job = apply(make_job(), Started(NOW, "cpu"))
    job = apply(job, EpochsDone((make_epoch(1), make_epoch(2))))
    job = apply(job, Saved(NOW, "two", 10))
    job = apply(job, EpochsDone((make_epoch(3),)))
    assert (job.epoch, job.cost, job.seconds, job.attempt) == (3, 1 / 3, 0.75, 1)
    job = apply(job, Interrupted(retried=True))
    assert (job.state, job.epoch, job.cost, job.seconds, job.retries) == ("queued", 2, 0.5, 0.5, 1)
    assert job.last_checkpoint == CheckpointRecord(1, "two", 2, 0.5, 0.5, 10, NOW)
    assert apply(job, Started(NOW, "cpu")).attempt == 2


def test_conflict_names_the_states_that_fit() -> None:
    with pytest.raises(Conflict, match="The job is queued; only a job that is paused can be resumed"):
        apply(make_job(), Resumed())


class JobLifecycle(RuleBasedStateMachine):
    """Compares a registry over a real journal with a model."""

    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self._journal = Journal(Path(self._directory.name) / "journal.sqlite")
        self._registry = Registry(self._journal)
        self._count = 0
        self._histories: dict[str, list[Epoch]] = {}

    def teardown(self) -> None:
        self._journal.close()
        self._directory.cleanup()

    @rule(target=jobs)
    def submit(self) -> str:
        self._count += 1
        kind: DeviceKind = "cuda" if self._count % 3 == 0 else "cpu"
        job = replace(make_job(f"job_{self._count:03}"), device_kind=kind)
        self._registry.add(self._registry.jobs, job)
        self._histories[job.id] = []
        return job.id

    @rule(id=jobs, event=st.sampled_from([event for event in EVENTS if not isinstance(event, EpochsDone)]))
    def apply_event(self, id: str, event: Event) -> None:
        before = self._registry.jobs.get_or_none(id)
        if before is None:
            return
        if before.state in TRANSITIONS[type(event)][1]:
            after = self._registry.record(id, event)
            assert after == apply(before, event)
            self._histories[id] = self._histories[id][: after.epoch]
        else:
            with pytest.raises(Conflict):
                self._registry.record(id, event)
            assert self._registry.jobs.get(id) is before

    @rule(id=jobs, count=st.integers(1, 3))
    def train(self, id: str, count: int) -> None:
        before = self._registry.jobs.get_or_none(id)
        if before is not None and before.state == "running":
            epochs = tuple(make_epoch(before.epoch + number) for number in range(1, count + 1))
            self._registry.record(id, EpochsDone(epochs))
            self._histories[id] += epochs

    @rule(id=jobs)
    def delete(self, id: str) -> None:
        job = self._registry.jobs.get_or_none(id)
        if job is not None and job.finished:
            self._registry.remove(self._registry.jobs, job)
            del self._histories[id]

    @rule()
    def restart(self) -> None:
        self._journal.close()
        self._journal = Journal(Path(self._directory.name) / "journal.sqlite")
        self._registry = Registry(self._journal)

    @invariant()
    def replayed_journal_equals_registry(self) -> None:
        replayed = Registry(self._journal)
        assert list(replayed.jobs) == sorted(self._registry.jobs, key=lambda job: job.id)
        assert {job.id for job in replayed.jobs} == {id for id in self._histories if not replayed.jobs.get(id).finished}
        assert sum(replayed.jobs.count().values()) == len(self._histories)
        for kind in get_args(DeviceKind):
            assert replayed.jobs.queue(kind) == self._registry.jobs.queue(kind)
        assert {job.id for job in replayed.jobs.page(None, 10_000)[0]} == set(self._histories)
        for id, history in self._histories.items():
            assert replayed.history(id, 0, 1000) == history
            events = replayed.events(id, 0, 1000)
            states = [state for event in events if isinstance(state := decode_event(event), Job)]
            assert states[-1].state == replayed.jobs.get(id).state
            assert sum(state.finished for state in states) == replayed.jobs.get(id).finished
            assert [event.number for event in events] == sorted({event.number for event in events})


TestJobLifecycle = JobLifecycle.TestCase
TestJobLifecycle.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
