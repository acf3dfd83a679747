/** Small building blocks of screens: sections, key-value lists, state badges and empty states. */

import { createElement, createLink } from "../lib/dom.js";

/** @import { Child } from "../lib/dom.js" */

/** @param {string} title @param {...(Child | Child[])} children */
export function createSection(title, ...children) {
  const id = `section-${title.toLowerCase().replace(/[^a-z0-9]+/g, "-")}`;
  return createElement("section", { "aria-labelledby": id }, createElement("h2", { id }, title), ...children);
}

/** Create a list of keys with values; pairs without a value are left out. @param {[string, Child | Child[]][]} pairs */
export function createKeyValueList(pairs) {
  return createElement(
    "dl",
    { class: "key-values" },
    pairs
      .filter(([, value]) => value !== null && value !== undefined && value !== false)
      .map(([key, value]) =>
        createElement("div", {}, createElement("dt", {}, key), createElement("dd", {}, ...[value].flat())),
      ),
  );
}

/**
 * Create a note that there is nothing yet, with a link to the next step.
 * @param {string} text @param {[string, string]} [link]
 */
export function createEmptyState(text, link) {
  return createElement("p", { class: "empty-state" }, text, " ", link && createLink(...link));
}

/** @param {string} state */
export function createStateBadge(state) {
  return createElement("span", { class: `badge ${state}` }, state);
}
