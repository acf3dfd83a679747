/**
 * Requests as data: what is sent is what the page prints as a curl command.
 *
 * @typedef {object} Asked
 * @property {string} method
 * @property {string} path
 * @property {unknown} [json] the body
 * @property {[string, string | File][]} [form] or the fields of a form
 * @property {Record<string, string>} [headers]
 */

import { found, lost } from "./connection.js";

/** @typedef {{field: string, message: string}} FieldError */

/** What the service answers when it does not do what it was asked. */
export class Problem extends Error {
  /** @param {number} status @param {string} sentence @param {FieldError[]} errors */
  constructor(status, sentence, errors = []) {
    super(sentence);
    this.status = status;
    this.errors = errors;
  }
}

/** There is no answer, or only one of what stands between. */
export class Unreachable extends Error {
  constructor() {
    super("The service does not answer. Is it running?");
  }
}

const SECONDS_BETWEEN_TRIES = [0.3, 0.5, 1, 2, 3];

/** @param {string} path below the place where the service is @returns {URL} */
export function address(path) {
  return new URL(path.replace(/^\//, ""), document.baseURI.replace(/#.*/, ""));
}

/**
 * @param {Asked} asked
 * @param {AbortSignal} [signal]
 * @returns {Promise<Response>} of a success. Throws Problem, Unreachable.
 */
export async function send(asked, signal) {
  let answer;
  try {
    answer = await fetch(address(asked.path), {
      method: asked.method,
      headers: headersOf(asked),
      body: bodyOf(asked),
      signal,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable();
  }
  return succeeded(answer);
}

/** @param {Response} answer @returns {Promise<Response>} the same, if it is one of a success. Throws Problem, Unreachable. */
export async function succeeded(answer) {
  if (answer.ok) return answer;
  throw await problemIn(answer);
}

/**
 * @param {Asked} asked @param {AbortSignal} [signal]
 * @returns {Promise<any>} what the JSON of the answer says; null if there is none
 */
export async function ask(asked, signal) {
  const answer = await send(asked, signal);
  return answer.status === 204 ? null : answer.json();
}

/**
 * Ask for something until there is an answer, however long the service is away.
 * @param {string} path @param {AbortSignal} [signal] @returns {Promise<any>}
 */
export async function read(path, signal) {
  for (let tries = 0; ; tries++) {
    try {
      const answer = await ask(get(path), signal);
      found();
      return answer;
    } catch (error) {
      const isLater = error instanceof Problem && error.status === 503;
      if (signal?.aborted || !(isLater || error instanceof Unreachable)) throw error;
      lost(isLater ? error.message : undefined);
      await pause(SECONDS_BETWEEN_TRIES[Math.min(tries, SECONDS_BETWEEN_TRIES.length - 1)] ?? 1, signal);
    }
  }
}

/** @param {string} path @returns {Asked} */
export const get = (path) => ({ method: "GET", path });

/** @param {string} path @param {unknown} [json] @returns {Asked} */
export const post = (path, json) => (json === undefined ? { method: "POST", path } : { method: "POST", path, json });

/** @param {number} seconds @param {AbortSignal} [signal] @returns {Promise<void>} rejects when it is aborted */
export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const leave = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", leave);
      resolve();
    }, 1000 * seconds);
    signal?.addEventListener("abort", leave);
  });
}

/** @param {Asked} asked */
function headersOf(asked) {
  return asked.json === undefined ? { ...asked.headers } : { "content-type": "application/json", ...asked.headers };
}

/** @param {Asked} asked */
export function bodyOf(asked) {
  if (asked.json !== undefined) return JSON.stringify(asked.json);
  if (!asked.form) return null;
  const form = new FormData();
  for (const [name, value] of asked.form) form.append(name, value);
  return form;
}

/** @param {Response} answer */
async function problemIn(answer) {
  if (answer.headers.get("content-type")?.startsWith("application/problem+json")) {
    const { detail, errors } = await answer.json();
    return new Problem(answer.status, detail, errors);
  }
  if (answer.status >= 502 && answer.status <= 504) return new Unreachable();
  return new Problem(answer.status, `The service answered with the status ${answer.status}.`);
}
