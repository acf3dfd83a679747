/** Files on their way to the service: how far they are, and a button that stops them. */

import { button, element, fill } from "./element.js";
import { Unreachable, address, bodyOf, succeeded } from "./request.js";

/** @typedef {import("./request.js").Asked} Asked */

/**
 * A place that shows how far a form's files have been sent, while they are.
 * @returns {{place: HTMLElement, send: (asked: Asked, signal: AbortSignal) => Promise<any>}} `send` rejects where it is stopped
 */
export function sending() {
  let stop = new AbortController();
  const said = element("span", { role: "status" });
  const bar = element("progress", { max: 1, "aria-label": "How much of the file is sent" });
  const cancel = button("Cancel", () => stop.abort());
  const underway = element("p", { class: "row", hidden: true }, bar, cancel);
  /** @param {number} share */
  const show = (share) => {
    const isSent = share === 1;
    if (isSent) bar.removeAttribute("value");
    else bar.value = share;
    cancel.hidden = isSent;
    const words = isSent ? "It is being read …" : "It is being sent …";
    if (said.textContent !== words) fill(said, words);
  };
  return {
    place: element("div", { class: "sending" }, said, underway),
    send: async (asked, signal) => {
      stop = new AbortController();
      underway.hidden = false;
      show(0);
      try {
        return await upload(asked, AbortSignal.any([signal, stop.signal]), show);
      } finally {
        underway.hidden = true;
        fill(said);
      }
    },
  };
}

/**
 * Only this kind of request tells how much has been sent.
 * @param {Asked} asked @param {AbortSignal} signal @param {(share: number) => void} sent
 * @returns {Promise<any>} what the JSON of the answer says
 */
async function upload(asked, signal, sent) {
  signal.throwIfAborted();
  const request = new XMLHttpRequest();
  /** @type {Response} */
  const answer = await new Promise((resolve, reject) => {
    request.upload.addEventListener("progress", ({ loaded, total }) => sent(loaded / total));
    request.upload.addEventListener("load", () => sent(1));
    request.addEventListener("load", () => resolve(new Response(request.response, { status: request.status, headers: kindOf(request) })));
    request.addEventListener("error", () => reject(new Unreachable()));
    signal.addEventListener("abort", () => {
      request.abort();
      reject(signal.reason);
    });
    request.open(asked.method, address(asked.path));
    request.send(bodyOf(asked));
  });
  return (await succeeded(answer)).json();
}

/** @param {XMLHttpRequest} request */
function kindOf(request) {
  return { "content-type": request.getResponseHeader("content-type") ?? "" };
}
