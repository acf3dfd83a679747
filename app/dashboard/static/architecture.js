/** What network suits a dataset, and what does not go together. The service has the last word on both. */

import { whole } from "./words.js";

/** @import { Profile, Ready } from "./answers.js" */

/**
 * @typedef {object} Layer
 * @property {number} units
 * @property {string} activation
 * @property {number} [dropout]
 * @property {boolean} [batch_norm]
 *
 * @typedef {object} Network
 * @property {number} inputs
 * @property {Layer[]} layers the last one gives the outputs
 * @property {string} cost
 * @property {{inputs: string, targets: string}} preprocessing
 */

export const ACTIVATIONS = ["relu", "tanh", "sigmoid", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "sin", "identity", "softmax"];
export const COSTS = ["categorical_cross_entropy", "binary_cross_entropy", "quadratic", "mean_absolute", "huber", "poisson"];
export const INITIALIZERS = ["glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal", "standard_normal"];

/** Costs that take logarithms of outputs of one kind. @type {Record<string, string>} */
const NEEDED = { categorical_cross_entropy: "softmax", binary_cross_entropy: "sigmoid", poisson: "softplus" };
const SIDES = [8, 28];
/** Inputs up to here are small enough to be learned from as they are. */
const SMALL = 16;

/** The side of square images that rows of so many numbers may be; null if they are none. @param {number} inputs */
export function sideOf(inputs) {
  return SIDES.find((side) => side * side === inputs) ?? null;
}

/**
 * A network that is likely to learn what the dataset has to teach.
 * @param {Ready} dataset @param {Profile} profile
 * @returns {Network}
 */
export function proposed(dataset, profile) {
  const outputs = outputsOf(dataset);
  // A few times as many as there are inputs and outputs, within reason.
  const units = 2 ** Math.min(8, Math.max(4, Math.round(Math.log2(dataset.inputs + outputs)) + 2));
  const hidden = { units, activation: "relu", ...(sideOf(dataset.inputs) === null ? {} : { dropout: 0.2, batch_norm: true }) };
  const preprocessing = { inputs: scalingOf(dataset, profile), targets: dataset.classes ? "none" : "standardize" };
  const [activation, cost] = !dataset.classes
    ? ["identity", "quadratic"]
    : dataset.classes.length === 2
      ? ["sigmoid", "binary_cross_entropy"]
      : ["softmax", "categorical_cross_entropy"];
  return { inputs: dataset.inputs, layers: [hidden, { units: outputs, activation }], cost, preprocessing };
}

/** @param {Ready} dataset */
function outputsOf(dataset) {
  if (!dataset.classes) return dataset.targets;
  return dataset.classes.length === 2 ? 1 : dataset.classes.length;
}

/**
 * Images keep the same scale for every pixel as long as that is small: what is drawn later may be bright where no
 * image was before.
 * @param {Ready} dataset @param {Profile} profile
 */
function scalingOf(dataset, profile) {
  if (sideOf(dataset.inputs) === null) return "standardize";
  const largest = Math.max(...profile.columns.map((one) => (one.role === "feature" ? (one.max ?? 0) : 0)));
  return largest <= SMALL ? "none" : "min_max";
}

/**
 * @param {Network} network @param {Ready | null} dataset null if none is chosen
 * @returns {[string, string][]} fields, and what is wrong with them
 */
export function faults(network, dataset) {
  /** @type {[string, string][]} */
  const found = [];
  const last = network.layers.length - 1;
  const output = network.layers[last];
  if (!output) return [["layers", "A network has at least one layer."]];
  network.layers.forEach(({ units, dropout }, number) => {
    if (!Number.isInteger(units) || units < 1) found.push([`layers.${number}.units`, "A whole number of at least 1."]);
    if (dropout !== undefined && !(dropout >= 0 && dropout < 1)) found.push([`layers.${number}.dropout`, "At least 0 and below 1."]);
  });
  if (!Number.isInteger(network.inputs) || network.inputs < 1) found.push(["inputs", "A whole number of at least 1."]);
  const needed = NEEDED[network.cost];
  if (needed && output.activation !== needed)
    found.push([`layers.${last}.activation`, `The cost ${network.cost} goes with ${needed} here.`]);
  else if (output.activation === "softmax" && output.units === 1)
    found.push([`layers.${last}.activation`, "Softmax over a single output is always 1; use sigmoid, or more units."]);
  if (dataset) found.push(...misfits(network, dataset));
  return found;
}

/**
 * Why a network cannot learn from a dataset.
 * @param {{inputs: number, layers: Layer[]}} network @param {Ready} dataset
 * @returns {[string, string][]}
 */
export function misfits(network, dataset) {
  /** @type {[string, string][]} */
  const found = [];
  const last = network.layers.length - 1;
  const units = network.layers[last]?.units;
  if (network.inputs !== dataset.inputs)
    found.push(["inputs", `The dataset has ${whole(dataset.inputs)} inputs, the network ${whole(network.inputs)}.`]);
  if (dataset.classes) {
    const count = dataset.classes.length;
    if (units !== count && !(count === 2 && units === 1))
      found.push([`layers.${last}.units`, `The dataset has ${count} classes${count === 2 ? ", for 2 units or 1" : `; the last layer needs ${count} units`}.`]);
  } else if (dataset.targets && units !== dataset.targets)
    found.push([`layers.${last}.units`, `The dataset has ${dataset.targets} numbers to learn; the last layer needs as many units.`]);
  return found;
}

/** How many weights, biases and scales there are. @param {Network} network */
export function parameters(network) {
  let before = network.inputs;
  let sum = 0;
  for (const { units, batch_norm } of network.layers) {
    sum += (before + 1 + (batch_norm ? 1 : 0)) * units;
    before = units;
  }
  return sum;
}

/** 64 → 32 → 10. @param {{inputs: number, layers: Layer[]}} network */
export function shape(network) {
  return [network.inputs, ...network.layers.map((layer) => layer.units)].join(" → ");
}
