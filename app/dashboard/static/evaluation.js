/** How good a network is on a dataset: its measures, and which classes it takes for which. */

import { commands } from "./curl.js";
import { element, fill } from "./element.js";
import { alertPlace, field, onSubmit, select } from "./forms.js";
import { ask, post } from "./request.js";
import { facts, nothing, table } from "./tables.js";
import { called, figure, percent, whole } from "./words.js";

/** @import { Dataset, Evaluation, Network } from "./answers.js" */

/**
 * @param {Network} network @param {Dataset[]} datasets that fit it @param {string} chosen @param {AbortSignal} signal
 * @returns {HTMLElement}
 */
export function evaluation(network, datasets, chosen, signal) {
  if (datasets.length === 0) return nothing("There is no dataset that fits it.", ["#/datasets", "Make a dataset"]);
  const choice = select("dataset_id", datasets.map((one) => [one.id, called(one)]), chosen);
  const place = alertPlace();
  const result = element("div", { "aria-live": "polite" });
  const asked = () => post(`/v1/networks/${network.id}/evaluations`, { dataset_id: choice.value });
  const form = element(
    "form",
    { class: "row", "aria-label": "Evaluation" },
    field("On the dataset", choice),
    element("button", { type: "submit" }, "Evaluate"),
  );
  const shown = commands(asked());
  form.addEventListener("input", () => shown.show(asked()));
  onSubmit(form, place, async () => {
    fill(result, element("p", {}, "Working all rows through the network …"));
    try {
      fill(result, measures(await ask(asked(), signal)));
    } catch (error) {
      fill(result);
      throw error;
    }
  });
  const isThere = !chosen || datasets.some((one) => one.id === chosen);
  const instead = !isThere && element("p", { class: "quiet" }, `The dataset ${chosen} is not there any more, or does not fit; this is another one.`);
  return element("div", {}, instead, form, place, result, shown.place);
}

/** @param {Evaluation} found */
function measures(found) {
  return element(
    "div",
    {},
    facts([
      ["Cost", figure(found.cost)],
      ["Accuracy", found.accuracy === null ? null : percent(found.accuracy)],
      ["R²", found.r2 === null ? null : figure(found.r2)],
      ["Mean absolute error", found.mae === null ? null : figure(found.mae)],
      ["Root of the mean squared error", found.rmse === null ? null : figure(found.rmse)],
      ["Rows", whole(found.rows)],
    ]),
    found.classes && found.confusion_matrix && confusion(found.classes, found.confusion_matrix),
    found.classes &&
      table(
        "Measures of each class",
        ["Class", "Precision", "Recall", "F1", "Rows"],
        found.classes.map((one) => [one.label, percent(one.precision), percent(one.recall), figure(one.f1), whole(one.support)]),
      ),
  );
}

/** @param {{label: string}[]} classes @param {number[][]} matrix */
function confusion(classes, matrix) {
  const labels = classes.map((one) => one.label);
  return element(
    "div",
    {},
    element("h3", {}, "Confusion matrix"),
    element("p", { class: "quiet" }, "A row is the true class, a column the predicted one; on the diagonal it is right."),
    table(
      "Confusion matrix: rows are true classes, columns predicted ones",
      ["true, predicted", ...labels],
      matrix.map((row, truth) => {
        const all = row.reduce((sum, count) => sum + count, 0) || 1;
        return [
          labels[truth],
          row.map((count, predicted) => cell(count, count / all, truth === predicted)),
        ].flat();
      }),
      { class: "confusion" },
    ),
  );
}

/** @param {number} count @param {number} share of the class @param {boolean} right */
function cell(count, share, right) {
  const made = element("span", { class: right ? "right" : "mistaken" }, whole(count));
  made.style.setProperty("--share", String(count ? 0.12 + 0.88 * share : 0));
  return made;
}
