/** One row, filled in by hand, and what a network says of it. */

import { commands } from "./curl.js";
import { element, fill } from "./element.js";
import { Values, alertPlace, complain, field, input, number, onSubmit, select, showProblem } from "./forms.js";
import { ask, post } from "./request.js";
import { table } from "./tables.js";
import { figure, percent } from "./words.js";

/** @import { Network, Prediction } from "./answers.js" */

/** More inputs than this are not filled in one by one. */
const MOST_FIELDS = 64;
const TOP = 3;

/**
 * What a version takes: the names and types of its columns, with what is known of their values.
 * @typedef {{name: string, type: string, categories: string[] | null}} Column
 */

/**
 * A form of a row, and apart from it the answer: to what is filled in, or to what `predict` is given. `fill` gives what
 * is then in the form; `clear` takes the answer away, and one that is on its way.
 * @param {Network} network @param {Column[]} columns @param {boolean} areNamed @param {AbortSignal} signal
 */
export function rowForm(network, columns, areNamed, signal) {
  const place = alertPlace();
  const said = element("div", { "aria-live": "polite" });
  const hasFields = columns.length <= MOST_FIELDS;
  const all = element("textarea", { name: "values", rows: 4, required: true, spellcheck: "false" });
  const controls = hasFields ? columns.map(controlOf) : [];
  const form = element(
    "form",
    { "aria-label": "One row" },
    hasFields
      ? element("div", { class: "fields" }, controls.map((control, at) => field(columns[at]?.name ?? "", control)))
      : field(`${columns.length} values, with commas between them`, all, "As in JSON: text in quotation marks, null where there is none."),
    element("p", { class: "row" }, element("button", { type: "submit", class: "main" }, "Predict")),
  );
  const wish = network.layers[network.layers.length - 1]?.activation === "softmax" || network.cost === "binary_cross_entropy" ? { top_k: TOP } : {};
  const asked = (/** @type {object} */ body) => post(`/v1/networks/${network.id}/predictions`, { ...body, ...wish });
  const shown = commands(asked(bodyOf()));
  let latest = new AbortController();

  /** What is filled in. */
  function bodyOf() {
    if (!hasFields) return { inputs: [listIn(all.value) ?? []] };
    const values = new Values(form);
    const row = columns.map((column, at) => valueIn(values.raw(`value.${at}`), column));
    return areNamed ? { rows: [Object.fromEntries(columns.map((column, at) => [column.name, row[at]]))] } : { inputs: [row] };
  }

  function clear() {
    latest.abort();
    fill(said);
    fill(place);
  }

  /** @param {object} body */
  async function predict(body) {
    latest.abort();
    const mine = (latest = new AbortController());
    shown.show(asked(body));
    try {
      const found = await ask(asked(body), AbortSignal.any([signal, mine.signal]));
      if (mine.signal.aborted) return;
      fill(said, answerOf(found));
      fill(place);
    } catch (error) {
      // Something else has been asked since, or the screen was left.
      if (mine.signal.aborted || signal.aborted) return;
      fill(said);
      showProblem(error, place);
    }
  }

  onSubmit(form, place, () => predict(bodyOf()));
  form.addEventListener("input", () => {
    if (!hasFields) complain(all, all.value && !listIn(all.value) ? "These are not values as in JSON, with commas between them." : "");
    shown.show(asked(bodyOf()));
  });
  return {
    form,
    answer: element("div", { class: "answer" }, place, said),
    commands: shown.place,
    predict,
    clear,
    fill: (/** @type {unknown[]} */ values) => {
      controls.forEach((control, at) => (control.value = String(values[at] ?? "")));
      if (!hasFields) all.value = values.map((value) => JSON.stringify(value ?? null)).join(", ");
      complain(all, "");
      return bodyOf();
    },
  };
}

/** @param {Column} column @param {number} at */
function controlOf(column, at) {
  const name = `value.${at}`;
  if (column.type === "boolean") return select(name, [["", "no value"], "true", "false"]);
  if (column.type === "category" && column.categories) return select(name, [["", "no value"], ...column.categories], column.categories[0]);
  if (column.type === "number") return number(name, "");
  return input(name, "text", column.type === "date" ? { placeholder: "2024-01-31 or 2024-01-31T12:00:00" } : {});
}

/** A category may begin with a blank, and is another one without it. @param {string} text @param {Column} column */
function valueIn(text, { type }) {
  if (type === "category") return text || null;
  const value = text.trim();
  if (value === "") return null;
  if (type === "number") return Number(value);
  return type === "boolean" ? value === "true" : value;
}

/** @param {string} text @returns {unknown[] | null} null if it is none */
function listIn(text) {
  try {
    const found = JSON.parse(`[${text}]`);
    return found.length === 1 && Array.isArray(found[0]) ? found[0] : found;
  } catch {
    return null;
  }
}

/** @param {Prediction} found */
function answerOf(found) {
  const [top] = found.top ?? [];
  const [label] = found.labels ?? [];
  if (top)
    return [
      element("p", { class: "label" }, "It is ", element("strong", {}, label ?? top[0]?.label)),
      table("The likeliest classes", ["Class", "Score", ""], top.map((one) => [one.label, percent(one.score), element("meter", { value: one.score, max: 1, "aria-label": `Score of ${one.label}` })])),
    ];
  if (label !== undefined) return [element("p", { class: "label" }, "It is ", element("strong", {}, label))];
  return [element("p", { class: "label" }, "It answers ", element("strong", {}, (found.outputs[0] ?? []).map(figure).join(", ")))];
}

