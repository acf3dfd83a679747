/** The connection to the service, as events: "lost", with the reason in `detail`, and "restored". */

export const connection = new EventTarget();

/** Report that the service does not respond, and that the request is being retried. @param {string} [reason] */
export function reportConnectionLost(reason = "Connection to the service lost.") {
  connection.dispatchEvent(new CustomEvent("lost", { detail: reason }));
}

/** Report that the service responded. */
export function reportConnectionRestored() {
  connection.dispatchEvent(new Event("restored"));
}
