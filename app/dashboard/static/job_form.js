/** A form that starts a job, with settings that work for most data. */

import { misfits, shape } from "./architecture.js";
import { include, labeled } from "./choices.js";
import { commands } from "./curl.js";
import { element, fill, link } from "./element.js";
import { Values, alertPlace, checkbox, complain, field, group, input, more, number, onSubmit, select } from "./forms.js";
import { ask, post, read } from "./request.js";
import { nothing } from "./tables.js";
import { called, whole } from "./words.js";

/** @import { Job, Network, Page, Ready } from "./answers.js" */

/** @typedef {import("./forms.js").Control} Control */

const OPTIMIZERS = ["adam", "adamw", "nadam", "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "l-bfgs"];
const SCHEDULES = ["constant", "step", "exponential", "cosine", "inverse_scaling", "plateau"];
/** A rate that suits each optimizer at first. @type {Record<string, number>} */
const RATES = { sgd: 0.1, momentum: 0.02, nesterov: 0.02, adagrad: 0.02, adam: 0.003, adamw: 0.003, nadam: 0.003, rmsprop: 0.001 };
const BATCH = 32;
/** As many steps as small networks need, so that few rows are seen more often. */
const STEPS = 3500;
const FEW_ROWS = 50;
const NUMBERS = ["l1", "l2", "max_seconds", "target_cost"];
/** What l-bfgs, which finds its own steps from all rows, does not have. */
const LIMITS = ["clip_norm", "max_norm"];
const OF_STEPS = ["batch_size", "learning_rate", "schedule", ...LIMITS];

/** @type {import("./main.js").Screen} */
export async function newJobScreen({ query, signal }) {
  /** @type {[Page<Network>, Ready[], Page<Job>]} */
  const [networks, datasets, jobs] = await Promise.all([
    read("/v1/networks?limit=100", signal),
    labeled(signal),
    read("/v1/jobs?limit=100", signal),
  ]);
  await include(networks.data, "/v1/networks", query.get("network"), signal);
  await include(datasets, "/v1/datasets", query.get("dataset"), signal);
  const title = "New job";
  if (datasets.length === 0) return { title, content: [nothing("There is no dataset to learn from yet.", ["#/datasets", "Make a dataset first"])] };
  if (networks.data.length === 0)
    return { title, content: [nothing("There is no network to train yet.", [`#/networks/new?dataset=${query.get("dataset") ?? datasets[0]?.id}`, "Create one"])] };
  return { title, content: [jobForm(networks.data, datasets, jobs.data, query)] };
}

/** @param {Network[]} networks @param {Ready[]} datasets @param {Job[]} jobs @param {URLSearchParams} query */
function jobForm(networks, datasets, jobs, query) {
  const network = select("network_id", networks.map((one) => [one.id, `${called(one)} (${shape(one)})`]), query.get("network") ?? networks[0]?.id);
  const suited = datasets.find((one) => misfits(chosenOf(networks, network), one).length === 0);
  const dataset = select("dataset_id", datasets.map((one) => [one.id, called(one)]), query.get("dataset") ?? (suited ?? datasets[0])?.id);
  const optimizer = select("optimizer", OPTIMIZERS);
  const rate = number("learning_rate", RATES.adam ?? 0, { min: 0, required: true });
  const epochs = number("epochs", 30, { min: 1, step: 1, required: true, inputmode: "numeric" });
  const fraction = number("validation.fraction", 0.2, { min: 0, max: 0.99 });
  const name = input("name", "text");
  const summary = element("p", { role: "status", class: "summary" });
  const place = alertPlace();
  const form = element(
    "form",
    { "aria-label": "New job" },
    element("div", { class: "fields" }, field("Network", network), field("Dataset", dataset), field("Name", name)),
    group(
      "Steps",
      field("Epochs", epochs, "Passes over all rows."),
      field("Rows of a mini-batch", number("batch_size", BATCH, { min: 1, step: 1, inputmode: "numeric" })),
      field("Optimizer", optimizer),
      field("Learning rate η", rate),
      field("Schedule of the rate", select("schedule", SCHEDULES, "cosine")),
    ),
    group(
      "Validation",
      field("Share of rows kept for it", fraction, "They are not trained on; the network is measured on them after every epoch. 0 for none."),
      checkbox("Stop early", input("early", "checkbox"), "End when the cost has stopped falling, with the best epoch's weights."),
      field("Epochs to wait for a lower cost", number("early_stopping.patience", 10, { min: 1, step: 1 })),
    ),
    moreFields(),
    summary,
    place,
    element("p", { class: "row" }, element("button", { type: "submit", class: "main" }, "Start job")),
  );
  const asked = () => post("/v1/jobs", bodyOf(form));
  const shown = commands(post("/v1/jobs", {}));
  const chosen = () => ({
    network: chosenOf(networks, network),
    dataset: chosenOf(datasets, dataset),
  });
  const update = () => {
    const wrong = misfits(chosen().network, chosen().dataset);
    complain(dataset, wrong.map(([, sentence]) => sentence).join(" "));
    for (const control of /** @type {Iterable<Control>} */ (form.elements))
      if (OF_STEPS.includes(control.name)) control.disabled = optimizer.value === "l-bfgs";
    const { rows } = chosen().dataset;
    const trained = rows - Math.round(rows * (Number(fraction.value) || 0));
    fill(
      summary,
      wrong.length
        ? element("span", {}, "The network and the dataset do not fit. ", link(`#/networks/new?dataset=${dataset.value}`, "Create a network for the dataset"))
        : `${whole(trained)} of ${whole(rows)} rows are trained on, ${whole(Number(epochs.value))} times.`,
    );
    shown.show(asked());
  };
  const propose = () => {
    const { rows } = chosen().dataset;
    const before = jobs.filter((one) => one.network_id === network.value).length;
    name.value = chosen().network.name ? `${chosen().network.name} ${before + 1}` : "";
    fraction.value = rows < FEW_ROWS ? "0" : "0.2";
    epochs.value = String(Math.min(500, Math.max(20, Math.ceil((STEPS * BATCH) / rows))));
    update();
  };
  form.addEventListener("input", (event) => {
    if (event.target === optimizer) rate.value = String(RATES[optimizer.value] ?? rate.value);
    if (event.target === dataset || event.target === network) propose();
    else update();
  });
  onSubmit(form, place, async () => {
    const job = await ask(asked());
    location.hash = `#/jobs/${job.id}`;
  });
  propose();
  return element("div", {}, form, shown.place);
}

/** What is chosen of these, of which there is at least one. @template {{id: string}} One @param {One[]} all @param {HTMLSelectElement} choice */
function chosenOf(all, choice) {
  return /** @type {One} */ (all.find((one) => one.id === choice.value) ?? all[0]);
}

function moreFields() {
  return more(
    "More",
    element(
      "div",
      { class: "fields" },
      field("Device", select("device", ["auto", "cpu", "cuda"])),
      field("Seed", number("seed", 0, { min: 0, step: 1 }), "The same seed shuffles and splits the same way."),
      field("Priority", number("priority", 0, { min: -1000, max: 1000, step: 1 }), "Higher ones start first."),
      field("λ of l1", number("l1", "", { min: 0 })),
      field("λ of l2", number("l2", "", { min: 0 })),
      field("Longest gradient", number("clip_norm", "", { min: 0 })),
      field("Longest weights into a unit", number("max_norm", "", { min: 0 })),
      field("End after seconds", number("max_seconds", "", { min: 0 })),
      field("End at a cost of", number("target_cost", "")),
      checkbox("Classes count the same", input("balanced", "checkbox"), "However many rows each has."),
      checkbox("Go on from the current version", input("warm_start", "checkbox"), "And not from the start."),
    ),
  );
}

/** @param {HTMLFormElement} form */
function bodyOf(form) {
  const values = new Values(form);
  const isFull = values.text("optimizer") === "l-bfgs";
  /** @type {Record<string, unknown>} */
  const body = { network_id: values.text("network_id"), dataset_id: values.text("dataset_id") };
  if (values.text("name")) body.name = values.text("name");
  body.epochs = values.number("epochs");
  if (!isFull) Object.assign(body, { batch_size: values.number("batch_size"), learning_rate: values.number("learning_rate") });
  body.optimizer = values.text("optimizer");
  if (!isFull && values.text("schedule") !== "constant") body.schedule = values.text("schedule");
  const fraction = values.number("validation.fraction");
  if (fraction) body.validation = { fraction };
  if (values.checked("early")) body.early_stopping = { patience: values.number("early_stopping.patience") };
  for (const name of isFull ? NUMBERS : [...NUMBERS, ...LIMITS]) if (values.number(name) !== undefined) body[name] = values.number(name);
  for (const name of ["seed", "priority"]) if (values.number(name)) body[name] = values.number(name);
  if (values.text("device") !== "auto") body.device = values.text("device");
  if (values.checked("balanced")) body.class_weights = "balanced";
  if (values.checked("warm_start")) body.warm_start = true;
  return body;
}
