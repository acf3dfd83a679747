/** The evaluation of a network on a dataset: its metrics and confusion matrix. */

import { buildPost, sendRequest } from "../lib/api.js";
import { createElement, replaceContent } from "../lib/dom.js";
import { getDisplayName, formatInteger, formatNumber, formatPercent } from "../lib/format.js";
import { createCurlSnippets } from "./curl_snippets.js";
import { createEmptyState, createKeyValueList } from "./data_display.js";
import { createAlert, createField, createSelect, handleSubmit } from "./forms.js";
import { createTable } from "./table.js";

/** @import { Dataset, Evaluation, Network } from "../lib/api_types.js" */

/** The color of a cell that is not empty starts here, so that single mistakes are visible. */
const MIN_SHADE = 0.12;

/**
 * @param {Network} network @param {Dataset[]} datasets that fit the network @param {string} selectedId
 * @param {AbortSignal} signal
 * @returns {HTMLElement}
 */
export function createEvaluationForm(network, datasets, selectedId, signal) {
  if (datasets.length === 0)
    return createEmptyState("No dataset fits this network.", ["#/datasets", "Create a dataset"]);
  const select = createSelect(
    "dataset_id",
    [
      ["", "Rows it was not trained on"],
      ...datasets.map((dataset) => /** @type {[string, string]} */ ([dataset.id, getDisplayName(dataset)])),
    ],
    selectedId,
  );
  const alert = createAlert();
  const result = createElement("div", { "aria-live": "polite" });
  const buildRequest = () => buildPost(`/v1/networks/${network.id}/evaluations`, select.value ? { dataset_id: select.value } : {});
  const form = createElement(
    "form",
    { class: "row", "aria-label": "Evaluation" },
    createField("Dataset", select),
    createElement("button", { type: "submit" }, "Evaluate"),
  );
  const curl = createCurlSnippets(buildRequest());
  form.addEventListener("input", () => curl.update(buildRequest()));
  handleSubmit(form, alert, async () => {
    replaceContent(result, createElement("p", {}, "Evaluating…"));
    try {
      replaceContent(result, renderEvaluation(await sendRequest(buildRequest(), signal), datasets));
    } catch (error) {
      replaceContent(result);
      throw error;
    }
  });
  const isMissing = selectedId && !datasets.some((dataset) => dataset.id === selectedId);
  const note = `Dataset ${selectedId} was deleted or does not fit this network. Another one is selected.`;
  const missingNote = isMissing && createElement("p", { class: "muted" }, note);
  return createElement("div", {}, missingNote, form, alert, result, curl.element);
}

/** @param {Evaluation} evaluation @param {Dataset[]} datasets */
function renderEvaluation(evaluation, datasets) {
  const { dataset_id, warnings, cost, accuracy, r2, mae, rmse, rows, classes, confusion_matrix } = evaluation;
  const dataset = datasets.find(({ id }) => id === dataset_id);
  return createElement(
    "div",
    {},
    warnings.map((warning) => createElement("p", { class: "warning" }, warning)),
    createKeyValueList([
      ["Dataset", dataset ? getDisplayName(dataset) : dataset_id],
      ["Cost", formatNumber(cost)],
      ["Accuracy", accuracy === null ? null : formatPercent(accuracy)],
      ["R²", r2 === null ? null : formatNumber(r2)],
      ["Mean absolute error", mae === null ? null : formatNumber(mae)],
      ["Root mean squared error", rmse === null ? null : formatNumber(rmse)],
      ["Rows", formatInteger(rows)],
    ]),
    classes &&
      confusion_matrix &&
      renderConfusionMatrix(
        classes.map(({ label }) => String(label)),
        confusion_matrix,
      ),
    classes && renderClassMetrics(classes),
  );
}

/** @param {NonNullable<Evaluation["classes"]>} classes */
function renderClassMetrics(classes) {
  return createElement(
    "div",
    {},
    createElement("h3", {}, "Metrics by class"),
    createTable(
      "Metrics by class",
      ["Class", "Precision", "Recall", "F1", "Rows"],
      classes.map(({ label, precision, recall, f1, support }) => [
        String(label),
        formatPercent(precision),
        formatPercent(recall),
        formatNumber(f1),
        formatInteger(support),
      ]),
    ),
  );
}

/** @param {string[]} labels @param {number[][]} matrix a row for each true class */
function renderConfusionMatrix(labels, matrix) {
  const rows = matrix.map((row, trueClass) => {
    const total = row.reduce((sum, count) => sum + count, 0) || 1;
    return [labels[trueClass], ...row.map((count, index) => renderCell(count, count / total, trueClass === index))];
  });
  return createElement(
    "div",
    {},
    createElement("h3", {}, "Confusion matrix"),
    createElement(
      "p",
      { class: "muted" },
      "Rows are true classes, columns are predicted classes. Correct predictions are on the diagonal.",
    ),
    createTable(
      "Confusion matrix: rows are true classes, columns predicted classes",
      ["true / predicted", ...labels],
      rows,
      { class: "confusion-matrix" },
    ),
  );
}

/** @param {number} count @param {number} share of the true class @param {boolean} isCorrect */
function renderCell(count, share, isCorrect) {
  const cell = createElement("span", { class: isCorrect ? "correct" : "incorrect" }, formatInteger(count));
  cell.style.setProperty("--shade", String(count ? MIN_SHADE + (1 - MIN_SHADE) * share : 0));
  return cell;
}
