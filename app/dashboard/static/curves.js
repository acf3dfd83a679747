/** Curves of what is measured after every epoch, of one job or of several. */

import { COLOURS, chart } from "./charts.js";
import { element } from "./element.js";
import { checkbox, input } from "./forms.js";
import { figure } from "./words.js";

/** @typedef {import("./history.js").History} History */
/** @typedef {{name: string, history: History}} Shown */

/** Measures, in words. @type {Record<string, string>} */
export const MEASURES = {
  cost: "Cost",
  accuracy: "Accuracy",
  r2: "R²",
  mae: "Mean absolute error",
  rmse: "Root of the mean squared error",
  learning_rate: "Learning rate",
  rows_per_second: "Rows per second",
};

/** Where a measure can be at all. @type {Record<string, object>} */
const RANGES = { accuracy: { clipmin: 0, clipmax: 1.02 } };

/**
 * @param {() => string} measure
 * @param {() => Shown[]} shown
 * @param {AbortSignal} signal
 * @param {boolean} [withScale] whether the scale can be made logarithmic
 */
export function curves(measure, shown, signal, withScale = false) {
  const scale = input("log", "checkbox");
  const { place, draw } = chart({
    label: "Curves over epochs",
    content: () => {
      const name = measure();
      const jobs = shown();
      const layout = {
        xaxis: { title: { text: "epoch" }, rangemode: "tozero" },
        yaxis: { title: { text: MEASURES[name] }, type: scale.checked ? "log" : "linear", autorangeoptions: RANGES[name] ?? {} },
        uirevision: `${name} ${scale.checked}`,
      };
      return { traces: jobs.flatMap((job, place) => traces(job, name, place, jobs.length > 1)), layout, summary: summary(jobs, name) };
    },
    signal,
  });
  scale.addEventListener("change", draw);
  return { place: element("div", {}, withScale && checkbox("Logarithmic scale", scale), place), draw };
}

/** @param {Shown} job @param {string} measure @param {number} place @param {boolean} isNamed */
function traces({ name, history }, measure, place, isNamed) {
  const both = [
    { name: "training", key: measure, dash: "solid", colour: 2 * place },
    { name: "validation", key: `validation_${measure}`, dash: isNamed ? "dot" : "solid", colour: isNamed ? 2 * place : 1 },
  ];
  return both
    .filter(({ key }) => history.has(key))
    .map((one) => ({
      type: "scatter",
      mode: history.epochs.length < 3 ? "lines+markers" : "lines",
      name: isNamed ? `${name}, ${one.name}` : one.name,
      x: history.epochs.map((epoch) => epoch.epoch),
      y: history.epochs.map((epoch) => epoch[one.key] ?? null),
      line: { color: COLOURS[(isNamed ? place : one.colour) % COLOURS.length], dash: one.dash, width: 2 },
    }));
}

/** For those who do not see the curves. @param {Shown[]} jobs @param {string} measure */
function summary(jobs, measure) {
  return jobs
    .map(({ name, history }) => {
      const { last } = history;
      if (!last) return `${name}: no epoch yet.`;
      const validation = history.has(`validation_${measure}`) ? `, validation ${figure(last[`validation_${measure}`])}` : "";
      return `${name}, epoch ${last.epoch}: ${MEASURES[measure]} ${figure(last[measure])}${validation}.`;
    })
    .join(" ");
}
