"""/v1/datasets/{id}: profile, rows, split"""

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query, Response

from app.context import DatasetId, Here, Limit
from app.idempotency import ToCreate
from app.routes import problems
from app.schemas.datasets import DatasetView
from app.schemas.profiles import NewSplit, PartsView, ProfileView, RowsView

router = APIRouter(prefix="/v1/datasets", tags=["2 datasets"])


@router.get(
    "/{dataset_id}/profile",
    summary="Look at a dataset",
    response_model=ProfileView,
    responses=problems(404, 409, 413, 422),
)
async def get_profile(dataset_id: DatasetId, here: Here) -> Response:
    """What each column holds: missing and different values, range, mean, deviation and a histogram; how many rows each
    class has; and, in words, what may stand in the way of training. It is made when it is first asked for, which takes
    a while for large data."""
    dataset = here.uploads.ready(dataset_id)

    def look() -> Response:  # columns may be many, so that the answer is written here too
        found = ProfileView.of(dataset.id, here.looks.profile(dataset))
        return Response(found.model_dump_json(), media_type="application/json")

    return await to_thread.run_sync(look, limiter=here.waiting)


@router.get("/{dataset_id}/rows", summary="Get rows of a dataset", responses=problems(404, 409, 422))
def get_rows(
    dataset_id: DatasetId,
    here: Here,
    offset: Annotated[int, Query(ge=0, description="The first row, counted from 0.")] = 0,
    limit: Limit = 20,
) -> RowsView:
    """As they were handed in, with all columns."""
    dataset = here.uploads.ready(dataset_id)
    columns, data = here.looks.rows(dataset, offset, limit)
    return RowsView.of(columns, data, offset, dataset.rows)


@router.post(
    "/{dataset_id}/split",
    status_code=201,
    summary="Divide a dataset",
    response_model=PartsView,
    responses=problems(400, 404, 409, 422),
)
async def split_dataset(dataset_id: DatasetId, new: NewSplit, here: Here, once: ToCreate) -> Response:
    """Into datasets of their own. Which row goes where depends on the seed alone."""
    parts = [(part.name, part.share) for part in new.parts]

    def create() -> Response:
        return once.create(
            lambda: new.model_dump_json().encode(),
            lambda receipt: here.looks.split(here.uploads.ready(dataset_id), parts, new.seed, new.stratified, receipt),
            lambda found: PartsView(data=[DatasetView.of(part) for part in found.datasets]),
            lambda found: f"/v1/datasets/{found.id}",
        )

    return await to_thread.run_sync(create, limiter=here.waiting)
