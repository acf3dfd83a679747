/** Values that the service proposes for a form: filled in where there is a control, and the reasons for them. */

import { createElement, replaceContent } from "../lib/dom.js";
import { createDetails, findLabel } from "./forms.js";

/** @import { Proposal } from "../lib/api_types.js" */

/** @typedef {[string, unknown][]} FieldValues paths of fields, with their values */

/**
 * Return the fields of an object by their paths: {validation: {fraction: 0.1}} has the path validation.fraction.
 * @param {object} fields @param {string} [prefix] @returns {FieldValues}
 */
export function flattenFields(fields, prefix = "") {
  return Object.entries(fields).flatMap(([name, value]) =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? flattenFields(value, `${prefix}${name}.`)
      : [/** @type {[string, unknown]} */ ([prefix + name, value])],
  );
}

/**
 * Fill in the controls of a form.
 * @param {HTMLFormElement} form @param {FieldValues} values @param {Set<string>} [kept] names of controls to leave as
 *   they are
 * @returns {FieldValues} the values that have no control
 */
export function fillControls(form, values, kept = new Set()) {
  return values.filter(([path, value]) => {
    const control = form.elements.namedItem(path);
    if (!(control instanceof HTMLInputElement || control instanceof HTMLSelectElement)) return true;
    if (!kept.has(path)) control.value = String(value);
    return false;
  });
}

/**
 * Add fields to the body of a request, except parts of an object that it does not have.
 * @param {Record<string, any>} body @param {FieldValues} values
 */
export function addFields(body, values) {
  for (const [path, value] of values) {
    const names = path.split(".");
    const last = names.pop() ?? "";
    const parent = names.reduce((object, name) => object?.[name], body);
    if (parent) parent[last] = value;
  }
}

/**
 * Create a collapsed list of the reasons for the values of a form, which is hidden while there are none.
 * @param {HTMLFormElement} form @param {string} prefix of the settings: "network." or "job."
 */
export function createReasons(form, prefix) {
  const list = createElement("ul");
  const element = createDetails("Why these values", list);
  const update = (/** @type {Proposal["reasons"]} */ reasons) => {
    const own = reasons.filter(({ setting }) => setting.startsWith(prefix));
    element.hidden = own.length === 0;
    replaceContent(
      list,
      own.map(({ setting, reason }) => {
        const path = setting.slice(prefix.length);
        const label = findLabel(form, path) ?? path.charAt(0).toUpperCase() + path.slice(1);
        return createElement("li", {}, createElement("strong", {}, `${label}: `), reason);
      }),
    );
  };
  update([]);
  return { element, update };
}
