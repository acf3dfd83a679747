/** The epochs of a job for a chart, downsampled to a bounded number of points. */

import { buildGet, getJson } from "./api.js";

/** @import { ApiRequest } from "./api.js" */
/** @import { Epoch, Job } from "./api_types.js" */

/** Minimum time between two requests for epochs that no event reported. */
export const HISTORY_POLL_INTERVAL_SECONDS = 1;
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
    /** Number of the epoch up to which the history was read. Of later ones there are only those that events reported. */
    this.readUntil = 0;
  }

  /**
   * Read the epochs since the last call, which include those that no event reported. Epochs that events add meanwhile
   * are kept.
   * @param {Job} job its current state @param {AbortSignal} signal
   */
  async sync(job, signal) {
    // Later epochs were lost in a crash, and will be repeated.
    this.epochs = this.epochs.filter((epoch) => epoch.epoch <= job.epoch);
    const readBefore = Math.min(this.readUntil, job.epoch);
    const { data } = await getJson(buildHistoryRequest(job.id, readBefore).path, signal);
    this.readUntil = data[data.length - 1]?.epoch ?? readBefore;
    const before = this.epochs.filter((epoch) => epoch.epoch <= readBefore);
    const after = this.epochs.filter((epoch) => epoch.epoch > this.readUntil);
    this.epochs = downsample([...before, ...data, ...after]);
  }

  /** Add the epoch of an event; return whether there are epochs before it that no event reported. @param {Epoch} epoch */
  add(epoch) {
    const last = this.last?.epoch ?? 0;
    if (epoch.epoch <= last) return false;
    this.epochs.push(epoch);
    this.epochs = downsample(this.epochs);
    return epoch.epoch > last + 1;
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
