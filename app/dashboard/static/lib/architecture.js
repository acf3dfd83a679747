/** Network architectures, checked before the service does. */

import { formatCount, formatInteger } from "./format.js";

/** @import { ReadyDataset } from "./api_types.js" */

/**
 * @typedef {object} Layer
 * @property {number} units
 * @property {string} activation
 * @property {number} [dropout]
 * @property {boolean} [batch_norm]
 *
 * @typedef {object} Architecture
 * @property {number} inputs
 * @property {Layer[]} layers the last one is the output layer
 * @property {string} cost
 * @property {{inputs: string, targets: string}} preprocessing
 *
 * @typedef {[string, string][]} FieldMessages names of invalid fields, with error messages
 */

export const ACTIVATIONS = [
  "relu",
  "tanh",
  "sigmoid",
  "leaky_relu",
  "elu",
  "selu",
  "gelu",
  "silu",
  "softplus",
  "sin",
  "identity",
  "softmax",
];
export const COSTS = [
  "categorical_cross_entropy",
  "binary_cross_entropy",
  "quadratic",
  "mean_absolute",
  "huber",
  "poisson",
];
export const INITIALIZERS = [
  "glorot_uniform",
  "glorot_normal",
  "he_uniform",
  "he_normal",
  "lecun_uniform",
  "lecun_normal",
  "standard_normal",
];

/** Costs that take logarithms, each of the outputs of one activation. @type {Record<string, string>} */
const REQUIRED_ACTIVATIONS = {
  categorical_cross_entropy: "softmax",
  binary_cross_entropy: "sigmoid",
  poisson: "softplus",
};
const IMAGE_SIDES = [8, 28];

/**
 * Return the side of square images with this number of pixels, or null if the inputs are not images.
 * @param {number} inputs
 */
export function inferImageSide(inputs) {
  return IMAGE_SIDES.find((side) => side * side === inputs) ?? null;
}

/**
 * Check a network, by itself and against a dataset.
 * @param {Architecture} network @param {ReadyDataset | null} dataset
 * @returns {FieldMessages}
 */
export function validateArchitecture(network, dataset) {
  /** @type {FieldMessages} */
  const messages = [];
  const last = network.layers.length - 1;
  const output = network.layers[last];
  if (!output) return [["layers", "A network needs at least one layer."]];
  network.layers.forEach(({ units, dropout }, index) => {
    if (!isPositiveInteger(units)) messages.push([`layers.${index}.units`, "Enter a whole number of at least 1."]);
    if (dropout !== undefined && !(dropout >= 0 && dropout < 1))
      messages.push([`layers.${index}.dropout`, "Enter a number from 0 to below 1."]);
  });
  if (!isPositiveInteger(network.inputs)) messages.push(["inputs", "Enter a whole number of at least 1."]);
  const required = REQUIRED_ACTIVATIONS[network.cost];
  if (required && output.activation !== required)
    messages.push([`layers.${last}.activation`, `The cost ${network.cost} requires ${required}.`]);
  else if (output.activation === "softmax" && output.units === 1)
    messages.push([`layers.${last}.activation`, "Softmax over a single unit is always 1. Use sigmoid, or more units."]);
  if (dataset) messages.push(...checkCompatibility(network, dataset));
  return messages;
}

/**
 * Check that a network has the inputs and outputs that a dataset needs.
 * @param {{inputs: number, layers: Layer[]}} network @param {ReadyDataset} dataset
 * @returns {FieldMessages}
 */
export function checkCompatibility(network, dataset) {
  /** @type {FieldMessages} */
  const messages = [];
  const last = network.layers.length - 1;
  const units = network.layers[last]?.units;
  if (network.inputs !== dataset.inputs)
    messages.push([
      "inputs",
      `The dataset has ${formatInteger(dataset.inputs)} inputs, but the network has ${formatInteger(network.inputs)}.`,
    ]);
  const [targets, requiredUnits] = dataset.classes
    ? [`${dataset.classes.length} classes`, dataset.classes.length === 2 ? [1, 2] : [dataset.classes.length]]
    : [formatCount(dataset.targets, "target"), [dataset.targets]];
  if (dataset.targets && units !== undefined && !requiredUnits.includes(units)) {
    const required = requiredUnits.join(" or ");
    messages.push([
      `layers.${last}.units`,
      `The dataset has ${targets}, so the last layer needs ${required} ${required === "1" ? "unit" : "units"}.`,
    ]);
  }
  return messages;
}

/** Count weights, biases and scales of batch normalization. @param {Architecture} network */
export function countParameters(network) {
  let inputs = network.inputs;
  let count = 0;
  for (const { units, batch_norm } of network.layers) {
    count += (inputs + 1 + (batch_norm ? 1 : 0)) * units;
    inputs = units;
  }
  return count;
}

/** Return the sizes of the layers: "64 → 32 → 10". @param {{inputs: number, layers: Layer[]}} network */
export function formatLayerSizes(network) {
  return [network.inputs, ...network.layers.map((layer) => layer.units)].join(" → ");
}

/** @param {number} value */
function isPositiveInteger(value) {
  return Number.isInteger(value) && value >= 1;
}
