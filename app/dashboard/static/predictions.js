/** Predictions: drawn, filled in, or of a whole file. */

import { sideOf } from "./architecture.js";
import { batch } from "./batch.js";
import { drawingPad } from "./drawing.js";
import { element, fill, link } from "./element.js";
import { alertPlace, field, more, number, onSubmit } from "./forms.js";
import { learnedFrom } from "./network.js";
import { read } from "./request.js";
import { rowForm } from "./row_form.js";
import { nothing, section } from "./tables.js";
import { called } from "./words.js";

/** @import { Dataset, Network, Profile, Ready, Rows, Version } from "./answers.js" */

/** @typedef {import("./row_form.js").Column} Column */

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
  const one = rowForm(network, columns, Boolean(version.preprocessing?.columns), signal);
  const pad = side === null ? null : drawingPad(side, rangeOf(profile), (pixels) => void (pixels ? one.predict({ inputs: [pixels] }) : one.clear()));
  /** @param {unknown[]} values */
  const take = (values) => {
    const body = one.fill(values);
    if (pad) pad.show(values.map(Number));
    else void one.predict(body);
  };
  const fromRow = dataset && rowTaker(dataset, columns, take, signal);
  return {
    title,
    content: [
      element("p", { class: "row" }, link(`#/networks/${network.id}`, "The network"), `Version ${version.version} answers.`),
      pad
        ? section("Draw", element("div", { class: "drawing" }, pad.place, one.answer), fromRow, more("Or fill in the columns", one.form), one.commands)
        : section("One row", one.form, fromRow, one.answer, one.commands),
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
  const named = version.preprocessing?.columns;
  if (!named) return Array.from({ length: network.inputs }, (_, place) => ({ name: `input ${place + 1}`, type: "number", categories: null }));
  const known = new Map((dataset?.columns ?? []).map((one) => [one.name, one]));
  return named.map((one) => ({ ...one, categories: known.get(one.name)?.categories ?? null }));
}

/** @param {Profile | null} profile @returns {[number, number] | null} of the pixels; null if nothing tells */
function rangeOf(profile) {
  const features = (profile?.columns ?? []).filter((one) => one.role === "feature" && one.max !== null);
  if (features.length === 0) return null;
  return [Math.min(...features.map((one) => one.min ?? 0)), Math.max(...features.map((one) => one.max ?? 1))];
}

/** Fill in what a row of the dataset has. @param {Ready} dataset @param {Column[]} columns @param {(values: unknown[]) => void} take @param {AbortSignal} signal */
function rowTaker(dataset, columns, take, signal) {
  const row = number("row", 0, { min: 0, max: dataset.rows - 1, step: 1, required: true });
  const truth = element("span", { role: "status", class: "quiet" });
  const form = element("form", { class: "row", "aria-label": "Take a row" }, field(`Or take a row of ${called(dataset)}, counted from 0`, row), element("button", { type: "submit" }, "Take it"), truth);
  const place = alertPlace();
  onSubmit(form, place, async () => {
    /** @type {Rows} */
    const found = await read(`/v1/datasets/${dataset.id}/rows?offset=${Number(row.value)}&limit=1`, signal);
    const cells = found.columns.map((one, at) => ({ ...one, value: found.data[0]?.[at] ?? null }));
    const features = cells.filter((one) => one.role === "feature");
    const byName = new Map(features.map((one) => [one.name, one.value]));
    take(columns.map((column, at) => (byName.has(column.name) ? byName.get(column.name) : features[at]?.value)));
    const truths = cells.filter((one) => one.role === "label" || one.role === "target");
    fill(truth, `Its true answer is ${truths.map((one) => one.value).join(", ")}.`);
  });
  return element("div", {}, form, place);
}
