/** A file of rows, predicted as a whole: the first rows here, all of them in a file. */

import { commands } from "./curl.js";
import { element, fill } from "./element.js";
import { alertPlace, checkbox, field, input, onSubmit, select } from "./forms.js";
import { address, ask, get, pause, post, read } from "./request.js";
import { table } from "./tables.js";
import { sending } from "./upload.js";
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
  const sent = sending();
  const said = element("p", { role: "status" });
  const result = element("div");
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
  const update = (dataset = "DATASET", id = "BATCH") =>
    shown.show(upload(), predict(dataset), get(`/v1/batch-predictions/${id}`), get(`/v1/batch-predictions/${id}/file`), removal(dataset));
  form.addEventListener("input", () => update());
  onSubmit(form, place, async () => {
    fill(said);
    fill(result);
    const uploaded = await sent.send(upload(), signal);
    /** @type {BatchPrediction} */
    let begun;
    try {
      fill(said, "The file is being read …");
      const dataset = await ready(uploaded, signal);
      begun = await ask(predict(dataset.id), signal);
      update(dataset.id, begun.id);
      fill(said, `All ${whole(begun.rows)} rows are being predicted …`);
      await followed(begun, result, await firstRows(network, version, dataset, signal), signal);
    } catch (error) {
      fill(said);
      fill(result);
      throw error;
    } finally {
      // It was there for this alone. Where that goes on, because the screen was left, it stays.
      await ask(removal(uploaded.id)).catch(() => {});
    }
    fill(said, `All ${whole(begun.rows)} rows are predicted.`);
    const href = address(`/v1/batch-predictions/${begun.id}/file`).href;
    result.prepend(element("p", { class: "row" }, element("a", { href, download: true }, "Download the predictions")));
  });
  update();
  return element("div", {}, form, sent.place, said, result, shown.place);
}

/** @param {string} dataset @returns {Asked} */
const removal = (dataset) => ({ method: "DELETE", path: `/v1/datasets/${dataset}` });

/** @param {Version} version */
function columnsInWords(version) {
  const columns = version.preprocessing?.columns;
  if (!columns) return "A table with as many columns of numbers as the network has inputs, or an array.";
  const names = columns.slice(0, 8).map((one) => one.name).join(", ");
  return `A table with the columns ${names}${columns.length > 8 ? ` and ${columns.length - 8} more` : ""}, in any order; others are left aside.`;
}

/** @param {File} file @param {Version} version @returns {Asked} */
function asked(file, version) {
  /** @type {[string, string | File][]} */
  const form = [["file", file], ["unlabeled", "true"]];
  if (version.preprocessing?.columns) form.push(["features", JSON.stringify(version.preprocessing.columns.map((one) => one.name))]);
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
  const body = version.preprocessing?.columns
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

/**
 * How far it is, until it has ended.
 * @param {BatchPrediction} begun @param {Element} result @param {Node} preview @param {AbortSignal} signal
 */
async function followed(begun, result, preview, signal) {
  const share = element("progress", { max: begun.rows, value: 0, "aria-label": "Rows predicted" });
  const rows = element("span");
  const way = element("p", { class: "row" }, share, rows);
  fill(result, way, preview);
  let now = begun;
  while (now.state === "queued" || now.state === "running") {
    share.value = now.rows_done;
    fill(rows, `${whole(now.rows_done)} of ${whole(now.rows)} rows`);
    await pause(SECONDS_BETWEEN_LOOKS, signal);
    now = await read(`/v1/batch-predictions/${now.id}`, signal);
  }
  if (now.state !== "succeeded") throw new Error(now.error?.message ?? `The batch prediction is ${now.state}.`);
  way.remove();
}
