/** A form that makes a network, proposed from a dataset and checked against it while it is filled in. */

import { COSTS, INITIALIZERS, faults, parameters, proposed, shape } from "./architecture.js";
import { include, labeled } from "./choices.js";
import { commands } from "./curl.js";
import { element, fill } from "./element.js";
import { Values, alertPlace, complain, field, group, input, more, number, onSubmit, select } from "./forms.js";
import { layersEditor } from "./layers_editor.js";
import { ask, post, read } from "./request.js";
import { nothing } from "./tables.js";
import { called, whole } from "./words.js";

/** @import { Ready } from "./answers.js" */

/** @typedef {import("./forms.js").Control} Control */

const SCALINGS = ["none", "standardize", "min_max", "robust"];
/** What is left out of the request where it is as it would be anyway. @type {Record<string, string | number>} */
const DEFAULTS = { initializer: "glorot_uniform", seed: 0, dtype: "float32", label_smoothing: 0, huber_delta: 1, input_dropout: 0 };
/** A start without a dataset. */
const PLAIN = { inputs: 2, layers: [{ units: 8, activation: "tanh" }, { units: 1, activation: "sigmoid" }], cost: "binary_cross_entropy", preprocessing: { inputs: "standardize", targets: "none" } };

/** @type {import("./main.js").Screen} */
export async function newNetworkScreen({ query, signal }) {
  const datasets = await labeled(signal);
  const wanted = query.get("dataset") ?? "";
  await include(datasets, "/v1/datasets", wanted, signal);
  const { form, propose } = networkForm(datasets, wanted || datasets[0]?.id || "", signal);
  await propose();
  return {
    title: "New network",
    content: [
      datasets.length === 0 && nothing("There is no dataset yet. With one, this form is filled in for you.", ["#/datasets", "Make a dataset first"]),
      form,
    ],
  };
}

/** @param {Ready[]} datasets @param {string} chosen @param {AbortSignal} signal */
function networkForm(datasets, chosen, signal) {
  const choice = select("dataset", [["", "none"], ...datasets.map((one) => /** @type {[string, string]} */ ([one.id, called(one)]))], chosen);
  const inputs = number("inputs", 1, { min: 1, step: 1, required: true, inputmode: "numeric" });
  const name = input("name", "text");
  const cost = select("cost", COSTS);
  const scaling = select("preprocessing.inputs", SCALINGS);
  const targets = select("preprocessing.targets", SCALINGS);
  const summary = element("p", { role: "status", class: "summary" });
  const place = alertPlace();
  const editor = layersEditor(() => update());
  const form = element(
    "form",
    { "aria-label": "New network" },
    element("div", { class: "fields" }, field("For the dataset", choice, "Everything below is proposed from it."), field("Name", name)),
    group("Inputs", field("Inputs", inputs, "How many numbers a row has."), field("Preparation of inputs", scaling, "standardize: mean 0 and variance 1.")),
    editor.place,
    group("What is to become small", field("Cost", cost), field("Preparation of targets", targets, "Of numbers that are learned.")),
    moreFields(),
    summary,
    place,
    element("p", { class: "row" }, element("button", { type: "submit", class: "main" }, "Create network")),
  );
  const asked = () => post("/v1/networks", bodyOf(form, editor.layers()));
  const shown = commands(post("/v1/networks", {}));
  const dataset = () => datasets.find((one) => one.id === choice.value) ?? null;

  function update() {
    if (!form.isConnected && !form.querySelector("fieldset.layer")) return;
    const network = networkIn(form, editor.layers());
    check(form, network, dataset(), summary);
    shown.show(asked());
  }

  async function propose() {
    const one = dataset();
    const network = one ? proposed(one, await read(`/v1/datasets/${one.id}/profile`, signal)) : PLAIN;
    name.value = one?.name ?? "";
    inputs.value = String(network.inputs);
    cost.value = network.cost;
    scaling.value = network.preprocessing.inputs;
    targets.value = network.preprocessing.targets;
    editor.show(network.layers);
  }

  form.addEventListener("input", (event) => {
    if (event.target !== choice) update();
  });
  choice.addEventListener("change", () => void propose());
  onSubmit(form, place, async () => {
    const network = await ask(asked());
    location.hash = choice.value ? `#/jobs/new?network=${network.id}&dataset=${choice.value}` : `#/networks/${network.id}`;
  });
  return { form: element("div", {}, form, shown.place), propose };
}

function moreFields() {
  return more(
    "More",
    element(
      "div",
      { class: "fields" },
      field("How weights start", select("initializer", INITIALIZERS)),
      field("Seed", number("seed", 0, { min: 0, step: 1 }), "The same seed draws the same weights."),
      field("Precision", select("dtype", ["float32", "float64"])),
      field("Dropout of inputs", number("input_dropout", 0, { min: 0, max: 0.99 })),
      field("Label smoothing", number("label_smoothing", 0, { min: 0, max: 0.99 }), "With categorical_cross_entropy."),
      field("δ of huber", number("huber_delta", 1, { min: 0 }), "The error up to which the cost is quadratic."),
      field("Categories that were not learned", select("preprocessing.handle_unknown", [["error", "refuse the row"], ["ignore", "leave their inputs 0"]])),
    ),
  );
}

/** @param {HTMLFormElement} form @param {import("./architecture.js").Layer[]} layers */
function networkIn(form, layers) {
  const values = new Values(form);
  const preprocessing = { inputs: values.text("preprocessing.inputs"), targets: values.text("preprocessing.targets") };
  return { inputs: values.number("inputs") ?? 0, layers, cost: values.text("cost"), preprocessing };
}

/** @param {HTMLFormElement} form @param {import("./architecture.js").Layer[]} layers */
function bodyOf(form, layers) {
  const values = new Values(form);
  const { preprocessing, ...network } = networkIn(form, layers);
  const name = values.text("name");
  /** @type {Record<string, unknown>} */
  const body = { ...(name ? { name } : {}), ...network };
  for (const [option, usual] of Object.entries(DEFAULTS)) {
    const value = typeof usual === "number" ? values.number(option) : values.text(option);
    if (value !== undefined && value !== usual) body[option] = value;
  }
  /** @type {Record<string, string>} */
  const prepared = {};
  if (preprocessing.inputs !== "none") prepared.inputs = preprocessing.inputs;
  if (preprocessing.targets !== "none") prepared.targets = preprocessing.targets;
  if (values.text("preprocessing.handle_unknown") === "ignore") prepared.handle_unknown = "ignore";
  if (Object.keys(prepared).length) body.preprocessing = prepared;
  return body;
}

/**
 * Say at the fields what does not go together, and in a sentence what the network is.
 * @param {HTMLFormElement} form @param {import("./architecture.js").Network} network @param {Ready | null} dataset @param {Element} summary
 */
function check(form, network, dataset, summary) {
  const found = new Map(faults(network, dataset));
  for (const control of /** @type {Iterable<Control>} */ (form.elements)) {
    if (control instanceof HTMLInputElement || control instanceof HTMLSelectElement) complain(control, found.get(control.name) ?? "");
  }
  const fits = dataset && found.size === 0 ? ` It fits the dataset ${called(dataset)}.` : "";
  const wrong = found.size ? ` ${found.size === 1 ? "One field needs" : `${found.size} fields need`} another value.` : "";
  const sentence = `${shape(network)}: ${whole(parameters(network))} parameters.${fits}${wrong}`;
  if (summary.textContent !== sentence) fill(summary, sentence);
}

