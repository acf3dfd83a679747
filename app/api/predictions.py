"""Predictions with networks and running jobs, batch predictions of datasets, and evaluations."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.openapi.models import Example
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict
from starlette.concurrency import run_in_threadpool

from nabla.app.dependencies import (
    After,
    IdempotentDep,
    JobId,
    Limit,
    NetworkId,
    ServicesDep,
    error_field,
    parse_version_ref,
    resolve_job,
    resolve_owned_datasets,
)
from nabla.app.http.errors import error_responses
from nabla.app.http.files import OCTET_STREAM, download_response
from nabla.app.http.headers import encode_warnings, negotiate_media_type, parse_media_type
from nabla.app.http.middleware import reserve_memory, stream_body
from nabla.app.http.raw_route import raw_post
from nabla.app.predictions.decoding import (
    BODY_FIELD,
    check_row_count,
    open_npy,
    parse_prediction_request,
    prepare_rows,
)
from nabla.app.predictions.encoding import (
    ARROW_FORMATS,
    JSON,
    MAX_INLINE_OUTPUTS,
    NPY,
    RESPONSE_MEDIA_TYPES,
    PredictionOptions,
    Predictor,
    encode_response,
)
from nabla.app.schemas.common import Page, inline_schema
from nabla.app.schemas.predictions import (
    EXAMPLE,
    BatchPredictionView,
    EvaluationView,
    NewBatchPrediction,
    NewEvaluation,
    NewLivePrediction,
    NewPrediction,
    PredictionView,
    Probabilities,
    TopK,
    Version,
)
from nabla.app.services import Services
from nabla.engine.data.input_warnings import InputWarnings
from nabla.engine.errors import InvalidInput, Unavailable
from nabla.engine.literals import FileFormat, VersionReference
from nabla.engine.records.batch_prediction import BatchPrediction
from nabla.engine.records.job import Job
from nabla.engine.records.network import NetworkRecord
from nabla.engine.records.network import Version as VersionRecord
from nabla.engine.services.snapshots import Snapshot, require_running
from nabla.engine.storage.registry import IdempotencyKey
from nabla.engine.training.metrics import check_gives_probabilities
from nabla.engine.training.model import Model, Predictions

router = APIRouter()

MAX_INLINE_BYTES = 2**16
"""Size of a body up to which the event loop decodes it; a larger one is decoded in a thread."""
_PREDICTIONS, _EVALUATIONS = "4 predictions", "5 evaluations"
_REQUEST_MEDIA_TYPES = (JSON, NPY, *ARROW_FORMATS, OCTET_STREAM)
_BINARY_CONTENT = {
    media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in (NPY, *ARROW_FORMATS)
}
_FILE_MEDIA_TYPES: dict[FileFormat, str] = {
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.file",
    "npy": NPY,
}
_BATCH_EXAMPLE: dict[str, Example] = {"xor": {"value": "xor"}}

BatchId = Annotated[str, Path(description="Id or name of the batch prediction.", openapi_examples=_BATCH_EXAMPLE)]
LoadPredictor = Callable[[VersionReference | None], Awaitable[Predictor]]
"""Returns the predictor of the requested version."""


class _PredictionQuery(BaseModel):
    """Options in the query, for bodies that contain rows only."""

    model_config = ConfigDict(extra="forbid")

    version: Annotated[Version, BeforeValidator(parse_version_ref)] = None
    top_k: TopK = None
    probabilities: Probabilities = False


_NO_OPTIONS = _PredictionQuery()


def _prediction_docs(body: type[BaseModel]) -> dict[str, Any]:
    """Return the OpenAPI options of a prediction operation with this JSON body."""
    json_content = {"schema": inline_schema(body), "example": EXAMPLE}
    return {
        "response_model": PredictionView,
        "responses": {200: {"content": _BINARY_CONTENT}, **error_responses(404, 409, 413, 415, 422)},
        "openapi_extra": {"requestBody": {"required": True, "content": {JSON: json_content, **_BINARY_CONTENT}}},
    }


@raw_post(
    router,
    "/v1/networks/{network_id}/predictions",
    tags=[_PREDICTIONS],
    summary="Predict",
    **_prediction_docs(NewPrediction),
)
async def predict(request: Request, network_id: NetworkId, services: ServicesDep) -> Response:
    """Predict rows with the current version of a network, or another one.

    Rows are preprocessed like the training data, and outputs are in the units of the targets. A network with scaling
    has to be trained first.

    A body of `application/x-npy` is a numeric array with one row per example, which is processed as it arrives;
    `version`, `top_k` and `probabilities` are query parameters then. With `Accept: application/x-npy` the response is
    an array of the outputs, or of the probabilities.

    A body of `application/vnd.apache.arrow.stream` (or `….file`) is a table, with the same query parameters. If the
    network was trained on a table, it needs the same columns, in any order, with null for missing values; otherwise as
    many numeric columns as the network has inputs, in their order. With one of these types in `Accept` the response is
    a table with the columns `output_1` …; for classes `label`; and if requested `probability_CLASS` …, and the most
    likely classes as `top_1`, `top_1_score` …

    `warnings` counts rows with categories that did not occur in training, and with numbers far outside the range of the
    training rows; a binary response has them in the header `Nabla-Warnings`, as a list of display strings (RFC 9651).

    Requests that are pending at the same time are computed together, which does not change the outputs.
    """
    network = services.registry.networks.resolve(network_id)
    return await _predict(request, services, partial(_load_version, services, network))


async def _load_version(services: Services, network: NetworkRecord, reference: VersionReference | None) -> Predictor:
    version, model = await load_model(services, network, reference)
    return Predictor({"network_id": network.id, "version": version.number}, model, version.classes)


async def load_model(
    services: Services, network: NetworkRecord, reference: VersionReference | None
) -> tuple[VersionRecord, Model]:
    """Return a version of a network and its model, loading it in a thread unless it is in memory.

    Raises:
        NotFound: There is no such version.
        Conflict: It has not been trained, but scales its inputs or targets.
        Damaged: Its file is damaged.
    """
    if (loaded := services.networks.get_cached_model(network, reference)) is not None:
        return loaded
    return await run_in_threadpool(services.networks.load_model, network, reference)


@raw_post(
    router,
    "/v1/jobs/{job_id}/predictions",
    tags=[_PREDICTIONS],
    summary="Predict with a running job",
    **_prediction_docs(NewLivePrediction),
)
async def predict_with_job(request: Request, job_id: JobId, services: ServicesDep) -> Response:
    """Predict rows with the current weights of a running job.

    Bodies and responses are those of predictions with a network, but without `version`. The job provides a snapshot of
    its weights between two steps, at most about once a second; requests in between get the same one. Its own result
    does not change by a bit.

    The response is 409 if the job is not running, such as the finished one of these examples; it says what to predict
    with instead.
    """
    job = await resolve_job(job_id, services)
    return await _predict(request, services, partial(_load_snapshot, services, job))


async def _load_snapshot(services: Services, job: Job, reference: VersionReference | None) -> Predictor:
    if reference is not None:
        raise InvalidInput(
            "version", "A running job has no versions: it predicts with its current weights. Leave out version."
        )
    snapshot = await _take_snapshot(services, job)
    identity = {"network_id": job.network_id, "version": None, "job_id": job.id, "epoch": snapshot.epoch}
    return Predictor(identity, snapshot.model, snapshot.classes)


async def _take_snapshot(services: Services, job: Job) -> Snapshot:
    snapshots, jobs = services.jobs.snapshots, services.registry.jobs
    if (snapshot := snapshots.get_latest(jobs.get(job.id))) is not None:
        return snapshot
    await run_in_threadpool(snapshots.request, job.id)
    await services.job_changes.wait_until_settled(job.id, snapshots.is_pending)
    current = jobs.get(job.id)
    if (snapshot := snapshots.get_latest(current)) is not None:
        return snapshot
    require_running(current)
    raise Unavailable("The running job did not provide its weights in time. Retry later.")


async def _predict(request: Request, services: Services, load: LoadPredictor) -> Response:
    media_type = negotiate_media_type(request.headers.get("accept", ""), RESPONSE_MEDIA_TYPES)
    content_type = parse_media_type(request.headers.get("content-type", ""), _REQUEST_MEDIA_TYPES)
    if content_type == JSON:
        return await _predict_json(request, services, load, media_type)
    query = _NO_OPTIONS
    if request.scope["query_string"]:
        query = _PredictionQuery.model_validate(dict(request.query_params))
    predictor = await load(query.version)
    options = PredictionOptions(media_type, query.top_k, query.probabilities)
    options.check(predictor)
    model = predictor.model
    warnings = None if model.preprocessor.leaves_inputs_unchanged else InputWarnings()
    if content_type in ARROW_FORMATS:
        outputs = await services.arrow_predictions.predict(stream_body(request), model, warnings)
    else:
        rows = await open_npy(stream_body(request), model, warnings)
        outputs = await services.batching.predict_blocks(model, rows.blocks, rows.count, BODY_FIELD)
    return await _respond(request, services, predictor, outputs, options, warnings)


async def _predict_json(request: Request, services: Services, load: LoadPredictor, media_type: str) -> Response:
    body = await request.body()
    in_thread = len(body) > MAX_INLINE_BYTES
    parsed = await run_in_threadpool(parse_prediction_request, body) if in_thread else parse_prediction_request(body)
    predictor = await load(parsed.version)
    options = PredictionOptions(media_type, parsed.top_k, parsed.probabilities)
    options.check(predictor)
    model = predictor.model
    warnings = None if model.preprocessor.leaves_inputs_unchanged else InputWarnings()
    if in_thread:
        rows = await run_in_threadpool(prepare_rows, parsed, model, warnings)
    else:
        rows = prepare_rows(parsed, model, warnings)
    check_row_count(len(rows), model.network.architecture)
    outputs = model.rescale_outputs(await services.batching.predict(model.network, rows), "inputs")
    return await _respond(request, services, predictor, outputs, options, warnings)


async def _respond(
    request: Request,
    services: Services,
    predictor: Predictor,
    outputs: Predictions,
    options: PredictionOptions,
    warnings: InputWarnings | None,
) -> Response:
    reserve_memory(request, outputs.nbytes)
    sentences = () if warnings is None else warnings.sentences()
    if options.media_type in ARROW_FORMATS:
        response = await services.arrow_predictions.encode_response(predictor, outputs, options)
    elif outputs.size > MAX_INLINE_OUTPUTS:
        response = await run_in_threadpool(encode_response, predictor, outputs, options, sentences)
    else:
        response = encode_response(predictor, outputs, options, sentences)
    if sentences and options.media_type != JSON:
        response.headers.update(encode_warnings(sentences))
    return response


@router.post(
    "/v1/networks/{network_id}/batch-predictions",
    tags=[_PREDICTIONS],
    status_code=202,
    summary="Predict a dataset",
    response_model=BatchPredictionView,
    responses=error_responses(404, 409, 422, 429),
)
def create_batch_prediction(
    network_id: NetworkId, new: NewBatchPrediction, services: ServicesDep, idempotent: IdempotentDep
) -> Response:
    """Predict all rows of a dataset of any size, with the current version of a network or another one.

    The result is a file for download with one row for each row of the dataset, in the same order, and equal to single
    predictions to the bit. Batch predictions run one after the other in a task process, and start over after a crash.
    """
    with idempotent.claim(new.model_dump_json().encode()):
        batch = idempotent.replay(services.registry.batch_predictions.get)
        if batch is None:
            batch = _submit_batch(services, network_id, new, idempotent.key(202))
        return idempotent.response(202, _batch_view(services, batch), f"/v1/batch-predictions/{batch.id}")


def _submit_batch(
    services: Services, network_id: str, new: NewBatchPrediction, idempotency: IdempotencyKey | None
) -> BatchPrediction:
    network = services.registry.networks.resolve(network_id)
    with error_field("dataset_id"):
        dataset = services.datasets.resolve_ready(new.dataset_id)
    owned_datasets = resolve_owned_datasets(new.owned_datasets, services)
    version = network.resolve_version(new.version)
    if new.probabilities:
        check_gives_probabilities(network.architecture, version.classes, "probabilities")
    return services.batch_predictions.submit(
        network, version, dataset, new.format, new.probabilities, new.name, idempotency, owned_datasets
    )


def _batch_view(services: Services, batch: BatchPrediction) -> BatchPredictionView:
    return BatchPredictionView.of(batch, services.batch_predictions.get_active(batch))


@router.get(
    "/v1/batch-predictions", tags=[_PREDICTIONS], summary="List batch predictions", responses=error_responses(422)
)
def list_batch_predictions(services: ServicesDep, limit: Limit = 20, after: After = None) -> Page[BatchPredictionView]:
    """List batch predictions, newest first."""
    batches, has_more = services.registry.batch_predictions.page(after, limit)
    return Page(data=[_batch_view(services, batch) for batch in batches], has_more=has_more)


@router.get(
    "/v1/batch-predictions/{batch_id}",
    tags=[_PREDICTIONS],
    summary="Get a batch prediction",
    responses=error_responses(404, 422),
)
async def get_batch_prediction(batch_id: BatchId, services: ServicesDep) -> BatchPredictionView:
    """Get the state and the progress of a batch prediction."""
    return _batch_view(services, services.registry.batch_predictions.resolve(batch_id))


@router.get(
    "/v1/batch-predictions/{batch_id}/file",
    tags=[_PREDICTIONS],
    summary="Download a batch prediction",
    response_class=StreamingResponse,
    responses={
        200: {"content": {media_type: {} for media_type in _FILE_MEDIA_TYPES.values()}},
        **error_responses(404, 409, 422),
    },
)
def download_batch_prediction(batch_id: BatchId, services: ServicesDep) -> StreamingResponse:
    """Download the file of a succeeded batch prediction. The whole file is verified before the first byte is sent."""
    batch = services.registry.batch_predictions.resolve(batch_id)
    file = services.batch_predictions.open_file(batch)
    return download_response(file, f"{batch.name or batch.id}.{batch.format}", _FILE_MEDIA_TYPES[batch.format])


@router.post(
    "/v1/batch-predictions/{batch_id}/cancel",
    tags=[_PREDICTIONS],
    summary="Cancel a batch prediction",
    responses=error_responses(404, 409, 422),
)
def cancel_batch_prediction(batch_id: BatchId, services: ServicesDep) -> BatchPredictionView:
    """Cancel a batch prediction; its partial file is deleted before the response is sent."""
    return _batch_view(
        services, services.batch_predictions.cancel(services.registry.batch_predictions.resolve(batch_id))
    )


@router.delete(
    "/v1/batch-predictions/{batch_id}",
    tags=[_PREDICTIONS],
    status_code=204,
    summary="Delete a batch prediction",
    responses=error_responses(404, 409, 422),
)
def delete_batch_prediction(batch_id: BatchId, services: ServicesDep) -> None:
    """Delete a batch prediction, its file and the datasets that it owns; if it is queued or running, it is stopped.

    A dataset that an unfinished job or another unfinished batch prediction needs stays.
    """
    batch = services.registry.batch_predictions.resolve_single(batch_id)
    services.batch_predictions.delete(batch)
    services.datasets.delete_owned(batch.owned_datasets)


# Not async, so that FastAPI runs it in a thread: it computes for a long time.
@router.post(
    "/v1/networks/{network_id}/evaluations",
    tags=[_EVALUATIONS],
    summary="Evaluate",
    responses=error_responses(400, 404, 409, 413, 415, 422),
)
def evaluate(network_id: NetworkId, new: NewEvaluation, services: ServicesDep) -> EvaluationView:
    """Evaluate the current version of a network, or another one, on rows that it was not trained on.

    Without `dataset_id` these are the other part of the split that it was trained on, else its validation dataset, else
    the rows that were held out for validation. Of a dataset that it was trained on, wholly or in part, only the
    unseen rows are used unless `rows` is `all`. `trained_rows` counts rows that equal rows it was trained on.

    Returns the cost (loss); for classes accuracy, precision, recall and the confusion matrix; for numeric targets R²,
    and errors in the units of the targets.
    """
    network = services.registry.networks.resolve(network_id)
    dataset = None
    if new.dataset_id is not None:
        with error_field("dataset_id"):
            dataset = services.datasets.resolve_ready(new.dataset_id)
    return EvaluationView.of(network, services.evaluations.evaluate(network, new.version, dataset, new.rows))
