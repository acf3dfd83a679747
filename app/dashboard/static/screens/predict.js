/** Predictions of a network: for a drawing, for a single row, or for all rows of a file. */

import { createBatchPredictionForm } from "../components/batch_prediction_form.js";
import { createEmptyState, createSection } from "../components/data_display.js";
import { createDrawingPad } from "../components/drawing_pad.js";
import { createAlert, createDetails, createField, createIntegerInput, handleSubmit } from "../components/forms.js";
import { createPredictionForm } from "../components/prediction_form.js";
import { getJson } from "../lib/api.js";
import { inferImageSide } from "../lib/architecture.js";
import { createElement, createLink, replaceContent } from "../lib/dom.js";
import { getDisplayName } from "../lib/format.js";
import { getTrainingDataset } from "../lib/training_dataset.js";

/** @import { Dataset, Network, Profile, ReadyDataset, Rows, Version } from "../lib/api_types.js" */
/** @import { InputColumn } from "../components/prediction_form.js" */

/** @type {import("../main.js").Screen} */
export async function loadPredictScreen({ params: [id = ""], signal }) {
  /** @type {Network} */
  const network = await getJson(`/v1/networks/${encodeURIComponent(id)}`, signal);
  const title = `Predict with ${getDisplayName(network)}`;
  /** @type {Version} */
  const version = await getJson(`/v1/networks/${network.id}/versions/current`, signal);
  if (version.origin === "drawn") {
    const hint = "This network has not been trained yet. Its predictions would be random.";
    return { title, content: [createEmptyState(hint, [`#/jobs/new?network=${network.id}`, "Start a job"])] };
  }
  const dataset = await getTrainingDataset(version, signal);
  const profile = dataset && (await getJson(`/v1/datasets/${dataset.id}/profile`, signal));
  const columns = listInputColumns(version, network, dataset);
  const side = columns.every(({ type }) => type === "number") ? inferImageSide(columns.length) : null;
  const hasColumnNames = Boolean(version.preprocessing?.columns);
  const row = createPredictionForm(network, columns, hasColumnNames, signal);
  const pad =
    side === null
      ? null
      : createDrawingPad(side, getPixelRange(profile), (pixels) =>
          pixels ? void row.predict({ inputs: [pixels] }) : row.clear(),
        );
  /** @param {unknown[]} values */
  const predictValues = (values) => {
    const body = row.setValues(values);
    if (pad) pad.setPixels(values.map(Number));
    else void row.predict(body);
  };
  const rowLoader = dataset && createRowLoader(dataset, columns, predictValues, signal);
  return {
    title,
    content: [
      createElement(
        "p",
        { class: "row" },
        createLink(`#/networks/${network.id}`, getDisplayName(network)),
        `Current version: ${version.version}`,
      ),
      pad
        ? createSection(
            "Drawing",
            createElement("div", { class: "drawing" }, pad.element, row.prediction),
            rowLoader,
            createDetails("Enter values instead", row.form),
            row.curl,
          )
        : createSection("Single row", row.form, rowLoader, row.prediction, row.curl),
      createSection("File", createBatchPredictionForm(network, version, signal)),
    ],
  };
}

/**
 * List the input columns of a version, with their categories if the dataset still exists.
 * @param {Version} version @param {Network} network @param {Dataset | null} dataset @returns {InputColumn[]}
 */
function listInputColumns(version, network, dataset) {
  const columns = version.preprocessing?.columns;
  if (!columns)
    return Array.from({ length: network.inputs }, (_, index) => ({
      name: `input ${index + 1}`,
      type: "number",
      categories: null,
    }));
  const categories = new Map((dataset?.columns ?? []).map((column) => [column.name, column.categories]));
  return columns.map((column) => ({ ...column, categories: categories.get(column.name) ?? null }));
}

/** @param {Profile | null} profile @returns {[number, number] | null} null if it is unknown */
function getPixelRange(profile) {
  const features = (profile?.columns ?? []).filter(({ role, max }) => role === "feature" && max !== null);
  if (features.length === 0) return null;
  return [Math.min(...features.map(({ min }) => min ?? 0)), Math.max(...features.map(({ max }) => max ?? 1))];
}

/**
 * Create a form that loads a row of the dataset.
 * @param {ReadyDataset} dataset @param {InputColumn[]} columns @param {(values: unknown[]) => void} onLoad
 * @param {AbortSignal} signal
 */
function createRowLoader(dataset, columns, onLoad, signal) {
  const number = createIntegerInput("row", 0, { min: 0, max: dataset.rows - 1, required: true });
  const truth = createElement("span", { role: "status", class: "muted" });
  const form = createElement(
    "form",
    { class: "row", "aria-label": "Load a row" },
    createField(`Or load a row of ${getDisplayName(dataset)} (first row: 0)`, number),
    createElement("button", { type: "submit" }, "Load row"),
    truth,
  );
  const alert = createAlert();
  handleSubmit(form, alert, async () => {
    const path = `/v1/datasets/${dataset.id}/rows?offset=${Number(number.value)}&limit=1`;
    /** @type {Rows} */
    const rows = await getJson(path, signal);
    const cells = rows.columns.map(({ name, role }, index) => ({ name, role, value: rows.data[0]?.[index] ?? null }));
    const features = cells.filter(({ role }) => role === "feature");
    const byName = new Map(features.map(({ name, value }) => [name, value]));
    onLoad(columns.map(({ name }, index) => (byName.has(name) ? byName.get(name) : features[index]?.value)));
    const targets = cells.filter(({ role }) => role === "label" || role === "target");
    replaceContent(truth, `True value: ${targets.map(({ value }) => value).join(", ")}`);
  });
  return createElement("div", {}, form, alert);
}
