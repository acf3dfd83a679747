/**
 * Requests to the API. They are plain data, so that the page can show each one as a curl command.
 *
 * @typedef {object} ApiRequest
 * @property {string} method
 * @property {string} path relative to the root of the service
 * @property {unknown} [json] the body
 * @property {[string, string | File][]} [form] the fields of a multipart form, instead of a body
 * @property {Record<string, string>} [headers]
 */

import { reportConnectionLost, reportConnectionRestored } from "./connection.js";

/** @typedef {{field: string, message: string}} FieldError */

/** An error response of the service. */
export class ApiError extends Error {
  /** @param {number} status @param {string} message @param {FieldError[]} errors */
  constructor(status, message, errors = []) {
    super(message);
    this.status = status;
    this.errors = errors;
  }
}

/** There was no response, or only that of a proxy. */
export class ServiceUnreachable extends Error {
  constructor() {
    super("The service does not respond. Is it running?");
  }
}

const RETRY_SECONDS = [0.3, 0.5, 1, 2, 3];
const POLL_INTERVAL_SECONDS = 0.4;

/** @param {string} path @returns {ApiRequest} */
export const buildGet = (path) => ({ method: "GET", path });

/** @param {string} path @param {unknown} [json] @returns {ApiRequest} */
export const buildPost = (path, json) =>
  json === undefined ? { method: "POST", path } : { method: "POST", path, json };

/** @param {string} path @param {unknown} json @returns {ApiRequest} */
export const buildPatch = (path, json) => ({ method: "PATCH", path, json });

/** @param {string} path @returns {ApiRequest} */
export const buildDelete = (path) => ({ method: "DELETE", path });

/**
 * Return the URL of a path, also where the service is published below a prefix.
 * @param {string} path relative to the root of the service @returns {URL}
 */
export function resolveUrl(path) {
  return new URL(path.replace(/^\//, ""), document.baseURI.replace(/#.*/, ""));
}

/**
 * Send a request once and parse the JSON of the response. Throws ApiError, ServiceUnreachable.
 * @param {ApiRequest} request @param {AbortSignal} [signal]
 * @returns {Promise<any>} null for a response without content
 */
export async function sendRequest(request, signal) {
  let response;
  try {
    response = await fetch(resolveUrl(request.path), {
      method: request.method,
      headers: buildHeaders(request),
      body: encodeBody(request),
      signal,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ServiceUnreachable();
  }
  await throwOnError(response);
  return response.status === 204 ? null : response.json();
}

/**
 * Get a resource, retrying while the service is unreachable or responds with 503. Throws ApiError.
 * @param {string} path @param {AbortSignal} [signal] @returns {Promise<any>}
 */
export async function getJson(path, signal) {
  for (let attempt = 0; ; attempt++) {
    try {
      const json = await sendRequest(buildGet(path), signal);
      reportConnectionRestored();
      return json;
    } catch (error) {
      const isUnavailable = error instanceof ApiError && error.status === 503;
      if (signal?.aborted || !(isUnavailable || error instanceof ServiceUnreachable)) throw error;
      reportConnectionLost(isUnavailable ? error.message : undefined);
      await sleep(RETRY_SECONDS[Math.min(attempt, RETRY_SECONDS.length - 1)] ?? 1, signal);
    }
  }
}

/**
 * Poll a resource until it is done.
 * @template Resource
 * @param {string} path
 * @param {Resource} resource its state so far
 * @param {(resource: Resource) => boolean} update called with every state; returns whether this is the last one
 * @param {AbortSignal} signal
 * @returns {Promise<Resource>} the last state
 */
export async function pollJson(path, resource, update, signal) {
  while (!update(resource)) {
    await sleep(POLL_INTERVAL_SECONDS, signal);
    resource = await getJson(path, signal);
  }
  return resource;
}

/** @param {number} seconds @param {AbortSignal} [signal] @returns {Promise<void>} rejects when aborted */
export function sleep(seconds, signal) {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, 1000 * seconds);
    signal?.addEventListener("abort", abort);
  });
}

/** Throw ApiError or ServiceUnreachable for an error response. @param {Response} response */
export async function throwOnError(response) {
  if (!response.ok) throw await parseError(response);
}

/** @param {ApiRequest} request */
export function encodeBody(request) {
  if (request.json !== undefined) return JSON.stringify(request.json);
  if (!request.form) return null;
  const form = new FormData();
  for (const [name, value] of request.form) form.append(name, value);
  return form;
}

/** @param {ApiRequest} request */
function buildHeaders(request) {
  return request.json === undefined
    ? { ...request.headers }
    : { "content-type": "application/json", ...request.headers };
}

/** @param {Response} response */
async function parseError(response) {
  if (response.headers.get("content-type")?.startsWith("application/problem+json")) {
    const { detail, errors } = await response.json();
    return new ApiError(response.status, detail, errors);
  }
  if (response.status >= 502 && response.status <= 504) return new ServiceUnreachable();
  return new ApiError(response.status, `The service responded with status ${response.status}.`);
}
