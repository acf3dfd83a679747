"""A typed client of the service, on httpx. Answers are the service's own models; errors are of a kind each.

It is written once, asynchronously; the synchronous one is generated from it (tests/synchronous.py). Whatever asks
nothing of the network stands here, outside both.
"""

from app.client._async.batches import AsyncBatchPrediction
from app.client._async.client import AsyncClient
from app.client._async.datasets import AsyncDataset
from app.client._async.jobs import AsyncJob
from app.client._async.networks import AsyncNetwork
from app.client._sync.batches import BatchPrediction
from app.client._sync.client import Client
from app.client._sync.datasets import Dataset
from app.client._sync.jobs import Job
from app.client._sync.networks import Network
from app.client.errors import (
    BadRequest,
    BatchPredictionEnded,
    Conflict,
    ConnectionLost,
    InProgress,
    Invalid,
    JobCancelled,
    JobEnded,
    JobFailed,
    NablaError,
    NotFound,
    ServiceError,
    ServiceFailed,
    TooLarge,
    TooMany,
    Unavailable,
)
from app.client.frames import Frame
from app.client.histories import History

__all__ = [
    "AsyncBatchPrediction",
    "AsyncClient",
    "AsyncDataset",
    "AsyncJob",
    "AsyncNetwork",
    "BadRequest",
    "BatchPrediction",
    "BatchPredictionEnded",
    "Client",
    "Conflict",
    "ConnectionLost",
    "Dataset",
    "Frame",
    "History",
    "InProgress",
    "Invalid",
    "Job",
    "JobCancelled",
    "JobEnded",
    "JobFailed",
    "NablaError",
    "Network",
    "NotFound",
    "ServiceError",
    "ServiceFailed",
    "TooLarge",
    "TooMany",
    "Unavailable",
]
