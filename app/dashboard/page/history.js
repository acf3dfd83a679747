/** The epochs of a job that a chart shows: never more than can be told apart on a screen. */

import { get } from "./request.js";

/** @import { Epoch } from "./answers.js" */

const POINTS = 500;
const MOST = 3 * POINTS;

/** @param {string} id */
export const historyOf = (id) => get(`/v1/jobs/${id}/history?points=${POINTS}`);

export class History {
  constructor() {
    /** @type {any[]} */
    this.epochs = [];
  }

  /** What the service has. An epoch that came meanwhile by itself stays. @param {any[]} epochs */
  set(epochs) {
    const last = epochs[epochs.length - 1]?.epoch ?? 0;
    this.epochs = [...epochs, ...this.epochs.filter((one) => one.epoch > last)];
  }

  /** @param {Epoch} epoch */
  add(epoch) {
    if (epoch.epoch <= (this.last?.epoch ?? 0)) return;
    this.epochs.push(epoch);
    // The latest are kept as they are; of the others every second is enough.
    if (this.epochs.length > MOST) this.epochs = this.epochs.filter((_, place) => place % 2 === 0 || place >= MOST / 2);
  }

  get last() {
    return this.epochs[this.epochs.length - 1];
  }

  /** @param {string} name */
  has(name) {
    return this.epochs.some((one) => one[name] !== null && one[name] !== undefined);
  }
}
