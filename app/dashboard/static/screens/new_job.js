/** A form that starts a job, with defaults that work for most data. */

import { createCurlSnippets } from "../components/curl_snippets.js";
import { createEmptyState } from "../components/data_display.js";
import {
  FormValues,
  createAlert,
  createCheckboxField,
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
import { addFields, createReasons, fillControls, flattenFields } from "../components/proposal_fields.js";
import { buildPost, getJson, sendRequest } from "../lib/api.js";
import { checkCompatibility, formatLayerSizes } from "../lib/architecture.js";
import { createElement, createLink, replaceContent } from "../lib/dom.js";
import { getDisplayName, formatCount, formatProgress } from "../lib/format.js";
import { getSelected, includeById, listTrainableDatasets } from "../lib/select_options.js";

/** @import { Job, Network, Page, Proposal, ReadyDataset } from "../lib/api_types.js" */
/** @import { Control } from "../components/forms.js" */
/** @import { FieldValues } from "../components/proposal_fields.js" */

const OPTIMIZERS = ["adam", "adamw", "nadam", "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "l-bfgs"];
const SCHEDULES = ["constant", "step", "exponential", "cosine", "inverse_scaling", "plateau"];
/** Learning rates for optimizers other than the proposed one. @type {Record<string, number>} */
const LEARNING_RATES = {
  sgd: 0.1,
  momentum: 0.02,
  nesterov: 0.02,
  adagrad: 0.02,
  adam: 0.001,
  adamw: 0.001,
  nadam: 0.001,
  rmsprop: 0.001,
};
/** Values of fields that a proposal may leave out, and that an earlier one may have set. @type {FieldValues} */
const NOT_PROPOSED = [
  ["schedule", "constant"],
  ["validation.fraction", 0],
];
const OPTIONAL_NUMBERS = ["l1", "l2", "max_seconds", "target_cost"];
const NORM_LIMITS = ["clip_norm", "max_norm"];
/** Fields that l-bfgs does not have: each step uses all rows, and a line search finds its length. */
const MINI_BATCH_FIELDS = ["batch_size", "learning_rate", "schedule", ...NORM_LIMITS];

/** @type {import("../main.js").Screen} */
export async function loadNewJobScreen({ query, signal }) {
  /** @type {[Page<Network>, ReadyDataset[], Page<Job>]} */
  const [networks, datasets, jobs] = await Promise.all([
    getJson("/v1/networks?limit=100", signal),
    listTrainableDatasets(signal),
    getJson("/v1/jobs?limit=100", signal),
  ]);
  await includeById(networks.data, "/v1/networks", query.get("network"), signal);
  await includeById(datasets, "/v1/datasets", query.get("dataset"), signal);
  return { title: "New job", content: [await createContent(networks.data, datasets, jobs.data, query, signal)] };
}

/**
 * @param {Network[]} networks @param {ReadyDataset[]} datasets @param {Job[]} jobs @param {URLSearchParams} query
 * @param {AbortSignal} signal
 */
async function createContent(networks, datasets, jobs, query, signal) {
  const [firstNetwork] = networks;
  const [firstDataset] = datasets;
  if (!firstDataset) return createEmptyState("No dataset to train on yet.", ["#/datasets", "Create a dataset"]);
  if (!firstNetwork) {
    const href = `#/networks/new?dataset=${query.get("dataset") ?? firstDataset.id}`;
    return createEmptyState("No network to train yet.", [href, "Create a network"]);
  }
  const { element, propose } = createJobForm(networks, datasets, jobs, query, signal);
  await propose();
  return element;
}

/**
 * @param {Network[]} networks at least one @param {ReadyDataset[]} datasets at least one @param {Job[]} jobs
 * @param {URLSearchParams} query @param {AbortSignal} signal
 */
function createJobForm(networks, datasets, jobs, query, signal) {
  const networkSelect = createSelect(
    "network_id",
    networks.map((network) => [network.id, `${getDisplayName(network)} (${formatLayerSizes(network)})`]),
    query.get("network") ?? networks[0]?.id,
  );
  const getNetwork = () => getSelected(networks, networkSelect);
  const fitting = datasets.find((dataset) => checkCompatibility(getNetwork(), dataset).length === 0);
  const datasetSelect = createSelect(
    "dataset_id",
    datasets.map((dataset) => [dataset.id, getDisplayName(dataset)]),
    query.get("dataset") ?? (fitting ?? datasets[0])?.id,
  );
  const getDataset = () => getSelected(datasets, datasetSelect);
  const name = createInput("name", "text");
  const optimizer = createSelect("optimizer", OPTIMIZERS);
  const learningRate = createNumberInput("learning_rate", "", { min: 0, required: true });
  const early = createInput("early", "checkbox", { "data-fields": "early_stopping" });
  const summary = createElement("p", { role: "status", class: "form-summary" });
  const alert = createAlert();
  const form = createElement(
    "form",
    { "aria-label": "New job" },
    createFormGrid(
      createField("Network", networkSelect),
      createField("Dataset", datasetSelect),
      createField("Name", name),
    ),
    createFieldset(
      "Training",
      createField(
        "Epochs",
        createIntegerInput("epochs", "", { min: 1, required: true }),
        "Passes over the training rows.",
      ),
      createField(
        "Batch size",
        createIntegerInput("batch_size", "", { min: 1, required: true }),
        "Rows per step.",
      ),
      createField("Optimizer", optimizer),
      createField("Learning rate η", learningRate),
      createField("Learning rate schedule", createSelect("schedule", SCHEDULES)),
    ),
    createFieldset(
      "Validation",
      createField(
        "Validation fraction",
        createNumberInput("validation.fraction", "", { min: 0, max: 0.99 }),
        "Share of rows held out from training and evaluated after every epoch. 0 for none.",
      ),
      createCheckboxField(
        "Early stopping",
        early,
        "Stop when the cost stops improving, and publish the weights of the best epoch.",
      ),
      createField(
        "Patience",
        createIntegerInput("early_stopping.patience", 10, { min: 1 }),
        "Epochs without improvement before training stops early.",
      ),
    ),
    createAdvancedFields(),
    summary,
    alert,
    createSubmitRow("Start job"),
  );
  const reasons = createReasons(form, "job.");
  summary.before(reasons.element);
  /** Names of the fields that the user has changed, which no proposal changes. @type {Set<string>} */
  const changed = new Set();
  /** @type {Record<string, unknown>} */
  let proposed = {};
  /** Proposed values of fields that the form does not have. @type {FieldValues} */
  let otherFields = [];
  const buildRequest = () => buildPost("/v1/jobs", buildBody(form, otherFields));
  const buildProposalRequest = () => buildPost(`/v1/datasets/${datasetSelect.value}/proposal`, {});
  const curl = createCurlSnippets(buildPost("/v1/jobs", {}));
  const update = () => {
    const messages = checkCompatibility(getNetwork(), getDataset()).map(([, message]) => message);
    setValidationMessage(datasetSelect, messages.join(" "));
    for (const control of /** @type {Iterable<Control>} */ (form.elements))
      if (MINI_BATCH_FIELDS.includes(control.name)) control.disabled = optimizer.value === "l-bfgs";
    replaceContent(
      summary,
      messages.length ? renderMismatch(datasetSelect.value) : describeTraining(getDataset(), form),
    );
    curl.update(buildProposalRequest(), buildRequest());
  };
  const proposeName = () => {
    const network = getNetwork();
    const jobCount = jobs.filter((job) => job.network_id === network.id).length;
    if (!changed.has("name")) name.value = network.name ? `${network.name} ${jobCount + 1}` : "";
  };
  const propose = async () => {
    const dataset = getDataset();
    replaceContent(alert);
    try {
      /** @type {Proposal} */
      const proposal = await sendRequest(buildProposalRequest(), signal);
      if (getDataset() !== dataset) return; // another one was selected meanwhile
      proposed = proposal.job;
      otherFields = fillControls(form, [...NOT_PROPOSED, ...flattenFields(proposed)], changed);
      if (!changed.has("early")) early.checked = "early_stopping" in proposed;
      reasons.update(proposal.reasons);
    } catch (error) {
      if (signal.aborted) throw error;
      showError(error, alert);
    }
    proposeName();
    update();
  };
  form.addEventListener("input", ({ target }) => {
    const control = /** @type {Control} */ (target);
    changed.add(control.name);
    if (control === optimizer) {
      changed.add(learningRate.name);
      const rate = optimizer.value === proposed.optimizer ? proposed.learning_rate : LEARNING_RATES[optimizer.value];
      if (rate !== undefined) learningRate.value = String(rate);
    }
    if (control === networkSelect) proposeName();
    update();
    if (control === datasetSelect) void propose();
  });
  handleSubmit(form, alert, async () => {
    const job = await sendRequest(buildRequest());
    location.hash = `#/jobs/${job.id}`;
  });
  return { element: createElement("div", {}, form, curl.element), propose };
}

/** @param {string} datasetId */
function renderMismatch(datasetId) {
  const href = `#/networks/new?dataset=${datasetId}`;
  return ["The network does not fit the dataset. ", createLink(href, "Create a network for the dataset")];
}

/** @param {ReadyDataset} dataset @param {HTMLFormElement} form */
function describeTraining({ rows }, form) {
  const values = new FormValues(form);
  const trainingRows = rows - Math.round(rows * (values.getNumber("validation.fraction") ?? 0));
  const duration = formatCount(values.getNumber("epochs") ?? 0, "epoch");
  return `Trains on ${formatProgress(trainingRows, rows)} rows, for ${values.isChecked("early") ? "at most " : ""}${duration}.`;
}

function createAdvancedFields() {
  return createDetails(
    "Advanced",
    createFormGrid(
      createField("Device", createSelect("device", ["auto", "cpu", "cuda"])),
      createField("Seed", createIntegerInput("seed", 0, { min: 0 }), "The same seed shuffles and splits the same way."),
      createField(
        "Priority",
        createIntegerInput("priority", 0, { min: -1000, max: 1000 }),
        "Jobs with a higher priority start first.",
      ),
      createField("L1 penalty λ", createNumberInput("l1", "", { min: 0 })),
      createField("L2 penalty λ", createNumberInput("l2", "", { min: 0 })),
      createField("Gradient norm limit", createNumberInput("clip_norm", "", { min: 0 })),
      createField("Weight norm limit per unit", createNumberInput("max_norm", "", { min: 0 })),
      createField("Time limit in seconds", createNumberInput("max_seconds", "", { min: 0 })),
      createField("Target cost", createNumberInput("target_cost", ""), "Training stops when it is reached."),
      createCheckboxField(
        "Balance classes",
        createInput("balanced", "checkbox"),
        "Every class counts the same, regardless of its number of rows.",
      ),
      createCheckboxField(
        "Warm start",
        createInput("warm_start", "checkbox"),
        "Start from the weights of the current version.",
      ),
    ),
  );
}

/** @param {HTMLFormElement} form @param {FieldValues} otherFields that have no control */
function buildBody(form, otherFields) {
  const values = new FormValues(form);
  const hasMiniBatches = values.getText("optimizer") !== "l-bfgs";
  /** @type {Record<string, unknown>} */
  const body = { network_id: values.getText("network_id"), dataset_id: values.getText("dataset_id") };
  if (values.getText("name")) body.name = values.getText("name");
  body.epochs = values.getNumber("epochs");
  if (hasMiniBatches) {
    body.batch_size = values.getNumber("batch_size");
    body.learning_rate = values.getNumber("learning_rate");
  }
  body.optimizer = values.getText("optimizer");
  if (hasMiniBatches && values.getText("schedule") !== "constant") body.schedule = values.getText("schedule");
  const fraction = values.getNumber("validation.fraction");
  if (fraction) body.validation = { fraction };
  if (values.isChecked("early")) body.early_stopping = { patience: values.getNumber("early_stopping.patience") };
  for (const name of hasMiniBatches ? [...OPTIONAL_NUMBERS, ...NORM_LIMITS] : OPTIONAL_NUMBERS)
    if (values.getNumber(name) !== undefined) body[name] = values.getNumber(name);
  for (const name of ["seed", "priority"]) if (values.getNumber(name)) body[name] = values.getNumber(name);
  if (values.getText("device") !== "auto") body.device = values.getText("device");
  if (values.isChecked("balanced")) body.class_weights = "balanced";
  if (values.isChecked("warm_start")) body.warm_start = true;
  addFields(body, otherFields);
  return body;
}
