/** Options of a select: the newest resources, and the one that the URL of the screen names. */

import { getJson } from "./api.js";

/** @import { Dataset, Page, ReadyDataset } from "./api_types.js" */

const PAGE_SIZE = 100;
const MAX_OPTIONS = 100;
/** Maximum number of datasets to scan for trainable ones. */
const MAX_SCANNED = 2000;

/**
 * List the newest trainable datasets: ready, and with targets or labels.
 * @param {AbortSignal} signal @param {(dataset: ReadyDataset) => boolean} [accept] @returns {Promise<ReadyDataset[]>}
 */
export async function listTrainableDatasets(signal, accept = () => true) {
  const datasets = [];
  let cursor = "";
  for (let scanned = 0; scanned < MAX_SCANNED && datasets.length < MAX_OPTIONS; scanned += PAGE_SIZE) {
    /** @type {Page<Dataset>} */
    const { data, has_more } = await getJson(`/v1/datasets?limit=${PAGE_SIZE}${cursor}`, signal);
    datasets.push(...data.filter(isTrainable).filter(accept));
    if (!has_more) break;
    cursor = `&after=${data[data.length - 1]?.id}`;
  }
  return datasets;
}

/** @param {Dataset} dataset @returns {dataset is ReadyDataset} */
export function isTrainable(dataset) {
  return dataset.state === "ready" && !dataset.unlabeled;
}

/**
 * Add the resource with this id in front, unless it is listed: it may be older than the listed ones.
 * @param {any[]} resources @param {string} path @param {string | null} id @param {AbortSignal} signal
 */
export async function includeById(resources, path, id, signal) {
  if (!id || resources.some((resource) => resource.id === id)) return;
  resources.unshift(await getJson(`${path}/${encodeURIComponent(id)}`, signal));
}

/**
 * Return the selected resource, or the first one.
 * @template {{id: string}} Resource @param {Resource[]} resources at least one @param {HTMLSelectElement} select
 */
export function getSelected(resources, select) {
  return /** @type {Resource} */ (resources.find((resource) => resource.id === select.value) ?? resources[0]);
}
