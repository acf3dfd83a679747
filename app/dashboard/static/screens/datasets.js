/** All datasets, and a form that creates one from a file. */

import { createCurlSnippets } from "../components/curl_snippets.js";
import { createEmptyState, createSection, createStateBadge } from "../components/data_display.js";
import {
  FormValues,
  createAlert,
  createDetails,
  createField,
  createFieldset,
  createFormGrid,
  createInput,
  createSelect,
  createSubmitRow,
  handleSubmit,
} from "../components/forms.js";
import { createPaginatedTable } from "../components/pagination.js";
import { createUploadProgress } from "../components/upload_progress.js";
import { buildGet } from "../lib/api.js";
import { sniffCsv } from "../lib/csv_sniff.js";
import { createElement, createLink, replaceContent } from "../lib/dom.js";
import {
  getDisplayName,
  formatBytes,
  formatCount,
  formatDateTime,
  formatInteger,
  formatTargets,
} from "../lib/format.js";

/** @import { ApiRequest } from "../lib/api.js" */
/** @import { Dataset } from "../lib/api_types.js" */

/** Fields for one file per array, instead of a single file. */
const ARRAY_FIELDS = ["inputs", "labels", "targets", "weights"];
const OPTIONAL_FIELDS = ["name", "imputation", "features", "weight", "format"];
const FORMATS = ["csv", "tsv", "parquet", "arrow", "ndjson", "json", "npz", "npy", "idx"];

/** @type {import("../main.js").Screen} */
export async function loadDatasetsScreen({ signal }) {
  const { element, load } = createPaginatedTable({
    path: "/v1/datasets",
    caption: "Datasets",
    head: ["Name", "State", "Rows", "Inputs", "Targets", "Size", "Created"],
    row: (/** @type {Dataset} */ dataset) => [
      createLink(`#/datasets/${dataset.id}`, getDisplayName(dataset)),
      createStateBadge(dataset.state),
      formatInteger(dataset.rows),
      formatInteger(dataset.inputs),
      formatTargets(dataset),
      formatBytes(dataset.bytes),
      formatDateTime(dataset.created_at),
    ],
    empty: createEmptyState("No datasets yet. Drop a file above; a CSV table needs no preparation."),
    signal,
  });
  await load();
  return {
    title: "Datasets",
    content: [
      createSection("New dataset", createDatasetForm(signal)),
      createSection("All datasets", element, createCurlSnippets(buildGet("/v1/datasets")).element),
    ],
  };
}

/** @param {AbortSignal} signal */
function createDatasetForm(signal) {
  const file = createInput("file", "file", { required: true });
  const role = createSelect("role", [
    ["label", "class labels"],
    ["target", "numeric values"],
    ["unlabeled", "none (prediction only)"],
  ]);
  const target = createInput("target_column", "text", { list: "column-names" });
  const columnNames = createElement("datalist", { id: "column-names" });
  const status = createElement("p", { role: "status", class: "muted" });
  const upload = createUploadProgress();
  const alert = createAlert();
  const form = createElement(
    "form",
    { "aria-label": "New dataset" },
    createElement(
      "div",
      { class: "drop-zone" },
      createField(
        "Drop a file here, or choose one",
        file,
        "CSV (also compressed with gzip), TSV, Parquet, Arrow, NDJSON, JSON or .npz.",
      ),
    ),
    status,
    createFormGrid(
      createField("Targets", role, "What a network learns to predict."),
      createField("Target column", target, "Separate several numeric columns with commas. Not needed for .npz files."),
      createField("Name", createInput("name", "text", { placeholder: "name of the file" })),
      createField(
        "Missing values",
        createSelect("imputation", [
          ["", "reject the file"],
          ["mean", "impute the mean"],
          ["median", "impute the median"],
          ["most_frequent", "impute the most frequent"],
        ]),
      ),
      columnNames,
    ),
    createDetails(
      "Advanced",
      createFormGrid(
        createField(
          "Feature columns",
          createInput("features", "text"),
          "Separated by commas. Default: all other columns.",
        ),
        createField("Weight column", createInput("weight", "text"), "How much each row counts."),
        createField("Format", createSelect("format", [["", "detect"], ...FORMATS])),
      ),
      createFieldset(
        "Or one file per array (.npy, or IDX as in MNIST)",
        ...ARRAY_FIELDS.map((name) => createField(name, createInput(name, "file"))),
      ),
    ),
    alert,
    createSubmitRow("Create dataset"),
    upload.element,
  );
  /** @type {string[]} */
  let columns = [];
  const curl = createCurlSnippets(buildRequest(form, columns));
  const update = () => {
    const hasArrays = ARRAY_FIELDS.some((name) => getFile(form, name));
    file.required = !hasArrays;
    target.disabled = hasArrays || role.value === "unlabeled";
    curl.update(buildRequest(form, columns));
  };
  file.addEventListener("change", async () => {
    const [selected] = file.files ?? [];
    if (!selected) return;
    const sniffed = await sniffCsv(selected);
    if (file.files?.[0] !== selected) return;
    ({ columns } = sniffed);
    target.value = sniffed.target;
    role.value = sniffed.role;
    replaceContent(
      columnNames,
      columns.map((value) => createElement("option", { value })),
    );
    const message = `${selected.name}: ${formatCount(columns.length, "column")}. Check the target column.`;
    replaceContent(status, columns.length ? message : "");
    update();
  });
  form.addEventListener("input", update);
  handleSubmit(form, alert, async () => {
    const dataset = await upload.send(buildRequest(form, columns), signal);
    if (!signal.aborted) location.hash = `#/datasets/${dataset.id}`;
  });
  update();
  return createElement("div", {}, form, curl.element);
}

/** @param {HTMLFormElement} form @param {string[]} columns names, where they are known @returns {ApiRequest} */
function buildRequest(form, columns) {
  const values = new FormValues(form);
  /** @type {[string, string | File][]} */
  const fields = [];
  const arrays = ARRAY_FIELDS.filter((name) => getFile(form, name));
  for (const name of arrays.length ? arrays : ["file"])
    fields.push([name, getFile(form, name) ?? new File([], "FILE.csv")]);
  const role = values.getText("role");
  const target = values.getText("target_column");
  if (role === "unlabeled") fields.push(["unlabeled", "true"]);
  else if (arrays.length === 0 && target) fields.push([role, role === "label" ? target : encodeNames(target, columns)]);
  for (const name of OPTIONAL_FIELDS) {
    const text = values.getText(name);
    if (text) fields.push([name, name === "features" ? encodeNames(text, columns) : text]);
  }
  return { method: "POST", path: "/v1/datasets", form: fields };
}

/**
 * Encode names as JSON, so that they may contain any character. Text that equals the name of a column is one name.
 * @param {string} text @param {string[]} columns
 */
function encodeNames(text, columns) {
  if (!/[,"[]/.test(text)) return text;
  return JSON.stringify(columns.includes(text) ? [text] : text.split(",").map((name) => name.trim()));
}

/** @param {HTMLFormElement} form @param {string} name */
function getFile(form, name) {
  return /** @type {HTMLInputElement} */ (form.elements.namedItem(name)).files?.[0];
}
