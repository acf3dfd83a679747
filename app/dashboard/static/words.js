/** Numbers, times and sizes, as people read them. */

const WHOLE = new Intl.NumberFormat("en");
const MOMENT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
const NOTHING = "–";

/** @param {number | null | undefined} value */
export function whole(value) {
  return value === null || value === undefined ? NOTHING : WHOLE.format(value);
}

/** Four digits that count. @param {number | null | undefined} value */
export function figure(value) {
  if (value === null || value === undefined) return NOTHING;
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return WHOLE.format(value);
  const size = Math.abs(value);
  return size >= 1e6 || size < 1e-4 ? value.toExponential(3) : String(Number(value.toPrecision(4)));
}

/** @param {number | null | undefined} share */
export function percent(share) {
  return share === null || share === undefined ? NOTHING : `${(100 * share).toFixed(2)} %`;
}

/** @param {number | null | undefined} seconds */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NOTHING;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  return minutes < 2880 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${Math.round(minutes / 1440)} days`;
}

/** @param {number | null | undefined} bytes */
export function size(bytes) {
  if (bytes === null || bytes === undefined) return NOTHING;
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const power = Math.min(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), units.length - 1);
  const value = bytes / 1000 ** power;
  return `${power === 0 ? value : value.toPrecision(3)} ${units[power]}`;
}

/** @param {string | null | undefined} time */
export function moment(time) {
  return time ? MOMENT.format(new Date(time)) : NOTHING;
}

/** What something is called. @param {{id: string, name: string | null}} one */
export function called(one) {
  return one.name ?? one.id;
}

/** @param {number} count @param {string} one @param {string} [many] */
export function counted(count, one, many = `${one}s`) {
  return `${whole(count)} ${count === 1 ? one : many}`;
}
