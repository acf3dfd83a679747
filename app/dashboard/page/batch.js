/** A file of rows, predicted as a whole: the first rows here, all of them in a file. */

import { commands } from "./curl.js";
import { element, fill } from "./element.js";
import { alertPlace, checkbox, field, input, onSubmit, select } from "./forms.js";
import { address, ask, get, pause, post, read } from "./request.js";
import { table } from "./tables.js";
import { figure, whole } from "./words.js";

/** @import { BatchPrediction, Dataset, Network, Prediction, Rows, Version } from "./answers.js" */

/** @typedef {import("./request.js").Asked} Asked */

const SHOWN = 20;
const SECONDS_BETWEEN_LOOKS = 0.3;

/** @param {Network} network @param {Version} version @param {AbortSignal} signal */
export function batch(network, version, signal) {
  const file = input("file", "file", { required: true });
  const format = select("format", ["csv", "parquet", "arrow", "npy"]);
  const place = alertPlace();
  const result = element("div", { "aria-live": "polite" });
  const probabilities = network.cost.endsWith("cross_entropy") && version.classes ? input("probabilities", "checkbox") : null;
  const form = element(
    "form",
    { "aria-label": "A whole file" },
    element("div", { class: "drop" }, field("Drop a file here, or choose one", file, columnsInWords(version))),
    element("div", { class: "fields" }, field("Predictions as", format), probabilities && checkbox("With the probability of each class", probabilities)),
    place,
    element("p", { class: "row" }, element("button", { type: "submit", class: "main" }, "Predict the file")),
  );
  const upload = () => asked(file.files?.[0] ?? new File([], "FILE.csv"), version);
  const predict = (/** @type {string} */ dataset) =>
    post(`/v1/networks/${network.id}/batch-predictions`, { dataset_id: dataset, format: format.value, ...(probabilities?.checked ? { probabilities: true } : {}) });
  const shown = commands();
  const update = () => shown.show(upload(), predict("DATASET"), get("/v1/batch-predictions/BATCH"), get("/v1/batch-predictions/BATCH/file"));
  form.addEventListener("input", update);
  onSubmit(form, place, async () => {
    fill(result, element("p", {}, "Reading the file …"), element("progress", { "aria-label": "Reading" }));
    try {
      const dataset = await ready(await ask(upload(), signal), signal);
      const begun = await ask(predict(dataset.id), signal);
      shown.show(upload(), predict(dataset.id), get(`/v1/batch-predictions/${begun.id}`), get(`/v1/batch-predictions/${begun.id}/file`));
      const preview = await firstRows(network, version, dataset, signal);
      await done(begun, result, preview, signal);
    } catch (error) {
      fill(result);
      throw error;
    }
  });
  update();
  return element("div", {}, form, result, shown.place);
}

/** @param {Version} version */
function columnsInWords(version) {
  const columns = version.preparation?.columns;
  if (!columns) return "A table with as many columns of numbers as the network has inputs, or an array.";
  const names = columns.slice(0, 8).map((one) => one.name).join(", ");
  return `A table with the columns ${names}${columns.length > 8 ? ` and ${columns.length - 8} more` : ""}, in any order; others are left aside.`;
}

/** @param {File} file @param {Version} version @returns {Asked} */
function asked(file, version) {
  /** @type {[string, string | File][]} */
  const form = [["file", file], ["unlabeled", "true"]];
  if (version.preparation?.columns) form.push(["features", JSON.stringify(version.preparation.columns.map((one) => one.name))]);
  return { method: "POST", path: "/v1/datasets", form };
}

/** @param {Dataset} dataset @param {AbortSignal} signal */
async function ready(dataset, signal) {
  while (dataset.state !== "ready") {
    if (dataset.state === "failed") throw new Error((dataset.errors ?? []).map((one) => one.message).join(" "));
    await pause(SECONDS_BETWEEN_LOOKS, signal);
    dataset = await read(`/v1/datasets/${dataset.id}`, signal);
  }
  return dataset;
}

/** @param {Network} network @param {Version} version @param {Dataset} dataset @param {AbortSignal} signal */
async function firstRows(network, version, dataset, signal) {
  /** @type {Rows} */
  const { columns, data } = await read(`/v1/datasets/${dataset.id}/rows?limit=${SHOWN}`, signal);
  const used = columns.map((one, at) => ({ ...one, at })).filter((one) => one.role === "feature");
  const body = version.preparation?.columns
    ? { rows: data.map((row) => Object.fromEntries(used.map((one) => [one.name, row[one.at] ?? null]))) }
    : { inputs: data.map((row) => used.map((one) => row[one.at] ?? null)) };
  /** @type {Prediction} */
  const found = await ask(post(`/v1/networks/${network.id}/predictions`, body), signal);
  const answers = found.labels ? ["Label"] : network.outputs === 1 ? ["Output"] : (found.outputs[0] ?? []).map((_, at) => `Output ${at + 1}`);
  return table(
    `The first ${data.length} rows, and what is predicted`,
    ["Row", ...answers, ...used.slice(0, 8).map((one) => one.name)],
    data.map((row, at) => [
      String(at),
      ...(found.labels ? [element("strong", {}, found.labels[at])] : (found.outputs[at] ?? []).map((value) => element("strong", {}, figure(value)))),
      ...used.slice(0, 8).map((one) => String(row[one.at] ?? "–")),
    ]),
  );
}

/** @param {BatchPrediction} begun @param {Element} result @param {Node} preview @param {AbortSignal} signal */
async function done(begun, result, preview, signal) {
  let now = begun;
  while (now.state === "queued" || now.state === "running") {
    const share = element("progress", { max: now.rows, value: now.rows_done, "aria-label": "Rows predicted" });
    fill(result, element("p", {}, `${whole(now.rows_done)} of ${whole(now.rows)} rows are predicted.`), share, preview);
    await pause(SECONDS_BETWEEN_LOOKS, signal);
    now = await read(`/v1/batch-predictions/${now.id}`, signal);
  }
  if (now.state !== "succeeded") throw new Error(now.error?.message ?? `The batch prediction is ${now.state}.`);
  const href = address(`/v1/batch-predictions/${now.id}/file`).href;
  fill(
    result,
    element("p", { class: "row" }, `All ${whole(now.rows)} rows are predicted.`, element("a", { href, download: true }, "Download the predictions")),
    preview,
  );
}

