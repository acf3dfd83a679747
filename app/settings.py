"""The settings of the service: the only place that reads the environment."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

_CGROUPS = Path("/sys/fs/cgroup")


def memory_allowed() -> int:
    """Bytes: those of the machine, or of the smallest control group that the process is in."""
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_limits()])


def _limits() -> Iterator[int]:
    """Of the control groups of both versions, from the process's own to the root's."""
    try:
        groups = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, name = _CGROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = _CGROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = Path(path.lstrip("/"))
        for folder in (group, *group.parents):
            limit = _number(root / folder / name)
            if limit is not None:
                yield limit


def _number(file: Path) -> int | None:
    """None where there is no limit: no file, or the word max."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


MiB = 2**20


class Settings(BaseSettings):
    """Each field is read from the variable NABLA_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="NABLA_", frozen=True)

    host: Annotated[str, Field(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="Port to listen on.")] = 8000
    data_dir: Annotated[Path, Field(description="Folder for everything that is kept.")] = Path("data")
    cpu_slots: Annotated[int, Field(ge=1, le=256, description="Jobs that train at the same time.")] = 1
    slot_cores: Annotated[
        int | None, Field(ge=1, description="Cores of one slot. Default: the machine's, shared out evenly.")
    ] = None
    gpus: Annotated[
        Literal["auto", "none"], Field(description="auto: a slot for every GPU that CUDA shows; none: no GPU.")
    ] = "auto"
    checkpoint_seconds: Annotated[float, Field(gt=0, description="Time between checkpoints of a job.")] = 10.0
    checkpoints_kept: Annotated[
        int, Field(ge=1, le=1000, description="How many checkpoints of a job are kept, the newest ones.")
    ] = 2
    worker_timeout: Annotated[
        float,
        Field(
            gt=0,
            description="A worker that tells of no progress for so long is replaced; what a long step may take by "
            "arithmetic comes on top.",
        ),
    ] = 60.0
    shutdown_timeout: Annotated[
        float, Field(gt=0, description="How long jobs may take to save themselves when the service is stopped.")
    ] = 5.0
    client_idle_timeout: Annotated[
        float,
        Field(
            gt=0,
            description="A client that has begun a request and sends nothing for so long, or reads nothing of its "
            "answer, is dropped.",
        ),
    ] = 60.0
    max_json_bytes: Annotated[int, Field(ge=1024, description="Largest JSON body.")] = 8 * MiB
    max_tensor_bytes: Annotated[
        int, Field(ge=1024, description="Largest body with binary tensors, of the Open Inference Protocol.")
    ] = 64 * MiB
    max_upload_bytes: Annotated[
        int, Field(ge=1024, description="Largest uploaded file, and largest array of a dataset once unpacked.")
    ] = 4096 * MiB
    max_uploads: Annotated[
        int,
        Field(ge=1, description="Datasets and networks that may arrive in one request, or be read, at the same time."),
    ] = 32
    max_open_uploads: Annotated[
        int, Field(ge=1, description="Datasets that may be open, to arrive in several requests.")
    ] = 1000
    task_memory_limit: Annotated[
        int,
        Field(
            ge=256 * MiB,
            description="Memory that reading a file may take, and beside it looking at a dataset, predicting one, the "
            "Arrow tables of predictions, and a network that goes out or comes in, besides what their processes have "
            "anyway. Predicting takes the network as well.",
        ),
    ] = 1024 * MiB
    max_batch_predictions: Annotated[
        int, Field(ge=1, description="Batch predictions that may wait or run at the same time.")
    ] = 100
    max_pending_predictions: Annotated[
        int, Field(ge=1, description="Requests for predictions that may wait for each other at the same time.")
    ] = 1000
    max_inflight_bytes: Annotated[
        int,
        Field(
            ge=MiB,
            description="Memory that bodies of requests and answers of predictions may take together, without files, "
            "which go to disk; and as much for rows and outputs that are computed.",
        ),
    ] = 1024 * MiB
    max_parameters: Annotated[int, Field(ge=1, description="Most weights and biases of one network.")] = 200_000_000
    max_queued_jobs: Annotated[int, Field(ge=1, description="Jobs that may wait at the same time.")] = 1000
    job_memory_limit: Annotated[
        int | None,
        Field(
            ge=1,
            description="Most memory of a run: parameters, gradient, moments, a mini-batch. Default: the machine's.",
        ),
    ] = None
    data_memory_limit: Annotated[
        int | None,
        Field(
            ge=1,
            description="Most memory for the data of a run; larger data are shuffled in blocks. Default: half of "
            "what the run leaves of the machine's, which the slots share.",
        ),
    ] = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def cores_per_slot(self) -> int:
        """Cores of one slot, as set or as the machine has them."""
        return self.slot_cores or max(1, len(os.sched_getaffinity(0)) // self.cpu_slots)

    @property
    def job_bytes(self) -> int:
        """Most memory of one run, as set or as the machine has it for this process."""
        return self.job_memory_limit or memory_allowed()

    @property
    def predictor_bytes(self) -> int:
        """Of the process that predicts datasets: blocks of rows, and the largest network, as it is read and as it
        calculates."""
        return self.task_memory_limit + 2 * 8 * self.max_parameters

    def slot_bytes(self, slots: int) -> int:
        """Memory of each of so many slots, as the machine has it for this process."""
        return memory_allowed() // slots
