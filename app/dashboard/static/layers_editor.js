/** The layers of a network, as fields that are added and removed. */

import { ACTIVATIONS } from "./architecture.js";
import { announce } from "./connection.js";
import { button, element, fill } from "./element.js";
import { checkbox, field, input, number, select } from "./forms.js";

/** @typedef {import("./architecture.js").Layer} Layer */

const FIRST = { units: 32, activation: "relu" };

/**
 * @param {() => void} changed
 * @returns {{place: HTMLElement, layers: () => Layer[], show: (layers: Layer[]) => void}}
 */
export function layersEditor(changed) {
  const place = element("div", { class: "layers" });
  const show = (/** @type {Layer[]} */ layers) => {
    const last = layers.length - 1;
    fill(
      place,
      layers.map((layer, position) => fieldset(layer, position, last)),
    );
    changed();
  };
  const layers = () => [...place.querySelectorAll("fieldset")].map(layerIn);
  const add = (/** @type {number} */ position) => {
    const now = layers();
    now.splice(position, 0, { ...FIRST, ...now[position - 1] });
    show(now);
    announce(`There are ${now.length} layers now.`);
    /** @type {HTMLElement | null} */ (place.querySelector(`[name="layers.${position}.units"]`))?.focus();
  };
  const remove = (/** @type {number} */ position) => {
    const now = layers();
    now.splice(position, 1);
    show(now);
    announce(`There are ${now.length} layers now.`);
    /** @type {HTMLElement | null} */ (place.querySelector(".add"))?.focus();
  };

  /** @param {Layer} layer @param {number} position @param {number} last */
  function fieldset(layer, position, last) {
    const name = `layers.${position}`;
    const isLast = position === last;
    return element(
      "fieldset",
      { class: "layer" },
      element("legend", {}, isLast ? "Output layer" : `Hidden layer ${position + 1}`),
      element(
        "div",
        { class: "fields" },
        field("Units", number(`${name}.units`, layer.units, { min: 1, step: 1, required: true, inputmode: "numeric" })),
        field("Activation", select(`${name}.activation`, ACTIVATIONS, layer.activation)),
        !isLast && field("Dropout", number(`${name}.dropout`, layer.dropout ?? 0, { min: 0, max: 0.99 })),
        !isLast && checkbox("Batch normalization", input(`${name}.batch_norm`, "checkbox", { checked: layer.batch_norm ?? false })),
      ),
      element(
        "p",
        { class: "row" },
        isLast
          ? button("Add a hidden layer", () => add(position), { class: "add" })
          : button("Remove", () => remove(position), { "aria-label": `Remove hidden layer ${position + 1}` }),
      ),
    );
  }

  return { place, layers, show };
}

/** @param {HTMLFieldSetElement} fieldset @returns {Layer} what differs from the defaults, and what always is said */
function layerIn(fieldset) {
  const of = (/** @type {string} */ name) => /** @type {HTMLInputElement | null} */ (fieldset.querySelector(`[name$=".${name}"]`));
  const dropout = Number(of("dropout")?.value ?? 0);
  return {
    units: Number(of("units")?.value),
    activation: of("activation")?.value ?? "",
    ...(dropout ? { dropout } : {}),
    ...(of("batch_norm")?.checked ? { batch_norm: true } : {}),
  };
}
