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
} from "../components/forms.js";
import { buildPost, getJson, sendRequest } from "../lib/api.js";
import { checkCompatibility, formatLayerSizes } from "../lib/architecture.js";
import { createElement, createLink, replaceContent } from "../lib/dom.js";
import { getDisplayName, formatCount, formatProgress } from "../lib/format.js";
import { getSelected, includeById, listTrainableDatasets } from "../lib/select_options.js";

/** @import { Job, Network, Page, ReadyDataset } from "../lib/api_types.js" */
/** @import { Control } from "../components/forms.js" */

const OPTIMIZERS = ["adam", "adamw", "nadam", "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "l-bfgs"];
const SCHEDULES = ["constant", "step", "exponential", "cosine", "inverse_scaling", "plateau"];
/** @type {Record<string, number>} */
const DEFAULT_LEARNING_RATES = {
  sgd: 0.1,
  momentum: 0.02,
  nesterov: 0.02,
  adagrad: 0.02,
  adam: 0.003,
  adamw: 0.003,
  nadam: 0.003,
  rmsprop: 0.001,
};
const DEFAULT_BATCH_SIZE = 32;
/** Training steps that small networks need; the fewer rows, the more epochs they take. */
const DEFAULT_STEPS = 3500;
const MIN_EPOCHS = 20;
const MAX_EPOCHS = 500;
const DEFAULT_VALIDATION_FRACTION = 0.2;
const MIN_ROWS_FOR_VALIDATION = 50;
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
  return { title: "New job", content: [createJobForm(networks.data, datasets, jobs.data, query)] };
}

/** @param {Network[]} networks @param {ReadyDataset[]} datasets @param {Job[]} jobs @param {URLSearchParams} query */
function createJobForm(networks, datasets, jobs, query) {
  const [firstNetwork] = networks;
  const [firstDataset] = datasets;
  if (!firstDataset) return createEmptyState("No dataset to train on yet.", ["#/datasets", "Create a dataset"]);
  if (!firstNetwork) {
    const href = `#/networks/new?dataset=${query.get("dataset") ?? firstDataset.id}`;
    return createEmptyState("No network to train yet.", [href, "Create a network"]);
  }
  const networkSelect = createSelect(
    "network_id",
    networks.map((network) => [network.id, `${getDisplayName(network)} (${formatLayerSizes(network)})`]),
    query.get("network") ?? firstNetwork.id,
  );
  const getNetwork = () => getSelected(networks, networkSelect);
  const fitting = datasets.find((dataset) => checkCompatibility(getNetwork(), dataset).length === 0);
  const datasetSelect = createSelect(
    "dataset_id",
    datasets.map((dataset) => [dataset.id, getDisplayName(dataset)]),
    query.get("dataset") ?? (fitting ?? firstDataset).id,
  );
  const getDataset = () => getSelected(datasets, datasetSelect);
  const name = createInput("name", "text");
  const epochs = createIntegerInput("epochs", 30, { min: 1, required: true });
  const optimizer = createSelect("optimizer", OPTIMIZERS);
  const learningRate = createNumberInput("learning_rate", DEFAULT_LEARNING_RATES.adam ?? 0, { min: 0, required: true });
  const fraction = createNumberInput("validation.fraction", DEFAULT_VALIDATION_FRACTION, { min: 0, max: 0.99 });
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
      createField("Epochs", epochs, "Passes over the training rows."),
      createField("Batch size", createIntegerInput("batch_size", DEFAULT_BATCH_SIZE, { min: 1 }), "Rows per step."),
      createField("Optimizer", optimizer),
      createField("Learning rate η", learningRate),
      createField("Learning rate schedule", createSelect("schedule", SCHEDULES, "cosine")),
    ),
    createFieldset(
      "Validation",
      createField(
        "Validation fraction",
        fraction,
        "Share of rows held out from training and evaluated after every epoch. 0 for none.",
      ),
      createCheckboxField(
        "Early stopping",
        createInput("early", "checkbox"),
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
  const buildRequest = () => buildPost("/v1/jobs", buildBody(form));
  const curl = createCurlSnippets(buildPost("/v1/jobs", {}));
  const update = () => {
    const messages = checkCompatibility(getNetwork(), getDataset()).map(([, message]) => message);
    setValidationMessage(datasetSelect, messages.join(" "));
    for (const control of /** @type {Iterable<Control>} */ (form.elements))
      if (MINI_BATCH_FIELDS.includes(control.name)) control.disabled = optimizer.value === "l-bfgs";
    replaceContent(
      summary,
      messages.length ? renderMismatch(datasetSelect.value) : describeTraining(getDataset(), fraction, epochs),
    );
    curl.update(buildRequest());
  };
  const propose = () => {
    const { rows } = getDataset();
    const network = getNetwork();
    const jobCount = jobs.filter((job) => job.network_id === network.id).length;
    name.value = network.name ? `${network.name} ${jobCount + 1}` : "";
    fraction.value = String(rows < MIN_ROWS_FOR_VALIDATION ? 0 : DEFAULT_VALIDATION_FRACTION);
    const needed = Math.ceil((DEFAULT_STEPS * DEFAULT_BATCH_SIZE) / rows);
    epochs.value = String(Math.min(MAX_EPOCHS, Math.max(MIN_EPOCHS, needed)));
    update();
  };
  form.addEventListener("input", (event) => {
    if (event.target === optimizer)
      learningRate.value = String(DEFAULT_LEARNING_RATES[optimizer.value] ?? learningRate.value);
    if (event.target === datasetSelect || event.target === networkSelect) propose();
    else update();
  });
  handleSubmit(form, alert, async () => {
    const job = await sendRequest(buildRequest());
    location.hash = `#/jobs/${job.id}`;
  });
  propose();
  return createElement("div", {}, form, curl.element);
}

/** @param {string} datasetId */
function renderMismatch(datasetId) {
  const href = `#/networks/new?dataset=${datasetId}`;
  return ["The network does not fit the dataset. ", createLink(href, "Create a network for the dataset")];
}

/** @param {ReadyDataset} dataset @param {HTMLInputElement} fraction @param {HTMLInputElement} epochs */
function describeTraining({ rows }, fraction, epochs) {
  const trainingRows = rows - Math.round(rows * (Number(fraction.value) || 0));
  const duration = formatCount(Number(epochs.value), "epoch");
  return `Trains on ${formatProgress(trainingRows, rows)} rows, for ${duration}.`;
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

/** @param {HTMLFormElement} form */
function buildBody(form) {
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
  return body;
}
