// Short names for the types of the API. The type check generates ./openapi.d.ts from the service's OpenAPI document, so
// that the page cannot use a field that the service does not have.
import type { components } from "./openapi";

type Schemas = components["schemas"];

export type Dataset = Schemas["DatasetView"];
export type Preview = Schemas["PreviewView"];
export type Proposal = Schemas["ProposalView"];
export type Profile = Schemas["ProfileView"];
export type ColumnProfile = Schemas["ColumnProfileView"];
export type Rows = Schemas["RowsView"];
export type Network = Schemas["NetworkView"];
export type Version = Schemas["VersionView"];
export type Versions = Schemas["VersionsView"];
export type Job = Schemas["JobView"];
export type Epoch = Schemas["EpochView"];
export type Checkpoint = Schemas["CheckpointView"];
export type Evaluation = Schemas["EvaluationView"];
export type Prediction = Schemas["PredictionView"];
export type BatchPrediction = Schemas["BatchPredictionView"];
export type Device = Schemas["DeviceView"];
export type Devices = Schemas["DevicesView"];

/** A dataset in the state "ready", whose size is known. */
export type ReadyDataset = Dataset & { rows: number; inputs: number; targets: number };
export type Page<Item> = { data: Item[]; has_more: boolean };
