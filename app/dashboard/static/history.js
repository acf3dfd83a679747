/** The epochs of a job that a chart shows: never more than can be told apart on a screen. */

import { get, read } from "./request.js";

/** @import { Epoch, Job } from "./answers.js" */

const POINTS = 500;
const MOST = 3 * POINTS;

/** @param {string} id @param {number} [after] the last epoch that is known */
export const historyOf = (id, after = 0) => get(`/v1/jobs/${id}/history?points=${POINTS}${after ? `&after=${after}` : ""}`);

export class History {
  constructor() {
    /** @type {any[]} */
    this.epochs = [];
  }

  /**
   * Read what the service has besides what is known. An epoch that comes meanwhile by itself stays.
   * @param {Job} job as it is now @param {AbortSignal} signal
   */
  async catchUp(job, signal) {
    // What lies beyond was lost in a crash, and is trained anew.
    this.epochs = this.epochs.filter((one) => one.epoch <= job.epoch);
    const known = this.last?.epoch ?? 0;
    const { data } = await read(historyOf(job.id, known).path, signal);
    const last = data[data.length - 1]?.epoch ?? known;
    const [before, after] = [this.epochs.filter((one) => one.epoch <= known), this.epochs.filter((one) => one.epoch > last)];
    this.epochs = thinned([...before, ...data, ...after]);
  }

  /** @param {Epoch} epoch */
  add(epoch) {
    if (epoch.epoch <= (this.last?.epoch ?? 0)) return;
    this.epochs.push(epoch);
    this.epochs = thinned(this.epochs);
  }

  get last() {
    return this.epochs[this.epochs.length - 1];
  }

  /** @param {string} name */
  has(name) {
    return this.epochs.some((one) => one[name] !== null && one[name] !== undefined);
  }
}

/**
 * Where there are too many, one of each of the equal parts of the axis, and the last of all. Parts that become larger are
 * made of those that were, so that the past stays evenly drawn however long a job trains.
 * @param {any[]} epochs
 */
function thinned(epochs) {
  if (epochs.length <= MOST) return epochs;
  const last = epochs[epochs.length - 1];
  const width = 2 ** Math.ceil(Math.log2(last.epoch / POINTS));
  const part = (/** @type {number} */ place) => Math.floor(epochs[place].epoch / width);
  return epochs.filter((one, place) => one === last || place === 0 || part(place) !== part(place - 1));
}

/** What an epoch says of its job. @param {Job} job @param {Epoch} epoch */
export function latest(job, epoch) {
  const elapsed = job.seconds_elapsed + (epoch.epoch - job.epoch) * epoch.seconds;
  const allowed = job.max_seconds ? Math.max(job.max_seconds - elapsed, 0) : Infinity;
  return {
    epoch: epoch.epoch,
    cost: epoch.cost,
    seconds_elapsed: elapsed,
    seconds_remaining: Math.min((elapsed / epoch.epoch) * (job.epochs - epoch.epoch), allowed),
  };
}
