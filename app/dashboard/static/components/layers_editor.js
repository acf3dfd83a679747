/** An editor for the layers of a network. */

import { ACTIVATIONS } from "../lib/architecture.js";
import { createButton, createElement, replaceContent } from "../lib/dom.js";
import { formatCount } from "../lib/format.js";
import {
  createCheckboxField,
  createField,
  createFormGrid,
  createInput,
  createIntegerInput,
  createNumberInput,
  createSelect,
} from "./forms.js";
import { announce } from "./live_announcer.js";

/** @import { Layer } from "../lib/architecture.js" */

const DEFAULT_LAYER = { units: 32, activation: "relu" };

/**
 * @param {() => void} onChange called when layers are added, removed or replaced
 * @returns {{element: HTMLElement, getLayers: () => Layer[], setLayers: (layers: Layer[]) => void}}
 */
export function createLayersEditor(onChange) {
  const element = createElement("div", { class: "layers" });
  const getLayers = () => [...element.querySelectorAll("fieldset")].map(readLayer);
  const setLayers = (/** @type {Layer[]} */ layers) => {
    const last = layers.length - 1;
    replaceContent(
      element,
      layers.map((layer, index) => createLayerFieldset(layer, index, index === last)),
    );
    onChange();
  };

  /** Edit the layers, then focus a control. @param {(layers: Layer[]) => void} edit @param {string} focusSelector */
  const editLayers = (edit, focusSelector) => {
    const layers = getLayers();
    edit(layers);
    setLayers(layers);
    announce(`The network has ${formatCount(layers.length, "layer")}.`);
    /** @type {HTMLElement | null} */ (element.querySelector(focusSelector))?.focus();
  };
  const insertLayer = (/** @type {number} */ index) =>
    editLayers(
      (layers) => layers.splice(index, 0, { ...DEFAULT_LAYER, ...layers[index - 1] }),
      `[name="layers.${index}.units"]`,
    );
  const removeLayer = (/** @type {number} */ index) => editLayers((layers) => layers.splice(index, 1), ".add-layer");

  /** @param {Layer} layer @param {number} index @param {boolean} isOutput */
  function createLayerFieldset(layer, index, isOutput) {
    const name = `layers.${index}`;
    const units = createIntegerInput(`${name}.units`, layer.units, { min: 1, required: true });
    const dropout = createNumberInput(`${name}.dropout`, layer.dropout ?? 0, { min: 0, max: 0.99 });
    const batchNorm = createInput(`${name}.batch_norm`, "checkbox", { checked: layer.batch_norm ?? false });
    return createElement(
      "fieldset",
      { class: "layer" },
      createElement("legend", {}, isOutput ? "Output layer" : `Hidden layer ${index + 1}`),
      createFormGrid(
        createField("Units", units),
        createField("Activation", createSelect(`${name}.activation`, ACTIVATIONS, layer.activation)),
        !isOutput && createField("Dropout", dropout),
        !isOutput && createCheckboxField("Batch normalization", batchNorm),
      ),
      createElement(
        "p",
        { class: "row" },
        isOutput
          ? createButton("Add hidden layer", () => insertLayer(index), { class: "add-layer" })
          : createButton("Remove", () => removeLayer(index), { "aria-label": `Remove hidden layer ${index + 1}` }),
      ),
    );
  }

  return { element, getLayers, setLayers };
}

/**
 * Return a layer, without optional fields that have their default values.
 * @param {HTMLFieldSetElement} fieldset @returns {Layer}
 */
function readLayer(fieldset) {
  const getInput = (/** @type {string} */ name) =>
    /** @type {HTMLInputElement | null} */ (fieldset.querySelector(`[name$=".${name}"]`));
  const dropout = Number(getInput("dropout")?.value ?? 0);
  return {
    units: Number(getInput("units")?.value),
    activation: getInput("activation")?.value ?? "",
    ...(dropout ? { dropout } : {}),
    ...(getInput("batch_norm")?.checked ? { batch_norm: true } : {}),
  };
}
