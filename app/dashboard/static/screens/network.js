/** One network: evaluation, versions and layers. */

import { createCurlSnippets } from "../components/curl_snippets.js";
import { createEmptyState, createKeyValueList, createSection } from "../components/data_display.js";
import { createDeleteButton } from "../components/delete_button.js";
import { createEvaluationForm } from "../components/evaluation_form.js";
import { createAlert } from "../components/forms.js";
import { createTable } from "../components/table.js";
import { ApiError, buildDelete, buildGet, getJson, resolveUrl } from "../lib/api.js";
import { formatLayerSizes } from "../lib/architecture.js";
import { createDownloadLink, createElement, createLink } from "../lib/dom.js";
import { getDisplayName, formatDateTime, formatInteger } from "../lib/format.js";
import { includeById, isTrainable, listTrainableDatasets } from "../lib/select_options.js";
import { getTrainingDatasetId } from "../lib/training_dataset.js";

/** @import { Network, ReadyDataset, Version, Versions } from "../lib/api_types.js" */

const WEIGHT_FORMATS = ["safetensors", "npz", "onnx"];

/** @type {import("../main.js").Screen} */
export async function loadNetworkScreen({ params: [id = ""], query, signal }) {
  const path = `/v1/networks/${encodeURIComponent(id)}`;
  /** @type {[Network, Versions]} */
  const [network, versions] = await Promise.all([getJson(path, signal), getJson(`${path}/versions?limit=50`, signal)]);
  const alert = createAlert();
  const isTrained = network.version > 0 || versions.data.some(({ origin }) => origin !== "drawn");
  const current = versions.data.find(({ version }) => version === network.version);
  const datasetId = query.get("dataset") ?? (await getTrainingDatasetId(current, signal));
  const trainUrl = `#/jobs/new?network=${network.id}${datasetId ? `&dataset=${datasetId}` : ""}`;
  const evaluation = isTrained
    ? createEvaluationForm(network, await listFittingDatasets(network, datasetId, signal), datasetId, signal)
    : createEmptyState("This network has not been trained yet.", [trainUrl, "Start a job"]);
  return {
    title: getDisplayName(network),
    content: [
      createElement(
        "p",
        { class: "row" },
        createLink(trainUrl, "Start a job"),
        isTrained && createLink(`#/networks/${network.id}/predict`, "Predict"),
        createDeleteButton(buildDelete(path), "Delete this network with all its versions?", "#/networks", alert),
      ),
      alert,
      createKeyValueList([
        ["ID", network.id],
        ["Layers", formatLayerSizes(network)],
        ["Parameters", formatInteger(network.parameters)],
        ["Cost", network.cost],
        ["Preprocessing", describePreprocessing(network.preprocessing)],
        ["Initialization", `${network.initializer}, seed ${network.seed}, ${network.dtype}`],
        ["Created", formatDateTime(network.created_at)],
      ]),
      createSection("Evaluation", evaluation),
      createSection("Versions", renderVersions(network, versions)),
      createSection("Layers", renderLayers(network)),
      createCurlSnippets(
        buildGet(path),
        buildGet(`${path}/versions`),
        buildGet(`${path}/versions/${network.version}/file`),
        buildDelete(path),
      ).element,
    ],
  };
}

/**
 * List the datasets that the network can be evaluated on.
 * @param {Network} network @param {string} id of a dataset to include, which may have been deleted
 * @param {AbortSignal} signal
 */
async function listFittingDatasets(network, id, signal) {
  const fits = (/** @type {ReadyDataset} */ dataset) => dataset.inputs === network.inputs;
  const datasets = await listTrainableDatasets(signal, fits);
  await includeById(datasets, "/v1/datasets", id, signal).catch((error) => {
    if (!(error instanceof ApiError && error.status === 404)) throw error;
  });
  return datasets.filter((dataset) => isTrainable(dataset) && fits(dataset));
}

/** @param {Network["preprocessing"]} preprocessing */
function describePreprocessing({ inputs, targets, outliers }) {
  const steps = [];
  if (inputs !== "none") steps.push(`inputs: ${inputs}`);
  if (outliers === "compress") steps.push("outliers: compress");
  if (targets !== "none") steps.push(`targets: ${targets}`);
  return steps.join(", ") || "none";
}

/** @param {Network} network */
function renderLayers({ layers }) {
  return createTable(
    "Layers",
    ["Layer", "Units", "Activation", "Dropout", "Batch normalization"],
    layers.map((layer, index) => [
      index === layers.length - 1 ? "output" : `hidden ${index + 1}`,
      formatInteger(layer.units),
      layer.activation,
      layer.dropout || "–",
      layer.batch_norm ? "yes" : "–",
    ]),
  );
}

/** @param {Network} network @param {Versions} versions */
function renderVersions(network, versions) {
  return createTable(
    "Versions",
    ["Version", "Tags", "Source", "Created", "Download weights"],
    versions.data.map((version) => [
      version.current ? `${version.version} (current)` : String(version.version),
      version.tags.join(", ") || "–",
      renderSource(version),
      formatDateTime(version.created_at),
      WEIGHT_FORMATS.flatMap((format) => [createWeightsLink(network, version.version, format), " "]),
    ]),
  );
}

/** @param {Network} network @param {number} version @param {string} format */
function createWeightsLink({ id }, version, format) {
  const { href } = resolveUrl(`/v1/networks/${id}/versions/${version}/file?format=${format}`);
  return createDownloadLink(href, format, { "aria-label": `Download version ${version} as ${format}` });
}

/** @param {Version} version */
function renderSource({ job_id, import_format, cloned_from }) {
  if (job_id) return createLink(`#/jobs/${job_id}`, "job");
  if (import_format) return `file (${import_format})`;
  return cloned_from ? "clone" : "initialization";
}
