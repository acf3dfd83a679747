/** Tables that scroll within their own frame. */

import { createElement } from "../lib/dom.js";

/** @import { Child } from "../lib/dom.js" */

/**
 * Create a table.
 * @param {string} caption read by screen readers
 * @param {Child[]} head
 * @param {(Child | Child[])[][]} rows the first cell of each is its header
 * @param {Record<string, unknown>} [properties]
 */
export function createTable(caption, head, rows, properties = {}) {
  return createElement(
    "div",
    { class: "scrollable", tabindex: 0, role: "region", "aria-label": caption },
    createElement(
      "table",
      properties,
      createElement("caption", { class: "visually-hidden" }, caption),
      createElement(
        "thead",
        {},
        createElement(
          "tr",
          {},
          head.map((cell) => createElement("th", { scope: "col" }, cell)),
        ),
      ),
      createElement("tbody", {}, rows.map(createRow)),
    ),
  );
}

/** @param {(Child | Child[])[]} cells */
function createRow(cells) {
  const [header, ...others] = cells;
  return createElement(
    "tr",
    {},
    createElement("th", { scope: "row" }, ...[header].flat()),
    others.map((cell) => createElement("td", {}, ...[cell].flat())),
  );
}
