/** Refreshes of a screen, one at a time. */

import { replaceContent } from "../lib/dom.js";
import { showError } from "./forms.js";

/**
 * Return a function that runs `load`. A call during a run starts another run afterwards, so that the final state is
 * never older than the last call.
 * @param {() => Promise<void>} load
 * @param {Element} alert shows an error until the next run succeeds
 * @param {AbortSignal} signal of the screen
 * @param {number} [pauseSeconds] minimum time between two runs
 */
export function createRefresh(load, alert, signal, pauseSeconds = 0) {
  let isRunning = false;
  let isPending = false;
  return async function refresh() {
    isPending = true;
    if (isRunning) return;
    isRunning = true;
    try {
      while (isPending && !signal.aborted) {
        isPending = false;
        await load();
        if (pauseSeconds) await new Promise((resolve) => setTimeout(resolve, 1000 * pauseSeconds));
      }
      if (alert.hasChildNodes()) replaceContent(alert);
    } catch (error) {
      if (!signal.aborted) showError(error, alert);
    } finally {
      isRunning = false;
    }
  };
}
