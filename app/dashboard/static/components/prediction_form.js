/** A form for one row of inputs, with the prediction of a network. */

import { buildPost, sendRequest } from "../lib/api.js";
import { createElement, replaceContent } from "../lib/dom.js";
import { formatNumber, formatPercent } from "../lib/format.js";
import { createCurlSnippets } from "./curl_snippets.js";
import {
  FormValues,
  createAlert,
  createField,
  createFormGrid,
  createInput,
  createNumberInput,
  createSelect,
  createSubmitRow,
  handleSubmit,
  setValidationMessage,
  showError,
} from "./forms.js";
import { createTable } from "./table.js";

/** @import { Network, Prediction } from "../lib/api_types.js" */

/** With more inputs, a single text field is used for all. */
const MAX_FIELDS = 64;
const TOP_K = 3;

/** @typedef {{name: string, type: string, categories: string[] | null}} InputColumn */

/**
 * `predict` shows the prediction for a request body; `clear` removes it, and aborts a pending one; `setValues` fills in
 * the form and returns its request body.
 * @typedef {object} PredictionForm
 * @property {HTMLFormElement} form
 * @property {HTMLElement} prediction
 * @property {HTMLElement} curl
 * @property {(body: object) => Promise<void>} predict
 * @property {() => void} clear
 * @property {(values: unknown[]) => object} setValues
 */

/**
 * @param {Network} network @param {InputColumn[]} columns @param {boolean} hasColumnNames whether rows are objects
 * @param {AbortSignal} signal
 * @returns {PredictionForm}
 */
export function createPredictionForm(network, columns, hasColumnNames, signal) {
  const alert = createAlert();
  const output = createElement("div", { "aria-live": "polite" });
  const hasFields = columns.length <= MAX_FIELDS;
  const allValues = createElement("textarea", { name: "values", rows: 4, required: true, spellcheck: "false" });
  const controls = hasFields ? columns.map(createControl) : [];
  const form = createElement(
    "form",
    { "aria-label": "Single row" },
    hasFields
      ? createFormGrid(controls.map((control, index) => createField(columns[index]?.name ?? "", control)))
      : createField(
          `${columns.length} values, separated by commas`,
          allValues,
          "As in JSON: text in quotation marks, null for a missing value.",
        ),
    createSubmitRow("Predict"),
  );
  const isSoftmax = network.layers[network.layers.length - 1]?.activation === "softmax";
  const options = isSoftmax || network.cost === "binary_cross_entropy" ? { top_k: TOP_K } : {};
  const buildRequest = (/** @type {object} */ body) =>
    buildPost(`/v1/networks/${network.id}/predictions`, { ...body, ...options });
  const curl = createCurlSnippets(buildRequest(buildBody()));
  let pending = new AbortController();

  function buildBody() {
    if (!hasFields) return { inputs: [parseValues(allValues.value) ?? []] };
    const values = new FormValues(form);
    const row = columns.map((column, index) => parseValue(values.getRawText(`value.${index}`), column));
    if (!hasColumnNames) return { inputs: [row] };
    return { rows: [Object.fromEntries(columns.map((column, index) => [column.name, row[index]]))] };
  }

  function clear() {
    pending.abort();
    replaceContent(output);
    replaceContent(alert);
  }

  /** @param {object} body */
  async function predict(body) {
    pending.abort();
    const current = (pending = new AbortController());
    curl.update(buildRequest(body));
    try {
      const prediction = await sendRequest(buildRequest(body), AbortSignal.any([signal, current.signal]));
      if (current.signal.aborted) return;
      replaceContent(output, renderPrediction(prediction));
      replaceContent(alert);
    } catch (error) {
      // Superseded by another prediction, or the screen was left.
      if (current.signal.aborted || signal.aborted) return;
      replaceContent(output);
      showError(error, alert);
    }
  }

  handleSubmit(form, alert, () => predict(buildBody()));
  form.addEventListener("input", () => {
    if (!hasFields) {
      const isInvalid = allValues.value && !parseValues(allValues.value);
      setValidationMessage(allValues, isInvalid ? "Enter JSON values, separated by commas." : "");
    }
    curl.update(buildRequest(buildBody()));
  });
  return {
    form,
    prediction: createElement("div", { class: "prediction" }, alert, output),
    curl: curl.element,
    predict,
    clear,
    setValues: (values) => {
      controls.forEach((control, index) => (control.value = formatControlValue(values[index], columns[index])));
      if (!hasFields) allValues.value = values.map((value) => JSON.stringify(value ?? null)).join(", ");
      setValidationMessage(allValues, "");
      return buildBody();
    },
  };
}

/** @param {InputColumn} column @param {number} index */
function createControl(column, index) {
  const name = `value.${index}`;
  if (column.type === "boolean") return createSelect(name, [["", "missing"], "true", "false"]);
  if (column.type === "category" && column.categories)
    return createSelect(name, [["", "missing"], ...column.categories], column.categories[0]);
  if (column.type === "number") return createNumberInput(name, "");
  return createInput(name, "text", column.type === "date" ? { placeholder: "2024-01-31 or 2024-01-31T12:00:00" } : {});
}

/**
 * Return the text of a control for a value of a table, whose categories may have other spellings than the network's.
 * @param {unknown} value @param {InputColumn | undefined} column
 */
function formatControlValue(value, column) {
  const text = String(value ?? "");
  const categories = column?.categories ?? [];
  const trimmed = text.trim();
  const isSame = (/** @type {string} */ name) =>
    name === trimmed.toLowerCase() || (trimmed !== "" && Number(name) === Number(trimmed));
  return categories.find((name) => name === text || name === trimmed) ?? categories.find(isSame) ?? text;
}

/** Parse the text of a control. @param {string} text @param {InputColumn} column */
function parseValue(text, { type }) {
  if (type === "category") return text || null;
  const value = text.trim();
  if (value === "") return null;
  if (type === "number") return Number(value);
  return type === "boolean" ? value === "true" : value;
}

/**
 * Parse JSON values separated by commas, or a JSON array.
 * @param {string} text @returns {unknown[] | null} null if they are invalid
 */
function parseValues(text) {
  try {
    const values = JSON.parse(`[${text}]`);
    return values.length === 1 && Array.isArray(values[0]) ? values[0] : values;
  } catch {
    return null;
  }
}

/** @param {Prediction} prediction */
function renderPrediction({ top, labels, outputs, warnings }) {
  const ranking = top?.[0];
  const label = labels?.[0] ?? ranking?.[0]?.label ?? (outputs[0] ?? []).map(formatNumber).join(", ");
  return [
    createElement("p", { class: "predicted-value" }, "Predicted: ", createElement("strong", {}, String(label))),
    ...warnings.map((warning) => createElement("p", { class: "warning" }, warning)),
    ranking &&
      createTable(
        "Most likely classes",
        ["Class", "Score", ""],
        ranking.map(({ label, score }) => [
          String(label),
          formatPercent(score),
          createElement("meter", { value: score, max: 1, "aria-label": `Score of ${label}` }),
        ]),
      ),
  ];
}
