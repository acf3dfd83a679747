"""A typed client of the service, on httpx. Answers are the service's own models; errors are of a kind each.

It is written once, asynchronously; the synchronous one is generated from it by scripts/generate_sync_client.py.
Whatever asks nothing of the network stands here, outside both.
"""

from nabla.app.client._async.batch_predictions import AsyncBatchPrediction
from nabla.app.client._async.client import AsyncClient
from nabla.app.client._async.datasets import AsyncDataset
from nabla.app.client._async.jobs import AsyncJob
from nabla.app.client._async.networks import AsyncNetwork
from nabla.app.client._sync.batch_predictions import BatchPrediction
from nabla.app.client._sync.client import Client
from nabla.app.client._sync.datasets import Dataset
from nabla.app.client._sync.jobs import Job
from nabla.app.client._sync.networks import Network
from nabla.app.client.errors import (
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
from nabla.app.client.history import History
from nabla.app.client.tabular import Frame

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
