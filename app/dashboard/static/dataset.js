/** One dataset: what is in it, and what may stand in the way of training. */

import { chart } from "./charts.js";
import { commands } from "./curl.js";
import { learned } from "./datasets.js";
import { underway } from "./dataset_underway.js";
import { button, element, link } from "./element.js";
import { alertPlace, field, select, showProblem } from "./forms.js";
import { ask, get, read } from "./request.js";
import { facts, section, table } from "./tables.js";
import { called, figure, moment, size, whole } from "./words.js";

/** @import { ColumnProfile, Dataset, Profile, Rows } from "./answers.js" */

/** @typedef {import("./request.js").Asked} Asked */

const BINS = 20;

/** @type {import("./main.js").Screen} */
export async function datasetScreen({ parts: [id = ""], signal }) {
  const path = `/v1/datasets/${encodeURIComponent(id)}`;
  /** @type {Dataset} */
  const dataset = await read(path, signal);
  const place = alertPlace();
  if (dataset.state !== "ready")
    return { title: called(dataset), content: [underway(path, dataset, signal), element("p", { class: "row" }, removal(path, place)), place, commands(get(path), remove(path)).place] };
  /** @type {[Profile, Rows]} */
  const [profile, rows] = await Promise.all([read(`${path}/profile`, signal), read(`${path}/rows?limit=10`, signal)]);
  return {
    title: called(dataset),
    content: [
      element(
        "p",
        { class: "row" },
        !dataset.unlabeled && link(`#/networks/new?dataset=${dataset.id}`, "Create a network for it"),
        !dataset.unlabeled && link(`#/jobs/new?dataset=${dataset.id}`, "Train on it"),
        removal(path, place),
      ),
      place,
      facts([
        ["Id", dataset.id],
        ["Rows", whole(dataset.rows)],
        ["Inputs of a network", whole(dataset.inputs)],
        ["To learn", learned(dataset)],
        ["Size", size(dataset.bytes)],
        ["Created", moment(dataset.created_at)],
      ]),
      profile.warnings.length > 0 &&
        section("What may stand in the way", element("ul", {}, profile.warnings.map((one) => element("li", {}, one)))),
      profile.classes && section("Classes", classes(profile.classes)),
      section("Columns", histogram(profile, signal), columns(profile)),
      section(
        "First rows",
        table(
          "First rows",
          ["Row", ...rows.columns.map((one) => one.name)],
          rows.data.map((row, number) => [String(number), ...row.map((cell) => (cell === null ? "–" : String(cell)))]),
        ),
      ),
      commands(get(path), get(`${path}/profile`), get(`${path}/rows?limit=10`), remove(path)).place,
    ],
  };
}

/** @param {string} path @returns {Asked} */
const remove = (path) => ({ method: "DELETE", path });

/** @param {string} path @param {Element} place */
function removal(path, place) {
  return button("Delete", async () => {
    if (!confirm("Delete this dataset for good?")) return;
    try {
      await ask(remove(path));
      location.hash = "#/datasets";
    } catch (error) {
      showProblem(error, place);
    }
  });
}

/** @param {Record<string, number>} found */
function classes(found) {
  const all = Object.values(found).reduce((sum, rows) => sum + rows, 0);
  return table(
    "Classes",
    ["Class", "Rows", "Share"],
    Object.entries(found).map(([name, rows]) => [
      name,
      whole(rows),
      element("meter", { value: rows, max: all, "aria-label": `Share of ${name}` }, `${rows} of ${all}`),
    ]),
  );
}

/** @param {Profile} profile */
function columns(profile) {
  return table(
    "Columns",
    ["Column", "Role", "Type", "Missing", "Different", "Smallest", "Mean", "Largest", "Deviation", "Most frequent"],
    profile.columns.map((one) => [
      one.name,
      one.role,
      one.type,
      whole(one.missing),
      one.distinct === null ? "many" : whole(one.distinct),
      figure(one.min),
      figure(one.mean),
      figure(one.max),
      figure(one.deviation),
      (one.frequent ?? []).slice(0, 3).map((each) => each.value).join(", ") || "–",
    ]),
  );
}

/** How the values of a column are spread; the column is chosen. @param {Profile} profile @param {AbortSignal} signal */
function histogram(profile, signal) {
  const all = profile.columns.filter((one) => one.histogram || one.frequent);
  if (all.length === 0) return null;
  const most = (/** @type {ColumnProfile} */ one) => (one.histogram ? (one.distinct ?? Infinity) : 0);
  const first = all.reduce((best, one) => (most(one) > most(best) ? one : best));
  const choice = select("column", all.map((one, place) => [String(place), one.name]), String(all.indexOf(first)));
  const { place, draw } = chart({
    label: "How many rows have which values",
    content: () => {
      const one = all[Number(choice.value)] ?? first;
      return { traces: [bars(one)], layout: { bargap: 0.05, xaxis: { title: { text: plain(one.name) } }, yaxis: { title: { text: "rows" } } }, summary: one.name };
    },
    signal,
  });
  choice.addEventListener("change", draw);
  draw();
  return element("div", {}, field("Column", choice), place);
}

/** @param {ColumnProfile} column */
function bars(column) {
  const { histogram, frequent, min, max } = column;
  if (!histogram || min === null || max === null)
    return { type: "bar", x: (frequent ?? []).map((one) => plain(one.value)), y: (frequent ?? []).map((one) => one.rows) };
  const width = (max - min) / BINS || 1;
  return { type: "bar", x: histogram.map((_, bin) => min + (bin + 0.5) * width), y: histogram, width };
}

/** Text that the charts do not take for their own markup. @param {string} text */
function plain(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").slice(0, 60);
}
