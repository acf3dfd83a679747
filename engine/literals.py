"""Names of settings and states, as literal types.

They are defined apart from their implementations, so that a client can import them without loading these.
"""

from typing import Literal

ActivationName = Literal[
    "identity",
    "sigmoid",
    "tanh",
    "relu",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "silu",
    "softplus",
    "sin",
    "softmax",
]
CostName = Literal[
    "quadratic", "mean_absolute", "huber", "poisson", "binary_cross_entropy", "categorical_cross_entropy"
]
InitializerName = Literal[
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "lecun_uniform",
    "lecun_normal",
    "standard_normal",
]
OptimizerName = Literal["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "nadam", "l-bfgs"]
ScheduleName = Literal["constant", "step", "exponential", "cosine", "inverse_scaling", "plateau"]
DtypeName = Literal["float32", "float64"]
MAX_SEED = 2**63 - 1
Precision = Literal["full", "tf32", "half"]

ScalingName = Literal["none", "standardize", "min_max", "robust"]
RowSelection = Literal["all", "unseen"]
"""Rows of a dataset that an evaluation uses: all, or those that the version was not trained on."""
OutlierHandling = Literal["keep", "compress"]
FileFormat = Literal["csv", "parquet", "arrow", "npy"]
"""Formats of batch predictions."""
DataFormat = Literal["csv", "tsv", "parquet", "arrow", "ndjson", "json", "npy", "npz", "idx"]
"""Formats of files that become datasets."""
NetworkFormat = Literal["safetensors", "npz", "onnx"]

DeviceKind = Literal["cpu", "cuda"]
DeviceChoice = Literal["auto", "cpu", "cuda"]
StopReason = Literal["epochs", "patience", "target_cost", "max_seconds", "converged"]
MAX_CONFUSION_CLASSES = 1000
"""With more classes an evaluation has no confusion matrix."""

JobState = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
ErrorKind = Literal[
    "diverged",
    "invalid_data",
    "damaged_data",
    "out_of_memory",
    "worker_died",
    "hung",
    "storage_failed",
    "dependency_failed",
    "out_of_time",
    "internal",
]
BatchState = Literal["queued", "succeeded", "failed", "cancelled"]
UploadState = Literal["receiving", "reading", "failed"]
UploadKind = Literal["fields", "rows", "file"]
"""What the chunks of an upload are: the fields of one form, files of rows, or consecutive pieces of one file."""
WeightsOrigin = Literal["drawn", "trained", "imported"]
"""Where the weights of a version come from: the initializer, a job, or a file."""
VersionReference = int | str
"""The number of a version, a tag, or `CURRENT`."""
CURRENT = "current"
"""Refers to the version that predicts by default; no tag may have this name."""
