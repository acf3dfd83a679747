/** Formatting of numbers, times and names for display. */

/** @import { Dataset } from "./api_types.js" */

const INTEGER_FORMAT = new Intl.NumberFormat("en");
const DATE_TIME_FORMAT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
const NO_VALUE = "–";

/** @param {number | null | undefined} value */
export function formatInteger(value) {
  return value === null || value === undefined ? NO_VALUE : INTEGER_FORMAT.format(value);
}

/** Format with four significant digits. @param {number | null | undefined} value */
export function formatNumber(value) {
  if (value === null || value === undefined) return NO_VALUE;
  const magnitude = Math.abs(value);
  if (Number.isInteger(value) && magnitude < 1e9) return INTEGER_FORMAT.format(value);
  return magnitude >= 1e6 || magnitude < 1e-4 ? value.toExponential(3) : String(Number(value.toPrecision(4)));
}

/** @param {number | null | undefined} fraction */
export function formatPercent(fraction) {
  return fraction === null || fraction === undefined ? NO_VALUE : `${(100 * fraction).toFixed(2)} %`;
}

/** @param {number | null | undefined} seconds */
export function formatDuration(seconds) {
  if (seconds === null || seconds === undefined) return NO_VALUE;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  return minutes < 2880 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${Math.round(minutes / 1440)} days`;
}

/** @param {number | null | undefined} bytes */
export function formatBytes(bytes) {
  if (bytes === null || bytes === undefined) return NO_VALUE;
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const power = Math.min(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), units.length - 1);
  const value = bytes / 1000 ** power;
  return `${power === 0 ? value : value.toPrecision(3)} ${units[power]}`;
}

/** @param {string | null | undefined} timestamp ISO 8601 */
export function formatDateTime(timestamp) {
  return timestamp ? DATE_TIME_FORMAT.format(new Date(timestamp)) : NO_VALUE;
}

/** Format a count with its noun: "1 job", "3 jobs". @param {number} count @param {string} singular */
export function formatCount(count, singular) {
  return `${formatInteger(count)} ${singular}${count === 1 ? "" : "s"}`;
}

/** Format progress: "3 of 20". @param {number} done @param {number} total */
export function formatProgress(done, total) {
  return `${formatInteger(done)} of ${formatInteger(total)}`;
}

/** Return the message of a thrown value. @param {unknown} error */
export function formatError(error) {
  return error instanceof Error ? error.message : String(error);
}

/** Return the name of a resource, or its id. @param {{id: string, name: string | null}} resource */
export function getDisplayName(resource) {
  return resource.name ?? resource.id;
}

/** Describe what a dataset trains a network to predict. @param {Dataset} dataset */
export function formatTargets(dataset) {
  if (dataset.unlabeled) return "none (prediction only)";
  if (dataset.classes) return `${dataset.classes.length} classes`;
  return dataset.targets ? formatCount(dataset.targets, "numeric target") : NO_VALUE;
}
