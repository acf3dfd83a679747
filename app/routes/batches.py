"""/v1/networks/{id}/batch-predictions and /v1/batch-predictions"""

from typing import Annotated

from fastapi import APIRouter, Path, Response
from fastapi.openapi.models import Example
from fastapi.responses import StreamingResponse

from app.context import After, Context, Here, Limit, NetworkId, spoken_of_in
from app.downloads import download
from app.idempotency import ToCreate
from app.routes import problems
from app.schemas.base import Page
from app.schemas.batches import BatchPredictionView, NewBatchPrediction
from engine.jobs.batch import BatchPrediction
from engine.jobs.registry import Receipt
from engine.names import FileFormat
from engine.training.probabilities import check_gives_probabilities

router = APIRouter(prefix="/v1", tags=["4 predictions"])

_KINDS: dict[FileFormat, str] = {
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.file",
    "npy": "application/x-npy",
}
_EXAMPLE: dict[str, Example] = {"xor": {"value": "xor"}}
BatchId = Annotated[str, Path(description="Id or name of the batch prediction.", openapi_examples=_EXAMPLE)]


def _view(here: Context, batch: BatchPrediction) -> BatchPredictionView:
    return BatchPredictionView.of(batch, here.batches.underway(batch))


@router.post(
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
        lambda batch: _view(here, batch),
        lambda batch: f"/v1/batch-predictions/{batch.id}",
        lambda batch: 202,
    )


@router.get("/batch-predictions", summary="List batch predictions", responses=problems(422))
def list_batch_predictions(here: Here, limit: Limit = 20, after: After = None) -> Page[BatchPredictionView]:
    """Newest first."""
    batches, has_more = here.registry.batches.page(after, limit)
    return Page(data=[_view(here, batch) for batch in batches], has_more=has_more)


@router.get("/batch-predictions/{batch_id}", summary="Get a batch prediction", responses=problems(404, 422))
async def get_batch_prediction(batch_id: BatchId, here: Here) -> BatchPredictionView:
    """Its state, and how far it is."""
    return _view(here, here.registry.batches.find(batch_id))


@router.get(
    "/batch-predictions/{batch_id}/file",
    summary="Download what was predicted",
    response_class=StreamingResponse,
    responses={200: {"content": {kind: {} for kind in _KINDS.values()}}, **problems(404, 409, 422)},
)
def download_batch_prediction(batch_id: BatchId, here: Here) -> StreamingResponse:
    """The file, when it has succeeded. Every byte of it is checked before the first one is sent."""
    batch = here.registry.batches.find(batch_id)
    return download(here.batches.open(batch), f"{batch.name or batch.id}.{batch.format}", _KINDS[batch.format])


@router.post(
    "/batch-predictions/{batch_id}/cancel", summary="Cancel a batch prediction", responses=problems(404, 409, 422)
)
def cancel_batch_prediction(batch_id: BatchId, here: Here) -> BatchPredictionView:
    """Nothing of its file is left when this answers."""
    return _view(here, here.batches.cancel(here.registry.batches.find(batch_id)))


@router.delete(
    "/batch-predictions/{batch_id}",
    status_code=204,
    summary="Delete a batch prediction",
    responses=problems(404, 409, 422),
)
def delete_batch_prediction(batch_id: BatchId, here: Here) -> None:
    """With its file. One that is queued or running is not carried out any further."""
    here.batches.delete(here.registry.batches.find(batch_id))
