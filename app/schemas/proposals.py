"""Requests and responses about the network and training settings that are proposed for a dataset."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from nabla.app.schemas.common import RequestModel


class NewProposal(RequestModel):
    """Settings that are fixed; all others are proposed."""

    hidden_units: Annotated[
        list[Annotated[int, Field(ge=1)]] | None,
        Field(max_length=100, description="Units of each hidden layer; an empty list for a linear network."),
    ] = None
    epochs: Annotated[int | None, Field(ge=1, description="Maximum number of epochs.")] = None


class Reason(BaseModel):
    """Why a setting is proposed."""

    setting: Annotated[str, Field(description="Path of the setting, such as `network.cost`.")]
    reason: str


class ProposalView(BaseModel):
    """A network for a dataset, and settings of a job that trains it."""

    dataset_id: str
    network: Annotated[dict[str, Any], Field(description="Fields of POST /v1/networks.")]
    job: Annotated[dict[str, Any], Field(description="Fields of POST /v1/jobs, without network and dataset.")]
    reasons: list[Reason]
