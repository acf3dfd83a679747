/** One dataset: how it was read, its columns, classes and first rows, and warnings about training on it. */

import { createChart, escapeChartText } from "../components/charts.js";
import { createCurlSnippets } from "../components/curl_snippets.js";
import { createKeyValueList, createSection } from "../components/data_display.js";
import { createDeleteButton } from "../components/delete_button.js";
import { createAlert, createField, createSelect } from "../components/forms.js";
import { createIngestProgress } from "../components/ingest_progress.js";
import { createTable } from "../components/table.js";
import { buildDelete, buildGet, getJson } from "../lib/api.js";
import { createElement, createLink } from "../lib/dom.js";
import {
  getDisplayName,
  formatBytes,
  formatDateTime,
  formatInteger,
  formatNumber,
  formatTargets,
} from "../lib/format.js";

/** @import { ColumnProfile, Dataset, Profile, Rows } from "../lib/api_types.js" */

const HISTOGRAM_BINS = 20;
const MAX_FREQUENT_VALUES = 3;

/** @type {import("../main.js").Screen} */
export async function loadDatasetScreen({ params: [id = ""], signal }) {
  const path = `/v1/datasets/${encodeURIComponent(id)}`;
  /** @type {Dataset} */
  const dataset = await getJson(path, signal);
  const alert = createAlert();
  const deleteButton = createDeleteButton(buildDelete(path), "Delete this dataset?", "#/datasets", alert);
  if (dataset.state !== "ready")
    return {
      title: getDisplayName(dataset),
      content: [
        createIngestProgress(path, dataset, signal),
        createElement("p", { class: "row" }, deleteButton),
        alert,
        createCurlSnippets(buildGet(path), buildDelete(path)).element,
      ],
    };
  const profileRequest = buildGet(`${path}/profile`);
  const rowsRequest = buildGet(`${path}/rows?limit=10`);
  /** @type {[Profile, Rows]} */
  const [profile, rows] = await Promise.all([getJson(profileRequest.path, signal), getJson(rowsRequest.path, signal)]);
  const notes = dataset.notes ?? [];
  // The profile repeats the notes before its own warnings.
  const warnings = profile.warnings.filter((warning) => !notes.includes(warning));
  return {
    title: getDisplayName(dataset),
    content: [
      createElement(
        "p",
        { class: "row" },
        !dataset.unlabeled && createLink(`#/networks/new?dataset=${dataset.id}`, "Create a network"),
        !dataset.unlabeled && createLink(`#/jobs/new?dataset=${dataset.id}`, "Start a job"),
        deleteButton,
      ),
      alert,
      createKeyValueList([
        ["ID", dataset.id],
        ["Rows", formatInteger(dataset.rows)],
        ["Inputs", formatInteger(dataset.inputs)],
        ["Targets", formatTargets(dataset)],
        ["Size", formatBytes(dataset.bytes)],
        ["Created", formatDateTime(dataset.created_at)],
      ]),
      notes.length > 0 && createSection("How it was read", renderSentences(notes)),
      warnings.length > 0 && createSection("Warnings", renderSentences(warnings)),
      profile.classes && createSection("Classes", renderClasses(profile.classes)),
      createSection("Columns", createHistogram(profile, signal), renderColumns(profile)),
      createSection("First rows", renderRows(rows)),
      createCurlSnippets(buildGet(path), profileRequest, rowsRequest, buildDelete(path)).element,
    ],
  };
}

/** @param {string[]} sentences */
function renderSentences(sentences) {
  return createElement(
    "ul",
    {},
    sentences.map((sentence) => createElement("li", {}, sentence)),
  );
}

/** @param {Record<string, number>} classes number of rows by class */
function renderClasses(classes) {
  const total = Object.values(classes).reduce((sum, rows) => sum + rows, 0);
  return createTable(
    "Classes",
    ["Class", "Rows", "Share"],
    Object.entries(classes).map(([name, rows]) => [
      name,
      formatInteger(rows),
      createElement("meter", { value: rows, max: total, "aria-label": `Share of ${name}` }, `${rows} of ${total}`),
    ]),
  );
}

/** @param {Profile} profile */
function renderColumns({ columns }) {
  return createTable(
    "Columns",
    ["Column", "Role", "Type", "Missing", "Distinct", "Min", "Mean", "Max", "Std. dev.", "Most frequent"],
    columns.map((column) => [
      column.name,
      column.role,
      column.type,
      formatInteger(column.missing),
      column.distinct === null ? "many" : formatInteger(column.distinct),
      formatNumber(column.min),
      formatNumber(column.mean),
      formatNumber(column.max),
      formatNumber(column.std),
      (column.top_values ?? [])
        .slice(0, MAX_FREQUENT_VALUES)
        .map(({ value }) => value)
        .join(", ") || "–",
    ]),
  );
}

/** @param {Rows} rows */
function renderRows({ columns, data }) {
  return createTable(
    "First rows",
    ["Row", ...columns.map(({ name }) => name)],
    data.map((row, number) => [String(number), ...row.map((cell) => (cell === null ? "–" : String(cell)))]),
  );
}

/**
 * Create a histogram of one column, at first of the one with the most distinct numbers among those that are used.
 * @param {Profile} profile @param {AbortSignal} signal
 */
function createHistogram({ columns }, signal) {
  const plottable = columns.filter(({ histogram, top_values }) => histogram || top_values);
  if (plottable.length === 0) return null;
  const countDistinct = (/** @type {ColumnProfile} */ { histogram, distinct, role }) =>
    histogram && role !== "unused" ? (distinct ?? Infinity) : 0;
  const initial = plottable.reduce((best, column) => (countDistinct(column) > countDistinct(best) ? column : best));
  const select = createSelect(
    "column",
    plottable.map(({ name }, index) => [String(index), name]),
    String(plottable.indexOf(initial)),
  );
  const { element, redraw } = createChart({
    label: "Histogram",
    getContent: () => {
      const column = plottable[Number(select.value)] ?? initial;
      const xaxis = { title: { text: escapeChartText(column.name) } };
      return {
        traces: [buildBars(column)],
        layout: { bargap: 0.05, xaxis, yaxis: { title: { text: "Rows" } } },
        summary: column.name,
      };
    },
    signal,
  });
  select.addEventListener("change", redraw);
  redraw();
  return createElement("div", {}, createField("Column", select), element);
}

/** @param {ColumnProfile} column */
function buildBars({ histogram, top_values, min, max }) {
  if (!histogram || min === null || max === null) {
    const values = top_values ?? [];
    return { type: "bar", x: values.map(({ value }) => escapeChartText(value)), y: values.map(({ rows }) => rows) };
  }
  const width = (max - min) / HISTOGRAM_BINS || 1;
  return { type: "bar", x: histogram.map((_, bin) => min + (bin + 0.5) * width), y: histogram, width };
}
