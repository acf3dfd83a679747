/** The fields of a form that creates a dataset: its files, what to learn from them, and how to read them. */

import { createElement } from "../lib/dom.js";
import {
  FormValues,
  createCheckboxField,
  createDetails,
  createField,
  createFieldset,
  createFormGrid,
  createInput,
  createIntegerInput,
  createSelect,
} from "./forms.js";

/** @import { ApiRequest } from "../lib/api.js" */

/** @typedef {[string, string | File][]} FormFields */

const UNLABELED = "unlabeled";
const COLUMN_NAMES_ID = "column-names";
/** Fields for one file per array, instead of a single file. */
const ARRAY_FIELDS = ["inputs", "labels", "targets", "weights"];
const FORMATS = ["csv", "tsv", "parquet", "arrow", "ndjson", "json", "npz", "npy", "idx"];
/** Fields that are left out of the request if they are empty. */
const OPTIONAL_FIELDS = ["name", "imputation", "features", "weight", "format"];
/** The same, for tables alone. */
const TABLE_FIELDS = ["exclude", "header", "skip_rows", "encoding", "decimal", "thousands", "null_values", "drop_rows"];
/** Single characters, which may be a space or a tab. */
const CHARACTER_FIELDS = ["delimiter", "comment"];

/** Create the fields. `update` disables those that do not apply; call it when the form has changed. */
export function createDatasetFields() {
  const file = createInput("file", "file", { required: true });
  const task = createSelect("task", [
    ["auto", "detect"],
    ["classification", "classes"],
    ["regression", "numbers"],
    [UNLABELED, "none (prediction only)"],
  ]);
  task.dataset.fields = UNLABELED;
  // Classes are learned from one target, which the service calls the label.
  const target = createInput("target", "text", { list: COLUMN_NAMES_ID, "data-fields": "label" });
  return {
    target,
    columnNames: createElement("datalist", { id: COLUMN_NAMES_ID }),
    dropZone: createElement(
      "div",
      { class: "drop-zone" },
      createField(
        "Drop a file here, or choose one",
        file,
        "CSV (also compressed with gzip), TSV, Parquet, Arrow, NDJSON, JSON or .npz.",
      ),
    ),
    cleaning: createCheckboxField(
      "Clean the data",
      createInput("cleaning", "checkbox", { checked: true }),
      "Leave out row numbers and free text, fill missing values, and say so. Otherwise a file that needs cleaning is rejected.",
    ),
    main: createFormGrid(
      createField("Targets", task, "What a network learns to predict."),
      createField("Target column", target, "Separate several numeric columns with commas. Not needed for .npz files."),
      createField("Name", createInput("name", "text", { placeholder: "name of the file" })),
      createField(
        "Missing values",
        createSelect("imputation", [
          ["", "default"],
          ["mean", "impute the mean"],
          ["median", "impute the median"],
          ["most_frequent", "impute the most frequent"],
        ]),
        "Default: filled when the data is cleaned, otherwise rejected.",
      ),
    ),
    advanced: createAdvancedFields(),
    update: (/** @type {HTMLFormElement} */ form) => {
      const hasArrays = listArrays(form).length > 0;
      file.required = !hasArrays;
      target.disabled = hasArrays || task.value === UNLABELED;
    },
  };
}

function createAdvancedFields() {
  return createDetails(
    "Advanced",
    createFieldset(
      "Columns",
      createField("Columns to leave out", createInput("exclude", "text"), "Separated by commas."),
      createField("Feature columns", createInput("features", "text"), "Separated by commas. Default: all other columns."),
      createField("Weight column", createInput("weight", "text"), "How much each row counts."),
    ),
    createFieldset(
      "Text format",
      createField("Format", createSelect("format", [["", "detect"], ...FORMATS])),
      createField(
        "Delimiter",
        createSelect("delimiter", [
          ["", "detect"],
          [",", "comma"],
          [";", "semicolon"],
          ["\t", "tab"],
          ["|", "vertical bar"],
          [":", "colon"],
          [" ", "space"],
        ]),
      ),
      createField(
        "First line",
        createSelect("header", [
          ["", "detect"],
          ["true", "names of the columns"],
          ["false", "data"],
        ]),
      ),
      createField("Lines to skip", createIntegerInput("skip_rows", "", { min: 0 }), "Before the table. Default: detect."),
      createField("Comment character", createInput("comment", "text", { maxlength: 1 }), "At the beginning of a line."),
      createField("Encoding", createInput("encoding", "text"), "Such as cp1252. Default: UTF-8 or UTF-16."),
      createField(
        "Decimal separator",
        createSelect("decimal", [
          ["", "detect"],
          [".", "point"],
          [",", "comma"],
        ]),
      ),
      createField(
        "Thousands separator",
        createSelect("thousands", [
          ["", "detect"],
          [",", "comma"],
          [".", "point"],
        ]),
      ),
      createField(
        "Texts that mean missing",
        createInput("null_values", "text"),
        "Separated by commas, besides empty cells, ? and n.a.",
      ),
      createField(
        "Rows to leave out",
        createInput("drop_rows", "text"),
        "Numbers from 1, separated by commas, such as that of a row of totals.",
      ),
    ),
    createFieldset(
      "Or one file per array (.npy, or IDX as in MNIST)",
      ...ARRAY_FIELDS.map((name) => createField(name, createInput(name, "file"))),
    ),
  );
}

/** @param {HTMLFormElement} form @returns {FormFields} the fields of the request, without a file before one is chosen */
export function readDatasetFields(form) {
  const values = new FormValues(form);
  const arrays = listArrays(form);
  /** @type {FormFields} */
  const files = (arrays.length ? arrays : ["file"]).flatMap((name) => {
    const file = getFile(form, name);
    return file ? [[name, file]] : [];
  });
  const task = values.getText("task");
  const names = arrays.length ? OPTIONAL_FIELDS : [...OPTIONAL_FIELDS, ...TABLE_FIELDS];
  /** @type {FormFields} */
  const options = names.map((name) => [name, values.getText(name)]);
  if (task === UNLABELED) options.push([UNLABELED, "true"]);
  if (arrays.length === 0) {
    options.push(...CHARACTER_FIELDS.map((name) => /** @type {[string, string]} */ ([name, values.getRawText(name)])));
    if (task !== UNLABELED) options.push(["target", values.getText("target")], ["task", task]);
    if (values.isChecked("cleaning")) options.push(["cleaning", "auto"]);
  }
  return [...files, ...options.filter(([, value]) => value !== "")];
}

/** @param {HTMLFormElement} form @returns {ApiRequest} the request, with a placeholder before a file is chosen */
export function buildDatasetRequest(form) {
  const fields = readDatasetFields(form);
  const hasFile = fields.some(([, value]) => value instanceof File);
  /** @type {FormFields} */
  const placeholder = hasFile ? [] : [["file", new File([], "FILE.csv")]];
  return { method: "POST", path: "/v1/datasets", form: [...placeholder, ...fields] };
}

/** @param {HTMLFormElement} form @returns {string[]} names of the arrays that have a file */
function listArrays(form) {
  return ARRAY_FIELDS.filter((name) => getFile(form, name));
}

/** @param {HTMLFormElement} form @param {string} name */
function getFile(form, name) {
  return /** @type {HTMLInputElement} */ (form.elements.namedItem(name)).files?.[0];
}
