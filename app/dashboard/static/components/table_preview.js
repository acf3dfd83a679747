/** A preview of the file that a form creates a dataset from: how the service reads it, and what it would reject. */

import { ApiError, sendRequest, sleep } from "../lib/api.js";
import { createElement, replaceContent } from "../lib/dom.js";
import { takeBeginning } from "../lib/file_beginning.js";
import { formatBytes, formatCount, formatError } from "../lib/format.js";
import { createKeyValueList } from "./data_display.js";
import { clearServerErrors, findLabel, showFieldErrors } from "./forms.js";
import { createTable } from "./table.js";

/** @import { FieldError } from "../lib/api.js" */
/** @import { Preview } from "../lib/api_types.js" */
/** @import { FormFields } from "./dataset_fields.js" */

export const PREVIEW_PATH = "/v1/datasets/preview";
const DELAY_SECONDS = 0.3;
const MAX_CLASSES_SHOWN = 5;
const MAX_ROWS_SHOWN = 5;
/** @type {Record<string, string>} */
const DELIMITER_NAMES = { ",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar", ":": "colon", " ": "space" };

/**
 * Create a preview that is empty at first. `refresh` makes it again soon, unless it is called again before; `wait` waits
 * for it.
 * @param {HTMLFormElement} form errors appear at its fields
 * @param {() => FormFields} getFields the options, and the file to preview, if any
 * @param {(preview: Preview) => void} onPreview @param {AbortSignal} signal
 */
export function createTablePreview(form, getFields, onPreview, signal) {
  const status = createElement("p", { role: "status", class: "muted" });
  const content = createElement("div");
  const element = createElement("section", { "aria-label": "Preview" }, status, content);
  let pending = new AbortController();
  let done = Promise.resolve();

  /** @param {AbortSignal} current aborted by the next preview */
  async function load(current) {
    const fields = getFields();
    const file = fields.find(([name]) => name === "file")?.[1];
    if (!(file instanceof File)) return show("");
    try {
      const beginning = await takeBeginning(file);
      if (current.aborted) return;
      if (beginning === null)
        return show(`${file.name} is too large for a preview. The service reads it when you create the dataset.`);
      /** @type {FormFields} */
      const sample = fields.map(([name, value]) => [name, value === file ? beginning : value]);
      /** @type {Preview} */
      const preview = await sendRequest({ method: "POST", path: PREVIEW_PATH, form: sample }, current);
      if (current.aborted) return;
      onPreview(preview);
      show(describeFile(file, beginning, preview), renderPreview(preview, fields), preview.errors);
    } catch (error) {
      if (current.aborted) return;
      if (error instanceof ApiError && error.errors.length) show(`${file.name} cannot be read like this.`, [], error.errors);
      else show(`No preview: ${formatError(error)}`);
    }
  }

  /** @param {string} text @param {(Node | null)[]} [nodes] @param {FieldError[]} [errors] */
  function show(text, nodes = [], errors = []) {
    clearServerErrors(form);
    // Those of the file are shown here alone.
    showFieldErrors(
      form,
      errors.filter(({ field }) => field !== "file"),
    );
    if (status.textContent !== text) replaceContent(status, text);
    replaceContent(content, errors.length > 0 && renderErrors(form, errors), nodes);
  }

  return {
    element,
    refresh: () => {
      pending.abort();
      pending = new AbortController();
      const current = AbortSignal.any([signal, pending.signal]);
      done = sleep(DELAY_SECONDS, current).then(
        () => load(current),
        () => {}, // another one is made instead
      );
    },
    wait: () => done,
  };
}

/** @param {File} file @param {File} beginning @param {Preview} preview */
function describeFile(file, beginning, { names, options }) {
  if (names.length === 0) return `${file.name}: ${options.format}, without columns to preview.`;
  const columns = `${file.name}: ${formatCount(names.length, "column")}.`;
  if (beginning === file) return columns;
  return `${columns} This is a preview of its first lines, ${formatBytes(beginning.size)} of ${formatBytes(file.size)}.`;
}

/** @param {HTMLFormElement} form @param {FieldError[]} errors */
function renderErrors(form, errors) {
  return createElement(
    "div",
    { class: "alert" },
    createElement("p", {}, createElement("strong", {}, "This would be rejected:")),
    errors.map(({ field, message }) => {
      const label = field === "file" ? "" : `${findLabel(form, field) ?? field}: `;
      return createElement("p", {}, label, message);
    }),
  );
}

/** @param {Preview} preview @param {FormFields} fields */
function renderPreview(preview, fields) {
  if (preview.names.length === 0) return [];
  return [
    renderOptions(preview),
    preview.notes.length > 0 ? createElement("ul", {}, preview.notes.map((note) => createElement("li", {}, note))) : null,
    renderRows(preview, fields),
  ];
}

/** @param {Preview} preview */
function renderOptions({ options, classes }) {
  const { delimiter, header } = options;
  return createKeyValueList([
    ["Format", options.format],
    ["Delimiter", delimiter && (DELIMITER_NAMES[delimiter] ?? delimiter)],
    ["First line", header === null ? null : header ? "names of the columns" : "data"],
    ["Lines skipped", options.skip_rows ? String(options.skip_rows) : null],
    ["Comment character", options.comment],
    ["Encoding", delimiter && (options.encoding ?? "Unicode")],
    ["Target", options.target],
    ["Learned as", options.task && (classes ? describeClasses(classes) : "numbers")],
  ]);
}

/** @param {unknown[]} classes */
function describeClasses(classes) {
  const names = classes.slice(0, MAX_CLASSES_SHOWN).join(" · ");
  return `${classes.length} classes: ${names}${classes.length > MAX_CLASSES_SHOWN ? " · …" : ""}`;
}

/** @param {Preview} preview @param {FormFields} fields */
function renderRows({ names, rows, columns, options }, fields) {
  const types = new Map((columns ?? []).map(({ name, type }) => [name, type]));
  const targets = [options.target, ...splitNames(fields, "target")];
  const weights = splitNames(fields, "weight");
  const describe = (/** @type {string} */ name) => {
    if (targets.includes(name)) return "target";
    if (weights.includes(name)) return "weight";
    return types.get(name) ?? "left out";
  };
  return createTable(
    "First rows of the file",
    [
      "Row",
      ...names.map((name) =>
        createElement("span", {}, name, columns && createElement("small", { class: "column-type" }, describe(name))),
      ),
    ],
    rows.slice(0, MAX_ROWS_SHOWN).map((row, number) => [
      String(number + 1),
      ...row.map((cell) => (cell === null ? "–" : String(cell))),
    ]),
  );
}

/** Return the name in a field, and the names if it has several. @param {FormFields} fields @param {string} field */
function splitNames(fields, field) {
  const text = String(fields.find(([name]) => name === field)?.[1] ?? "");
  return [text, ...text.split(",").map((name) => name.trim())];
}
