// What the service answers, by the names that the page has for it. The test of the page's types makes ./api of the
// service's own schema, so that neither knows of a field that the other does not have.
import type { components } from "./api";

type Schemas = components["schemas"];

export type Dataset = Schemas["DatasetView"];
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

/** One of which all is known. */
export type Ready = Dataset & { rows: number; inputs: number; targets: number };
export type Page<Item> = { data: Item[]; has_more: boolean };
