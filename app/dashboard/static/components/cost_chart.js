/** Charts of cost, accuracy and other metrics over the epochs of one or several jobs. */

import { createElement } from "../lib/dom.js";
import { formatNumber } from "../lib/format.js";
import { COLORS, createChart } from "./charts.js";
import { createCheckboxField, createInput } from "./forms.js";

/** @import { JobHistory } from "../lib/job_history.js" */

/** @typedef {{name: string, history: JobHistory}} Series */

/** @type {Record<string, string>} */
export const METRICS = {
  cost: "Cost",
  accuracy: "Accuracy",
  r2: "R²",
  mae: "Mean absolute error",
  rmse: "Root mean squared error",
  learning_rate: "Learning rate",
  rows_per_second: "Rows per second",
};

/** Limits of the automatic range of the axis. @type {Record<string, object>} */
const AXIS_LIMITS = { accuracy: { clipmin: 0, clipmax: 1.02 } };

/**
 * @param {() => string} getMetric
 * @param {() => Series[]} getSeries
 * @param {AbortSignal} signal
 * @param {boolean} [withLogScale] whether to offer a logarithmic scale
 */
export function createCostChart(getMetric, getSeries, signal, withLogScale = false) {
  const logScale = createInput("log", "checkbox");
  const { element, redraw } = createChart({
    label: "Metric by epoch",
    getContent: () => {
      const metric = getMetric();
      const series = getSeries();
      const isComparison = series.length > 1;
      return {
        traces: series.flatMap((job, index) => buildTraces(job, metric, index, isComparison)),
        layout: {
          xaxis: { title: { text: "Epoch" }, rangemode: "tozero" },
          yaxis: {
            title: { text: METRICS[metric] },
            type: logScale.checked ? "log" : "linear",
            autorangeoptions: AXIS_LIMITS[metric] ?? {},
          },
          uirevision: `${metric} ${logScale.checked}`,
        },
        summary: summarize(series, metric),
      };
    },
    signal,
  });
  logScale.addEventListener("change", redraw);
  return {
    element: createElement("div", {}, withLogScale && createCheckboxField("Logarithmic scale", logScale), element),
    redraw,
  };
}

/**
 * Build the curves of training and validation. In a comparison they share the color of their job.
 * @param {Series} series @param {string} metric @param {number} index @param {boolean} isComparison
 */
function buildTraces({ name, history }, metric, index, isComparison) {
  const curves = [
    { name: "training", key: metric, dash: "solid", color: isComparison ? index : 0 },
    {
      name: "validation",
      key: `validation_${metric}`,
      dash: isComparison ? "dot" : "solid",
      color: isComparison ? index : 1,
    },
  ];
  return curves
    .filter(({ key }) => history.has(key))
    .map((curve) => ({
      type: "scatter",
      mode: history.epochs.length < 3 ? "lines+markers" : "lines",
      name: isComparison ? `${name}, ${curve.name}` : curve.name,
      x: history.epochs.map((epoch) => epoch.epoch),
      y: history.epochs.map((epoch) => epoch[curve.key] ?? null),
      line: { color: COLORS[curve.color % COLORS.length], dash: curve.dash, width: 2 },
    }));
}

/** Describe the curves for screen readers. @param {Series[]} series @param {string} metric */
function summarize(series, metric) {
  return series
    .map(({ name, history }) => {
      const { last } = history;
      if (!last) return `${name}: no epochs yet.`;
      const key = `validation_${metric}`;
      const validation = history.has(key) ? `, validation ${formatNumber(last[key])}` : "";
      return `${name}, epoch ${last.epoch}: ${METRICS[metric]} ${formatNumber(last[metric])}${validation}.`;
    })
    .join(" ");
}
