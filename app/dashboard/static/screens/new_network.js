/** A form that creates a network: proposed for a dataset, and checked against it while it is filled in. */

import { createCurlSnippets } from "../components/curl_snippets.js";
import { createEmptyState } from "../components/data_display.js";
import {
  FormValues,
  createAlert,
  createDetails,
  createField,
  createFieldset,
  createFormGrid,
  createInput,
  createIntegerInput,
  createNumberInput,
  createSelect,
  createSubmitRow,
  handleSubmit,
  setValidationMessage,
  showError,
} from "../components/forms.js";
import { createLayersEditor } from "../components/layers_editor.js";
import { addFields, createReasons, fillControls, flattenFields } from "../components/proposal_fields.js";
import { buildPost, sendRequest } from "../lib/api.js";
import {
  COSTS,
  INITIALIZERS,
  countParameters,
  formatLayerSizes,
  validateArchitecture,
} from "../lib/architecture.js";
import { createElement, replaceContent } from "../lib/dom.js";
import { getDisplayName, formatInteger } from "../lib/format.js";
import { includeById, listTrainableDatasets } from "../lib/select_options.js";

/** @import { Proposal, ReadyDataset } from "../lib/api_types.js" */
/** @import { Architecture, Layer } from "../lib/architecture.js" */
/** @import { Control } from "../components/forms.js" */
/** @import { FieldValues } from "../components/proposal_fields.js" */

const SCALINGS = ["none", "standardize", "min_max", "robust"];
/** Options that are left out of the request if they have these values. @type {Record<string, string | number>} */
const DEFAULTS = {
  initializer: "glorot_uniform",
  seed: 0,
  dtype: "float32",
  label_smoothing: 0,
  huber_delta: 1,
  input_dropout: 0,
};
/** A network without a dataset. */
const DEFAULT_NETWORK = {
  inputs: 2,
  layers: [
    { units: 8, activation: "tanh" },
    { units: 1, activation: "sigmoid" },
  ],
  cost: "binary_cross_entropy",
  preprocessing: { inputs: "standardize" },
};
/** Values of fields that a proposal may leave out, and that an earlier one may have set. @type {FieldValues} */
const NOT_PROPOSED = [
  ["initializer", DEFAULTS.initializer],
  ["label_smoothing", DEFAULTS.label_smoothing],
  ["preprocessing.targets", "none"],
  ["preprocessing.handle_unknown", "error"],
  ["preprocessing.outliers", ""],
];

/** @type {import("../main.js").Screen} */
export async function loadNewNetworkScreen({ query, signal }) {
  const datasets = await listTrainableDatasets(signal);
  const id = query.get("dataset") ?? "";
  await includeById(datasets, "/v1/datasets", id, signal);
  const { element, propose } = createNetworkForm(datasets, id || datasets[0]?.id || "", signal);
  await propose();
  const hint = "No datasets yet. With a dataset, this form is filled in for you.";
  return {
    title: "New network",
    content: [datasets.length === 0 && createEmptyState(hint, ["#/datasets", "Create a dataset"]), element],
  };
}

/** @param {ReadyDataset[]} datasets @param {string} selectedId @param {AbortSignal} signal */
function createNetworkForm(datasets, selectedId, signal) {
  /** @type {[string, string][]} */
  const options = datasets.map((dataset) => [dataset.id, getDisplayName(dataset)]);
  const datasetSelect = createSelect("dataset", [["", "none"], ...options], selectedId);
  const name = createInput("name", "text");
  const summary = createElement("p", { role: "status", class: "form-summary" });
  const alert = createAlert();
  const editor = createLayersEditor(() => update());
  const form = createElement(
    "form",
    { "aria-label": "New network" },
    createFormGrid(
      createField("Dataset", datasetSelect, "Fills in the form with suitable values."),
      createField("Name", name),
    ),
    createFieldset(
      "Inputs",
      createField("Number of inputs", createIntegerInput("inputs", 1, { min: 1, required: true }), "Values per row."),
      createField(
        "Input scaling",
        createSelect("preprocessing.inputs", SCALINGS),
        "standardize: mean 0 and variance 1.",
      ),
    ),
    editor.element,
    createFieldset(
      "Cost",
      createField("Cost function", createSelect("cost", COSTS)),
      createField("Target scaling", createSelect("preprocessing.targets", SCALINGS), "For numeric targets."),
    ),
    createAdvancedFields(),
    summary,
    alert,
    createSubmitRow("Create network"),
  );
  const reasons = createReasons(form, "network.");
  summary.before(reasons.element);
  /** Proposed values of fields that the form does not have. @type {FieldValues} */
  let otherFields = [];
  const buildRequest = () => buildPost("/v1/networks", buildBody(form, editor.getLayers(), otherFields));
  const buildProposalRequest = () => buildPost(`/v1/datasets/${datasetSelect.value}/proposal`, {});
  const curl = createCurlSnippets(buildPost("/v1/networks", {}));
  const getDataset = () => datasets.find((dataset) => dataset.id === datasetSelect.value) ?? null;

  function update() {
    if (!form.isConnected && !form.querySelector("fieldset.layer")) return;
    validateForm(form, readArchitecture(form, editor.getLayers()), getDataset(), summary);
    curl.update(...(datasetSelect.value ? [buildProposalRequest()] : []), buildRequest());
  }

  async function propose() {
    const dataset = getDataset();
    /** @type {Pick<Proposal, "network" | "reasons">} */
    let proposal = { network: DEFAULT_NETWORK, reasons: [] };
    replaceContent(alert);
    try {
      if (dataset) proposal = await sendRequest(buildProposalRequest(), signal);
    } catch (error) {
      if (signal.aborted) throw error;
      showError(error, alert);
    }
    if (getDataset() !== dataset) return; // another one was selected meanwhile
    const { layers, ...fields } = proposal.network;
    name.value = dataset?.name ?? "";
    otherFields = fillControls(form, [...NOT_PROPOSED, ...flattenFields(fields)]);
    editor.setLayers(/** @type {Layer[]} */ (layers));
    reasons.update(proposal.reasons);
  }

  form.addEventListener("input", (event) => {
    if (event.target !== datasetSelect) update();
  });
  datasetSelect.addEventListener("change", () => void propose());
  handleSubmit(form, alert, async () => {
    const { id } = await sendRequest(buildRequest());
    const datasetId = datasetSelect.value;
    location.hash = datasetId ? `#/jobs/new?network=${id}&dataset=${datasetId}` : `#/networks/${id}`;
  });
  return { element: createElement("div", {}, form, curl.element), propose };
}

function createAdvancedFields() {
  return createDetails(
    "Advanced",
    createFormGrid(
      createField("Weight initializer", createSelect("initializer", INITIALIZERS)),
      createField("Seed", createIntegerInput("seed", 0, { min: 0 }), "The same seed draws the same weights."),
      createField("Precision", createSelect("dtype", ["float32", "float64"])),
      createField("Input dropout", createNumberInput("input_dropout", 0, { min: 0, max: 0.99 })),
      createField(
        "Label smoothing",
        createNumberInput("label_smoothing", 0, { min: 0, max: 0.99 }),
        "For the cost categorical_cross_entropy.",
      ),
      createField(
        "Huber δ",
        createNumberInput("huber_delta", 1, { min: 0 }),
        "The error up to which the cost huber is quadratic.",
      ),
      createField(
        "Unknown categories",
        createSelect("preprocessing.handle_unknown", [
          ["error", "reject the row"],
          ["ignore", "encode as zeros"],
        ]),
      ),
      createField(
        "Outliers",
        createSelect("preprocessing.outliers", [
          ["", "default"],
          ["keep", "keep"],
          ["compress", "compress"],
        ]),
        "Scaled inputs beyond ±3. Default: compressed by standardize and robust.",
      ),
    ),
  );
}

/** @param {HTMLFormElement} form @param {Layer[]} layers @returns {Architecture} */
function readArchitecture(form, layers) {
  const values = new FormValues(form);
  const preprocessing = {
    inputs: values.getText("preprocessing.inputs"),
    targets: values.getText("preprocessing.targets"),
  };
  return { inputs: values.getNumber("inputs") ?? 0, layers, cost: values.getText("cost"), preprocessing };
}

/** @param {HTMLFormElement} form @param {Layer[]} layers @param {FieldValues} otherFields that have no control */
function buildBody(form, layers, otherFields) {
  const values = new FormValues(form);
  const { preprocessing: scaling, ...architecture } = readArchitecture(form, layers);
  const name = values.getText("name");
  /** @type {Record<string, unknown>} */
  const body = { ...(name ? { name } : {}), ...architecture };
  for (const [option, defaultValue] of Object.entries(DEFAULTS)) {
    const value = typeof defaultValue === "number" ? values.getNumber(option) : values.getText(option);
    if (value !== undefined && value !== defaultValue) body[option] = value;
  }
  /** @type {Record<string, string>} */
  const preprocessing = {};
  if (scaling.inputs !== "none") preprocessing.inputs = scaling.inputs;
  if (scaling.targets !== "none") preprocessing.targets = scaling.targets;
  if (values.getText("preprocessing.handle_unknown") === "ignore") preprocessing.handle_unknown = "ignore";
  const outliers = values.getText("preprocessing.outliers");
  if (outliers) preprocessing.outliers = outliers;
  body.preprocessing = preprocessing;
  addFields(body, otherFields);
  if (Object.keys(preprocessing).length === 0) delete body.preprocessing;
  return body;
}

/**
 * Show errors at the fields, and summarize the network.
 * @param {HTMLFormElement} form @param {Architecture} architecture @param {ReadyDataset | null} dataset
 * @param {Element} summary
 */
function validateForm(form, architecture, dataset, summary) {
  const messages = new Map(validateArchitecture(architecture, dataset));
  for (const control of /** @type {Iterable<Control>} */ (form.elements)) {
    if (control instanceof HTMLInputElement || control instanceof HTMLSelectElement)
      setValidationMessage(control, messages.get(control.name) ?? "");
  }
  const sentences = [`${formatLayerSizes(architecture)}: ${formatInteger(countParameters(architecture))} parameters.`];
  if (dataset && messages.size === 0) sentences.push(`Fits the dataset ${getDisplayName(dataset)}.`);
  if (messages.size > 0)
    sentences.push(messages.size === 1 ? "1 field is invalid." : `${messages.size} fields are invalid.`);
  const text = sentences.join(" ");
  if (summary.textContent !== text) replaceContent(summary, text);
}
