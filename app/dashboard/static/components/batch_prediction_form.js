/** A form that predicts all rows of a file, shows the first ones and offers the result as a download. */

import { buildDelete, buildGet, buildPost, getJson, pollJson, resolveUrl, sendRequest } from "../lib/api.js";
import { createDownloadLink, createElement, replaceContent } from "../lib/dom.js";
import { formatInteger, formatNumber, formatProgress } from "../lib/format.js";
import { createCurlSnippets } from "./curl_snippets.js";
import {
  createAlert,
  createCheckboxField,
  createField,
  createFormGrid,
  createInput,
  createSelect,
  createSubmitRow,
  handleSubmit,
} from "./forms.js";
import { createTable } from "./table.js";
import { createUploadProgress } from "./upload_progress.js";

/** @import { ApiRequest } from "../lib/api.js" */
/** @import { BatchPrediction, Dataset, Network, Prediction, Rows, Version } from "../lib/api_types.js" */

const PREVIEW_ROWS = 20;
const MAX_PREVIEW_COLUMNS = 8;

/** @param {Network} network @param {Version} version @param {AbortSignal} signal */
export function createBatchPredictionForm(network, version, signal) {
  const file = createInput("file", "file", { required: true });
  const format = createSelect("format", ["csv", "parquet", "arrow", "npy"]);
  const alert = createAlert();
  const upload = createUploadProgress();
  const status = createElement("p", { role: "status" });
  const result = createElement("div");
  const isClassifier = network.cost.endsWith("cross_entropy") && version.classes;
  const probabilities = isClassifier ? createInput("probabilities", "checkbox") : null;
  const form = createElement(
    "form",
    { "aria-label": "Predict a file" },
    createElement(
      "div",
      { class: "drop-zone" },
      createField("Drop a file here, or choose one", file, describeColumns(version)),
    ),
    createFormGrid(
      createField("Output format", format),
      probabilities && createCheckboxField("Include class probabilities", probabilities),
    ),
    alert,
    createSubmitRow("Predict file"),
  );
  const buildUpload = () => buildUploadRequest(file.files?.[0] ?? new File([], "FILE.csv"), version);
  const buildPrediction = (/** @type {string} */ datasetId) =>
    buildPost(`/v1/networks/${network.id}/batch-predictions`, {
      dataset_id: datasetId,
      format: format.value,
      owned_datasets: [datasetId],
      ...(probabilities?.checked ? { probabilities: true } : {}),
    });
  const curl = createCurlSnippets();
  const updateCurl = (datasetId = "DATASET", id = "BATCH") => {
    const path = `/v1/batch-predictions/${id}`;
    curl.update(
      buildUpload(),
      buildPrediction(datasetId),
      buildGet(path),
      buildGet(`${path}/file`),
      buildDelete(path), // and the dataset with it
    );
  };
  form.addEventListener("input", () => updateCurl());
  handleSubmit(form, alert, async () => {
    replaceContent(status);
    replaceContent(result);
    const uploaded = await upload.send(buildUpload(), signal);
    /** @type {BatchPrediction} */
    let batch;
    try {
      replaceContent(status, "Reading the file…");
      const dataset = await waitUntilReady(uploaded, signal);
      batch = await sendRequest(buildPrediction(dataset.id), signal);
      updateCurl(dataset.id, batch.id);
      replaceContent(status, `Predicting ${formatInteger(batch.rows)} rows…`);
      await waitUntilPredicted(batch, result, await createPreview(network, version, dataset, signal), signal);
    } catch (error) {
      replaceContent(status);
      replaceContent(result);
      throw error;
    } finally {
      // Uploaded for this prediction only. If the screen is left while the prediction runs, it is deleted with that.
      await sendRequest(buildDelete(`/v1/datasets/${uploaded.id}`)).catch(() => {});
    }
    replaceContent(status, `${formatInteger(batch.rows)} rows predicted.`);
    const { href } = resolveUrl(`/v1/batch-predictions/${batch.id}/file`);
    result.prepend(createElement("p", { class: "row" }, createDownloadLink(href, "Download predictions")));
  });
  updateCurl();
  return createElement("div", {}, form, upload.element, status, result, curl.element);
}

/** Describe the columns that a file must have. @param {Version} version */
function describeColumns(version) {
  const columns = version.preprocessing?.columns;
  if (!columns) return "A table with one column of numbers for each input of the network, or an array.";
  const names = columns.slice(0, MAX_PREVIEW_COLUMNS).map((column) => column.name);
  const hidden = columns.length - names.length;
  const more = hidden > 0 ? ` and ${hidden} more` : "";
  return `A table with the columns ${names.join(", ")}${more}, in any order. Other columns are ignored.`;
}

/** @param {File} file @param {Version} version @returns {ApiRequest} */
function buildUploadRequest(file, version) {
  /** @type {[string, string | File][]} */
  const form = [
    ["file", file],
    ["unlabeled", "true"],
  ];
  if (version.preprocessing?.columns) {
    form.push(["network_id", version.network_id], ["version", String(version.version)], ["cleaning", "auto"]);
  }
  return { method: "POST", path: "/v1/datasets", form };
}

/** @param {Dataset} dataset @param {AbortSignal} signal @returns {Promise<Dataset>} */
async function waitUntilReady(dataset, signal) {
  const isDone = (/** @type {Dataset} */ { state }) => state === "ready" || state === "failed";
  const ingested = await pollJson(`/v1/datasets/${dataset.id}`, dataset, isDone, signal);
  if (ingested.state === "failed") throw new Error((ingested.errors ?? []).map(({ message }) => message).join(" "));
  return ingested;
}

/** @param {Network} network @param {Version} version @param {Dataset} dataset @param {AbortSignal} signal */
async function createPreview(network, version, dataset, signal) {
  /** @type {Rows} */
  const { columns, data } = await getJson(`/v1/datasets/${dataset.id}/rows?limit=${PREVIEW_ROWS}`, signal);
  const features = columns
    .map(({ name, role }, index) => ({ name, role, index }))
    .filter(({ role }) => role === "feature");
  const body = version.preprocessing?.columns
    ? { rows: data.map((row) => Object.fromEntries(features.map(({ name, index }) => [name, row[index] ?? null]))) }
    : { inputs: data.map((row) => features.map(({ index }) => row[index] ?? null)) };
  /** @type {Prediction} */
  const { labels, outputs } = await sendRequest(buildPost(`/v1/networks/${network.id}/predictions`, body), signal);
  const outputNames = network.outputs === 1 ? ["Output"] : (outputs[0] ?? []).map((_, index) => `Output ${index + 1}`);
  const shownFeatures = features.slice(0, MAX_PREVIEW_COLUMNS);
  const table = createTable(
    `First ${data.length} rows with predictions`,
    ["Row", ...(labels ? ["Label"] : outputNames), ...shownFeatures.map(({ name }) => name)],
    data.map((row, number) => [
      String(number),
      ...(labels ? [labels[number]] : (outputs[number] ?? []).map(formatNumber)).map((text) =>
        createElement("strong", {}, String(text)),
      ),
      ...shownFeatures.map(({ index }) => String(row[index] ?? "–")),
    ]),
  );
  const notes = (dataset.notes ?? []).map((note) => createElement("p", { class: "warning" }, note));
  return createElement("div", {}, notes, table);
}

/**
 * Show the progress of a batch prediction until it is finished. Throws if it did not succeed.
 * @param {BatchPrediction} batch @param {Element} result @param {Node} preview @param {AbortSignal} signal
 */
async function waitUntilPredicted(batch, result, preview, signal) {
  const bar = createElement("progress", { max: batch.rows, value: 0, "aria-label": "Rows predicted" });
  const rows = createElement("span");
  const progress = createElement("p", { class: "row" }, bar, rows);
  replaceContent(result, progress, preview);
  /** @param {BatchPrediction} batch */
  const update = ({ state, rows_done, rows: total }) => {
    bar.value = rows_done;
    replaceContent(rows, `${formatProgress(rows_done, total)} rows`);
    return state !== "queued" && state !== "running";
  };
  const { state, error } = await pollJson(`/v1/batch-predictions/${batch.id}`, batch, update, signal);
  if (state !== "succeeded") throw new Error(error?.message ?? `The batch prediction is ${state}.`);
  progress.remove();
}
