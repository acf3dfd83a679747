/**
 * What happens to jobs, as it happens: one stream of events for the whole page, whatever it shows.
 *
 * The stream begins with the present. Whoever follows it reads what there is when it opens, also when it opens again
 * after the service was away, so that nothing is missed. It is closed while nobody looks at the page: a browser has
 * six connections to a service, for all its tabs together.
 *
 * @typedef {object} Follower
 * @property {() => void} opened the stream has begun, perhaps anew
 * @property {(epoch: any) => void} [epoch] a job's last epoch
 * @property {(job: any) => void} [state] a job has another state
 */

import { found, lost } from "./connection.js";
import { fill } from "./element.js";
import { showProblem } from "./forms.js";
import { address, get } from "./request.js";

export const LIVE = get("/v1/events?epochs=last");

const SECONDS_UNTIL_NEXT_TRY = 1;
/** @type {Set<Follower>} */
const followers = new Set();
/** @type {EventSource | null} */
let stream = null;
let retry = 0;

/**
 * Follow until the signal says that it is enough.
 * @param {Follower} follower @param {AbortSignal} signal
 */
export function follow(follower, signal) {
  followers.add(follower);
  signal.addEventListener("abort", () => {
    followers.delete(follower);
    update();
  });
  if (stream?.readyState === EventSource.OPEN) queueMicrotask(follower.opened);
  else update();
}

function update() {
  const wanted = followers.size > 0 && !document.hidden;
  clearTimeout(retry);
  if (!wanted) {
    stream?.close();
    stream = null;
  } else if (!stream || stream.readyState === EventSource.CLOSED) open();
}

function open() {
  const opening = (stream = new EventSource(address(LIVE.path)));
  opening.addEventListener("open", () => {
    found();
    for (const follower of [...followers]) follower.opened();
  });
  opening.addEventListener("error", () => {
    lost();
    // A browser tries again by itself, but not after an answer that is no stream.
    if (opening.readyState === EventSource.CLOSED && stream === opening)
      retry = setTimeout(update, 1000 * SECONDS_UNTIL_NEXT_TRY);
  });
  opening.addEventListener("epoch", (event) => {
    const epoch = JSON.parse(event.data);
    for (const follower of [...followers]) follower.epoch?.(epoch);
  });
  opening.addEventListener("state", (event) => {
    const job = JSON.parse(event.data);
    for (const follower of [...followers]) follower.state?.(job);
  });
}

document.addEventListener("visibilitychange", update);

/**
 * One at a time: asked for while it is under way, it is done once more afterwards. So what is shown in the end is no
 * older than the last wish.
 * @param {() => Promise<void>} load
 * @param {Element} place where it is said when that could not be done
 * @param {AbortSignal} signal of the screen
 */
export function oneAtATime(load, place, signal) {
  let underway = false;
  let wanted = false;
  return async function run() {
    wanted = true;
    if (underway) return;
    underway = true;
    try {
      while (wanted) {
        wanted = false;
        await load();
      }
      if (place.hasChildNodes()) fill(place);
    } catch (error) {
      if (!signal.aborted) showProblem(error, place);
    } finally {
      underway = false;
    }
  };
}
