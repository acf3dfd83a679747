/**
 * Job events over a single EventSource for all screens and components.
 *
 * The stream has only new events. Subscribers load the current state in `onOpen`, which is called again after every
 * reconnect, so that no event is missed. The stream is closed while the page is hidden: a browser allows six
 * connections to a service, across all tabs.
 *
 * @typedef {object} Subscriber
 * @property {() => void} onOpen the stream was opened or reopened
 * @property {(epoch: any) => void} [onEpoch] a job finished an epoch
 * @property {(job: any) => void} [onState] the state of a job changed
 */

import { buildGet, resolveUrl } from "./api.js";
import { reportConnectionLost, reportConnectionRestored } from "./connection.js";

export const EVENTS_REQUEST = buildGet("/v1/events?epochs=last");

const RECONNECT_SECONDS = 1;
/** @type {Set<Subscriber>} */
const subscribers = new Set();
/** @type {EventSource | null} */
let source = null;
let reconnectTimer = 0;

/**
 * Subscribe to job events until the signal aborts.
 * @param {Subscriber} subscriber @param {AbortSignal} signal
 */
export function subscribe(subscriber, signal) {
  subscribers.add(subscriber);
  signal.addEventListener("abort", () => {
    subscribers.delete(subscriber);
    updateSource();
  });
  if (source?.readyState === EventSource.OPEN) queueMicrotask(subscriber.onOpen);
  else updateSource();
}

function updateSource() {
  clearTimeout(reconnectTimer);
  if (subscribers.size === 0 || document.hidden) {
    source?.close();
    source = null;
  } else if (!source || source.readyState === EventSource.CLOSED) openSource();
}

function openSource() {
  const opened = (source = new EventSource(resolveUrl(EVENTS_REQUEST.path)));
  opened.addEventListener("open", () => {
    reportConnectionRestored();
    for (const subscriber of [...subscribers]) subscriber.onOpen();
  });
  opened.addEventListener("error", () => {
    reportConnectionLost();
    // A browser reconnects by itself, but not after a response that is not an event stream.
    if (opened.readyState === EventSource.CLOSED && source === opened)
      reconnectTimer = setTimeout(updateSource, 1000 * RECONNECT_SECONDS);
  });
  opened.addEventListener("epoch", (event) => {
    const epoch = JSON.parse(event.data);
    for (const subscriber of [...subscribers]) subscriber.onEpoch?.(epoch);
  });
  opened.addEventListener("state", (event) => {
    const job = JSON.parse(event.data);
    for (const subscriber of [...subscribers]) subscriber.onState?.(job);
  });
}

document.addEventListener("visibilitychange", updateSource);
