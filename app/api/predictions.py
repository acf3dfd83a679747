"""/v1/networks/{id}/predictions"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.openapi.models import Example
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict
from starlette.concurrency import run_in_threadpool

from nabla.app.api.jobs import found_job
from nabla.app.dependencies import After, Context, Here, JobId, Limit, NetworkId, context_of, number_in, spoken_of_in
from nabla.app.http.body_limits import keep, streamed
from nabla.app.http.errors import problems
from nabla.app.http.files import checked_kind, download
from nabla.app.http.headers import preferred
from nabla.app.http.idempotency import ToCreate
from nabla.app.http.raw_route import DirectRoute
from nabla.app.predictions.arrow import answers_to_table, table_of
from nabla.app.predictions.decoding import answers_to_npy, check_rows, prepared, wanted_in
from nabla.app.predictions.encoding import FEW, FORMS, JSON, KINDS, NPY, Predictor, Wishes, answered
from nabla.app.schemas.common import Page, in_one_piece
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
from nabla.engine.errors import InvalidInput, Unavailable
from nabla.engine.literals import FileFormat, VersionReference
from nabla.engine.records.batch_prediction import BatchPrediction
from nabla.engine.records.job import Job
from nabla.engine.records.network import NetworkRecord
from nabla.engine.records.network import Version as Published
from nabla.engine.services.snapshots import Snapshot, check_running
from nabla.engine.storage.registry import Receipt
from nabla.engine.training.metrics import check_gives_probabilities
from nabla.engine.training.model import Answers, Model

predictions_router = APIRouter(prefix="/v1/networks", tags=["4 predictions"], route_class=DirectRoute)

BINARY = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in (NPY, *FORMS)}
LARGE = 2**16
"""Bytes of JSON that are looked at in a thread: they take longer than changing to one."""


FindPredictor = Callable[[VersionReference | None], Awaitable[Predictor]]
"""That of the version which is asked for."""


class _Query(BaseModel):
    """Of a body that is only rows."""

    model_config = ConfigDict(extra="forbid")

    version: Annotated[Version, BeforeValidator(number_in)] = None
    top_k: TopK = None
    probabilities: Probabilities = False


_NOTHING_ASKED = _Query()


def body_of(rows: type[BaseModel]) -> dict[str, Any]:
    """How a request for predictions is documented: JSON of this model, an array, or a table."""
    json = {"schema": in_one_piece(rows), "example": EXAMPLE}
    return {"requestBody": {"required": True, "content": {JSON: json, **BINARY}}}


@predictions_router.post(
    "/{network_id}/predictions",
    summary="Predict",
    response_model=PredictionView,
    responses={200: {"content": BINARY}, **problems(404, 409, 413, 415, 422)},
    openapi_extra=body_of(NewPrediction),
)
async def predict(request: Request, network_id: NetworkId) -> Response:
    """Work rows of raw inputs through the network's current version, or another one. They are prepared as those were
    that it was trained on, and the outputs are in the units of the targets. A network that scales has to be trained
    first.

    A body of `application/x-npy` is an array of plain numbers, a row per example, which is worked through as it
    arrives; `version`, `top_k` and `probabilities` are parameters of the query then. With `Accept: application/x-npy`
    the answer is an array, of the outputs or the probabilities.

    A body of `application/vnd.apache.arrow.stream` (or `….file`) is a table, with the same parameters in the query. If
    the network was trained on a table it has the columns of that one, in any order, and null where there is no value;
    else as many columns of numbers as there are inputs, in their order. With `Accept` of one of these the answer is a
    table: `output_1` …; where there are classes `label`; and if they are asked for `probability_CLASS` …, and the
    likeliest classes as `top_1`, `top_1_score` …

    Requests that wait at the same time are computed together; what a row gets does not depend on that.
    """
    here = context_of(request)
    return await predicted(request, partial(_published, here, here.registry.networks.find(network_id)))


async def _published(here: Context, record: NetworkRecord, reference: VersionReference | None) -> Predictor:
    """Raises NotFound, Damaged, Conflict."""
    version, model = await found_model(here, record, reference)
    return Predictor({"network_id": record.id, "version": version.number}, model, version.classes)


async def predicted(request: Request, find: FindPredictor) -> Response:
    """The answer to a request with rows, from whatever predicts."""
    here = context_of(request)
    kind = preferred(request.headers.get("accept", ""), KINDS)
    given = checked_kind(request, (JSON, NPY, *FORMS, "application/octet-stream"))
    if given == JSON:
        return await _of_json(request, here, find, kind)
    query = _Query.model_validate(dict(request.query_params)) if request.scope["query_string"] else _NOTHING_ASKED
    predictor = await find(query.version)
    wishes = Wishes(kind, query.top_k, query.probabilities)
    wishes.check(predictor)
    if given in FORMS:
        outputs = await answers_to_table(streamed(request), predictor.model, here)
    else:
        outputs = await answers_to_npy(streamed(request), predictor.model, here.batching)
    return await _answered(request, here, predictor, outputs, wishes)


async def _of_json(request: Request, here: Context, find: FindPredictor, kind: str) -> Response:
    body = await request.body()
    large = len(body) > LARGE
    wanted = await run_in_threadpool(wanted_in, body) if large else wanted_in(body)
    predictor = await find(wanted.version)
    wishes = Wishes(kind, wanted.top_k, wanted.probabilities)
    wishes.check(predictor)
    model = predictor.model
    rows = await run_in_threadpool(prepared, wanted, model) if large else prepared(wanted, model)
    check_rows(len(rows), model.network.architecture)
    outputs = model.answers(await here.batching.outputs(model.network, rows), "inputs")
    return await _answered(request, here, predictor, outputs, wishes)


async def _answered(
    request: Request, here: Context, predictor: Predictor, outputs: Answers, wishes: Wishes
) -> Response:
    keep(request, outputs.nbytes)
    if wishes.kind in FORMS:
        return await table_of(here, predictor, outputs, wishes)
    if outputs.size > FEW:
        return await run_in_threadpool(answered, predictor, outputs, wishes)
    return answered(predictor, outputs, wishes)


async def found_model(
    here: Context, record: NetworkRecord, reference: VersionReference | None
) -> tuple[Published, Model]:
    """Raises NotFound, Damaged, Conflict."""
    if (at_hand := here.catalog.loaded(record, reference)) is not None:
        return at_hand
    return await run_in_threadpool(here.catalog.load, record, reference)


live_predictions_router = APIRouter(prefix="/v1/jobs", tags=["4 predictions"], route_class=DirectRoute)


@live_predictions_router.post(
    "/{job_id}/predictions",
    summary="Predict with a running job",
    response_model=PredictionView,
    responses={200: {"content": BINARY}, **problems(404, 409, 413, 415, 422)},
    openapi_extra=body_of(NewLivePrediction),
)
async def predict_with_job(request: Request, job_id: JobId) -> Response:
    """Work rows of raw inputs through the weights that a running job has at the moment; bodies and answers are those of
    predictions with a network, without a `version`. The job gives its weights between two steps, at most about once a
    second: requests in between get the same ones. It ends with the same bits as a job that nobody looks at.

    A job that does not run answers 409, and says what predicts instead: as does the one of this page's story, which has
    ended by now.
    """
    here = context_of(request)
    return await predicted(request, partial(_live, here, await found_job(job_id, here)))


async def _live(here: Context, job: Job, reference: VersionReference | None) -> Predictor:
    """Raises InvalidInput, Conflict, Unavailable, StorageFailed."""
    if reference is not None:
        raise InvalidInput(
            "version", "A job has no versions: it predicts with the weights that it has now. Leave it out."
        )
    snapshot = await _snapshot(here, job)
    names = {"network_id": job.network_id, "version": None, "job_id": job.id, "epoch": snapshot.epoch}
    return Predictor(names, snapshot.model, snapshot.classes)


async def _snapshot(here: Context, job: Job) -> Snapshot:
    snapshots, jobs = here.jobs.snapshots, here.registry.jobs
    found = snapshots.recent(jobs.get(job.id))
    if found is None:
        await run_in_threadpool(snapshots.ask, job.id)
        await here.changes.settled(job.id, snapshots.is_awaited)
        now = jobs.get(job.id)
        found = snapshots.recent(now)
        if found is None:
            check_running(now)
            raise Unavailable("The job is running, but has not given its weights in time. Ask again.")
    return found


batch_router = APIRouter(prefix="/v1", tags=["4 predictions"])

_KINDS: dict[FileFormat, str] = {
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.file",
    "npy": "application/x-npy",
}
_EXAMPLE: dict[str, Example] = {"xor": {"value": "xor"}}
BatchId = Annotated[str, Path(description="Id or name of the batch prediction.", openapi_examples=_EXAMPLE)]


def _batch_view(here: Context, batch: BatchPrediction) -> BatchPredictionView:
    return BatchPredictionView.of(batch, here.batches.underway(batch))


@batch_router.post(
    "/networks/{network_id}/batch-predictions",
    status_code=202,
    summary="Predict a dataset",
    response_model=BatchPredictionView,
    responses=problems(404, 409, 422, 429),
)
def create_batch_prediction(network_id: NetworkId, new: NewBatchPrediction, here: Here, once: ToCreate) -> Response:
    """Work all rows of a dataset, however many, through the network's current version, or another one, into a file that
    can be downloaded. It has a row for each of the dataset, in their order, with the bits that predictions of single
    rows have. This is done in a process of its own, for one dataset after the other, and done anew after a crash."""

    def submit(receipt: Receipt | None) -> BatchPrediction:
        network = here.registry.networks.find(network_id)
        with spoken_of_in("dataset_id"):
            dataset = here.uploads.ready(new.dataset_id)
        version = network.find(new.version)
        if new.probabilities:
            check_gives_probabilities(network.architecture, version.classes, "probabilities")
        return here.batches.submit(network, version, dataset, new.format, new.probabilities, new.name, receipt)

    return once.create(
        lambda: new.model_dump_json().encode(),
        submit,
        lambda batch: _batch_view(here, batch),
        lambda batch: f"/v1/batch-predictions/{batch.id}",
        lambda batch: 202,
    )


@batch_router.get("/batch-predictions", summary="List batch predictions", responses=problems(422))
def list_batch_predictions(here: Here, limit: Limit = 20, after: After = None) -> Page[BatchPredictionView]:
    """Newest first."""
    batches, has_more = here.registry.batches.page(after, limit)
    return Page(data=[_batch_view(here, batch) for batch in batches], has_more=has_more)


@batch_router.get("/batch-predictions/{batch_id}", summary="Get a batch prediction", responses=problems(404, 422))
async def get_batch_prediction(batch_id: BatchId, here: Here) -> BatchPredictionView:
    """Its state, and how far it is."""
    return _batch_view(here, here.registry.batches.find(batch_id))


@batch_router.get(
    "/batch-predictions/{batch_id}/file",
    summary="Download what was predicted",
    response_class=StreamingResponse,
    responses={200: {"content": {kind: {} for kind in _KINDS.values()}}, **problems(404, 409, 422)},
)
def download_batch_prediction(batch_id: BatchId, here: Here) -> StreamingResponse:
    """The file, when it has succeeded. Every byte of it is checked before the first one is sent."""
    batch = here.registry.batches.find(batch_id)
    return download(here.batches.open(batch), f"{batch.name or batch.id}.{batch.format}", _KINDS[batch.format])


@batch_router.post(
    "/batch-predictions/{batch_id}/cancel", summary="Cancel a batch prediction", responses=problems(404, 409, 422)
)
def cancel_batch_prediction(batch_id: BatchId, here: Here) -> BatchPredictionView:
    """Nothing of its file is left when this answers."""
    return _batch_view(here, here.batches.cancel(here.registry.batches.find(batch_id)))


@batch_router.delete(
    "/batch-predictions/{batch_id}",
    status_code=204,
    summary="Delete a batch prediction",
    responses=problems(404, 409, 422),
)
def delete_batch_prediction(batch_id: BatchId, here: Here) -> None:
    """With its file. One that is queued or running is not carried out any further."""
    here.batches.delete(here.registry.batches.find(batch_id))


evaluations_router = APIRouter(prefix="/v1/networks", tags=["5 evaluations"])


# Not async: the framework runs it in a thread, away from the event loop.
@evaluations_router.post(
    "/{network_id}/evaluations", summary="Evaluate", responses=problems(400, 404, 409, 413, 415, 422)
)
def evaluate(network_id: NetworkId, new: NewEvaluation, here: Here) -> EvaluationView:
    """Measure the network's current version, or another one, on a dataset: its cost; for classes accuracy, precision,
    recall and the confusion matrix; for targets R², and errors in the units of the targets."""
    record = here.registry.networks.find(network_id)
    with spoken_of_in("dataset_id"):
        dataset = here.uploads.ready(new.dataset_id)
    version, found = here.catalog.evaluate(record, new.version, dataset)
    return EvaluationView.of(record, version, dataset, found)
