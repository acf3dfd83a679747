/** The epochs of a job for a chart, downsampled to a bounded number of points. */

import { buildGet, getJson } from "./api.js";

/** @import { ApiRequest } from "./api.js" */
/** @import { Epoch, Job } from "./api_types.js" */

const POINTS = 500;
/** More points than a screen can resolve. */
const MAX_POINTS = 3 * POINTS;

/** @param {string} jobId @param {number} [after] number of the last known epoch @returns {ApiRequest} */
export function buildHistoryRequest(jobId, after = 0) {
  return buildGet(`/v1/jobs/${jobId}/history?points=${POINTS}${after ? `&after=${after}` : ""}`);
}

export class JobHistory {
  constructor() {
    /** @type {any[]} */
    this.epochs = [];
  }

  /**
   * Load the epochs that are missing. Epochs that events add meanwhile are kept.
   * @param {Job} job its current state @param {AbortSignal} signal
   */
  async sync(job, signal) {
    // Later epochs were lost in a crash, and will be repeated.
    this.epochs = this.epochs.filter((epoch) => epoch.epoch <= job.epoch);
    const known = this.last?.epoch ?? 0;
    const { data } = await getJson(buildHistoryRequest(job.id, known).path, signal);
    const last = data[data.length - 1]?.epoch ?? known;
    const before = this.epochs.filter((epoch) => epoch.epoch <= known);
    const after = this.epochs.filter((epoch) => epoch.epoch > last);
    this.epochs = downsample([...before, ...data, ...after]);
  }

  /** @param {Epoch} epoch */
  add(epoch) {
    if (epoch.epoch <= (this.last?.epoch ?? 0)) return;
    this.epochs.push(epoch);
    this.epochs = downsample(this.epochs);
  }

  get last() {
    return this.epochs[this.epochs.length - 1];
  }

  /** Return whether any epoch has this metric. @param {string} metric */
  has(metric) {
    return this.epochs.some((epoch) => epoch[metric] !== null && epoch[metric] !== undefined);
  }
}

/**
 * Return the job as it is after an epoch, with extrapolated times.
 * @param {Job} job @param {Epoch} epoch @returns {Job}
 */
export function applyEpoch(job, epoch) {
  const elapsed = job.seconds_elapsed + (epoch.epoch - job.epoch) * epoch.seconds;
  const limit = job.max_seconds ? Math.max(job.max_seconds - elapsed, 0) : Infinity;
  return {
    ...job,
    epoch: epoch.epoch,
    cost: epoch.cost,
    seconds_elapsed: elapsed,
    seconds_remaining: Math.min((elapsed / epoch.epoch) * (job.epochs - epoch.epoch), limit),
  };
}

/**
 * Keep one epoch per bin of equal width, and the last. The width is a power of two, so that a wider bin joins narrower
 * ones, and the past stays evenly spaced however long a job trains.
 * @param {any[]} epochs
 */
function downsample(epochs) {
  if (epochs.length <= MAX_POINTS) return epochs;
  const last = epochs[epochs.length - 1];
  const width = 2 ** Math.ceil(Math.log2(last.epoch / POINTS));
  const bin = (/** @type {number} */ index) => Math.floor(epochs[index].epoch / width);
  return epochs.filter((epoch, index) => epoch === last || index === 0 || bin(index) !== bin(index - 1));
}
