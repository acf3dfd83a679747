/** Tables, lists of facts, and what is said where there is nothing. */

import { element, link } from "./element.js";

/** @typedef {import("./element.js").Child} Child */

/**
 * A table that scrolls within its own frame.
 * @param {string} caption what it shows, for those who do not see it
 * @param {Child[]} head
 * @param {(Child | Child[])[][]} rows the first cell of each names the row
 * @param {Record<string, unknown>} [properties]
 */
export function table(caption, head, rows, properties = {}) {
  return element(
    "div",
    { class: "scrolls", tabindex: 0, role: "region", "aria-label": caption },
    element(
      "table",
      properties,
      element("caption", { class: "unseen" }, caption),
      element("thead", {}, element("tr", {}, head.map((cell) => element("th", { scope: "col" }, cell)))),
      element("tbody", {}, rows.map(rowOf)),
    ),
  );
}

/** @param {(Child | Child[])[]} cells */
function rowOf(cells) {
  const [first, ...others] = cells;
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, ...[first].flat()),
    others.map((cell) => element("td", {}, ...[cell].flat())),
  );
}

/** @param {[string, Child | Child[]][]} pairs those without a value are left out */
export function facts(pairs) {
  return element(
    "dl",
    { class: "facts" },
    pairs
      .filter(([, value]) => value !== null && value !== undefined && value !== false)
      .map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, ...[value].flat()))),
  );
}

/** There is nothing yet, and what to do about it. @param {string} sentence @param {[string, string]} [way] */
export function nothing(sentence, way) {
  return element("p", { class: "nothing" }, sentence, " ", way && link(way[0], way[1]));
}

/** A state in words, with a colour beside it. @param {string} state */
export function badge(state) {
  return element("span", { class: `badge ${state}` }, state);
}

/** @param {string} title @param {...(Child | Child[])} children */
export function section(title, ...children) {
  const id = `section-${title.toLowerCase().replace(/[^a-z0-9]+/g, "-")}`;
  return element("section", { "aria-labelledby": id }, element("h2", { id }, title), ...children);
}
