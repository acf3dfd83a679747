/** Predictions: drawn, filled in, or of a whole file. */

import { sideOf } from "./architecture.js";
import { batch } from "./batch.js";
import { commands } from "./curl.js";
import { drawingPad } from "./drawing.js";
import { element, fill, link } from "./element.js";
import { Values, alertPlace, field, input, number, onSubmit, select, showProblem } from "./forms.js";
import { learnedFrom } from "./network.js";
import { ask, post, read } from "./request.js";
import { nothing, section, table } from "./tables.js";
import { called, figure, percent } from "./words.js";

/** @import { Dataset, Network, Prediction, Profile, Ready, Rows, Version } from "./answers.js" */

/** More inputs than this are not filled in one by one. */
const MOST_FIELDS = 64;
const TOP = 3;

/**
 * What a version takes: the names and types of its columns, with what is known of their values.
 * @typedef {{name: string, type: string, categories: string[] | null, example: unknown}} Column
 */

/** @type {import("./main.js").Screen} */
export async function predictScreen({ parts: [id = ""], signal }) {
  /** @type {Network} */
  const network = await read(`/v1/networks/${encodeURIComponent(id)}`, signal);
  const path = `/v1/networks/${network.id}`;
  const title = `Predict with ${called(network)}`;
  /** @type {Version} */
  const version = await read(`${path}/versions/current`, signal);
  if (version.origin === "drawn")
    return { title, content: [nothing("This network has not been trained yet: it would guess.", [`#/jobs/new?network=${network.id}`, "Train it"])] };
  const dataset = await datasetOf(version, signal);
  const profile = dataset && (await read(`/v1/datasets/${dataset.id}/profile`, signal));
  const columns = columnsOf(version, network, dataset);
  const side = columns.every((one) => one.type === "number") ? sideOf(columns.length) : null;
  const one = single(network, columns, version.preparation?.columns ?? null);
  const fromRow = dataset && rowTaker(dataset, columns, (values) => (pad ? pad.show(values.map(Number)) : one.show(values)));
  const pad = side === null ? null : drawingPad(side, rangeOf(profile), (pixels) => void one.predict({ inputs: [pixels] }));
  return {
    title,
    content: [
      element("p", { class: "row" }, link(`#/networks/${network.id}`, "The network"), `Version ${version.version} answers.`),
      pad ? section("Draw", element("div", { class: "drawing" }, pad.place, one.answer), fromRow, one.commands) : section("One row", one.form, fromRow, one.answer, one.commands),
      section("A whole file", batch(network, version, signal)),
    ],
  };
}

/** What a version was trained on, as far as that is still there. @param {Version} version @param {AbortSignal} signal */
async function datasetOf(version, signal) {
  const id = await learnedFrom([version], version.version, signal);
  const dataset = id && (await read(`/v1/datasets/${id}`, signal).catch(() => null));
  return dataset && dataset.state === "ready" ? dataset : null;
}

/** @param {Version} version @param {Network} network @param {Dataset} dataset @returns {Column[]} */
function columnsOf(version, network, dataset) {
  const named = version.preparation?.columns;
  if (!named) return Array.from({ length: network.inputs }, (_, place) => ({ name: `input ${place + 1}`, type: "number", categories: null, example: null }));
  const known = new Map((dataset?.columns ?? []).map((one) => [one.name, one]));
  return named.map((one) => ({ ...one, categories: known.get(one.name)?.categories ?? null, example: null }));
}

/** @param {Profile} profile @returns {[number, number]} of the pixels */
function rangeOf(profile) {
  const features = (profile?.columns ?? []).filter((one) => one.role === "feature" && one.max !== null);
  if (features.length === 0) return [0, 1];
  return [Math.min(...features.map((one) => one.min ?? 0)), Math.max(...features.map((one) => one.max ?? 1))];
}

/** @param {Network} network @param {Column[]} columns @param {any[] | null} named */
function single(network, columns, named) {
  const place = alertPlace();
  const answer = element("div", { class: "answer", "aria-live": "polite" });
  const hasFields = columns.length <= MOST_FIELDS;
  const controls = hasFields ? columns.map(controlOf) : [element("textarea", { name: "values", rows: 4, required: true })];
  const form = element(
    "form",
    { "aria-label": "One row" },
    hasFields
      ? element("div", { class: "fields" }, controls.map((control, at) => field(columns[at]?.name ?? "", control)))
      : field(`${columns.length} values, with commas or spaces between them`, /** @type {HTMLTextAreaElement} */ (controls[0])),
    place,
    element("p", { class: "row" }, element("button", { type: "submit", class: "main" }, "Predict")),
  );
  const wish = network.layers[network.layers.length - 1]?.activation === "softmax" || network.cost === "binary_cross_entropy" ? { top_k: TOP } : {};
  const asked = (/** @type {object} */ body) => post(`/v1/networks/${network.id}/predictions`, { ...body, ...wish });
  const shown = commands(asked(bodyOf()));

  /** What is filled in. */
  function bodyOf() {
    const values = new Values(form);
    if (!hasFields) return { inputs: [(values.text("values").match(/[^\s,]+/g) ?? []).map(valueOf)] };
    const row = columns.map((column, at) => (column.type === "number" ? (values.number(`value.${at}`) ?? null) : valueIn(values.text(`value.${at}`), column)));
    return named ? { rows: [Object.fromEntries(columns.map((column, at) => [column.name, row[at]]))] } : { inputs: [row] };
  }

  /** @param {object} body */
  async function predict(body) {
    shown.show(asked(body));
    try {
      fill(answer, answerOf(await ask(asked(body))));
      fill(place);
    } catch (error) {
      fill(answer);
      showProblem(error, place.isConnected ? place : answer);
    }
  }

  onSubmit(form, place, () => predict(bodyOf()));
  form.addEventListener("input", () => shown.show(asked(bodyOf())));
  return {
    form,
    answer,
    commands: shown.place,
    predict,
    show: (/** @type {unknown[]} */ values) => {
      if (hasFields) controls.forEach((control, at) => (control.value = values[at] === null ? "" : String(values[at])));
      else if (controls[0]) controls[0].value = values.join(", ");
      void predict(bodyOf());
    },
  };
}

/** @param {Column} column @param {number} at */
function controlOf(column, at) {
  const name = `value.${at}`;
  if (column.type === "boolean") return select(name, [["", "no value"], "true", "false"]);
  if (column.type === "category" && column.categories) return select(name, [["", "no value"], ...column.categories], column.categories[0]);
  return column.type === "number" ? number(name, "") : input(name, column.type === "date" ? "datetime-local" : "text");
}

/** @param {string} text @param {Column} column */
function valueIn(text, column) {
  if (text === "") return null;
  return column.type === "boolean" ? text === "true" : text;
}

/** @param {string} text */
function valueOf(text) {
  const number = Number(text);
  return Number.isFinite(number) ? number : text;
}

/** Fill in what a row of the dataset has. @param {Ready} dataset @param {Column[]} columns @param {(values: unknown[]) => void} take */
function rowTaker(dataset, columns, take) {
  const row = number("row", 0, { min: 0, max: dataset.rows - 1, step: 1, required: true });
  const truth = element("span", { role: "status", class: "quiet" });
  const form = element("form", { class: "row", "aria-label": "Take a row" }, field(`Or take a row of ${called(dataset)}, counted from 0`, row), element("button", { type: "submit" }, "Take it"), truth);
  onSubmit(form, alertPlace(), async () => {
    /** @type {Rows} */
    const found = await read(`/v1/datasets/${dataset.id}/rows?offset=${Number(row.value)}&limit=1`);
    const cells = found.columns.map((one, at) => ({ ...one, value: found.data[0]?.[at] ?? null }));
    const features = cells.filter((one) => one.role === "feature");
    const byName = new Map(features.map((one) => [one.name, one.value]));
    take(columns.map((column, at) => (byName.has(column.name) ? byName.get(column.name) : features[at]?.value)));
    const truths = cells.filter((one) => one.role === "label" || one.role === "target");
    fill(truth, `Its true answer is ${truths.map((one) => one.value).join(", ")}.`);
  });
  return form;
}

/** @param {Prediction} found */
export function answerOf(found) {
  const [top] = found.top ?? [];
  const [label] = found.labels ?? [];
  if (top)
    return [
      element("p", { class: "label" }, "It is ", element("strong", {}, label ?? top[0]?.label)),
      table("The likeliest classes", ["Class", "Score", ""], top.map((one) => [one.label, percent(one.score), element("meter", { value: one.score, max: 1, "aria-label": `Score of ${one.label}` })])),
    ];
  if (label !== undefined) return [element("p", { class: "label" }, "It is ", element("strong", {}, label))];
  return [element("p", { class: "label" }, "It answers ", element("strong", {}, (found.outputs[0] ?? []).map(figure).join(", ")))];
}

