/** The dataset that a version of a network was trained on. */

import { getJson } from "./api.js";
import { isTrainable } from "./select_options.js";

/** @import { ReadyDataset, Version } from "./api_types.js" */

/**
 * Return the id of the dataset, or "" if the version was not trained or its job was deleted.
 * @param {Version | undefined} version @param {AbortSignal} signal @returns {Promise<string>}
 */
export async function getTrainingDatasetId(version, signal) {
  if (!version?.job_id) return "";
  return getJson(`/v1/jobs/${version.job_id}`, signal).then(
    (job) => job.dataset_id,
    () => "",
  );
}

/**
 * Return the dataset, or null if it was deleted.
 * @param {Version} version @param {AbortSignal} signal @returns {Promise<ReadyDataset | null>}
 */
export async function getTrainingDataset(version, signal) {
  const id = await getTrainingDatasetId(version, signal);
  const dataset = id && (await getJson(`/v1/datasets/${id}`, signal).catch(() => null));
  return dataset && isTrainable(dataset) ? dataset : null;
}
