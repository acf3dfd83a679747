/** What there is to choose from in a form: the newest, and the one that the address names. */

import { read } from "./request.js";

/** @import { Dataset, Page, Ready } from "./answers.js" */

const AT_ONCE = 100;
/** So many are enough to choose from, and so many at most are looked at to find them. */
const ENOUGH = 100;
const MOST = 2000;

/**
 * Datasets that can be learned from, however many others lie between them.
 * @param {AbortSignal} signal @param {(one: Ready) => boolean} [fits] @returns {Promise<Ready[]>}
 */
export async function labeled(signal, fits = () => true) {
  const found = [];
  let after = "";
  for (let seen = 0; seen < MOST && found.length < ENOUGH; seen += AT_ONCE) {
    /** @type {Page<Dataset>} */
    const { data, has_more } = await read(`/v1/datasets?limit=${AT_ONCE}${after}`, signal);
    const ready = /** @type {Ready[]} */ (data.filter((one) => one.state === "ready" && !one.unlabeled));
    found.push(...ready.filter(fits));
    if (!has_more) break;
    after = `&after=${data[data.length - 1]?.id}`;
  }
  return found;
}

/**
 * One that the address names may be older than those listed.
 * @param {any[]} listed @param {string} path @param {string | null} id @param {AbortSignal} signal
 */
export async function include(listed, path, id, signal) {
  if (id && !listed.some((one) => one.id === id)) listed.unshift(await read(`${path}/${encodeURIComponent(id)}`, signal));
}
