/** Uploads with a progress bar and a cancel button. */

import { ServiceUnreachable, encodeBody, resolveUrl, throwOnError } from "../lib/api.js";
import { createButton, createElement, replaceContent } from "../lib/dom.js";

/** @import { ApiRequest } from "../lib/api.js" */

/**
 * Create a progress bar that appears while `send` uploads the files of a form.
 * @returns {{element: HTMLElement, send: (request: ApiRequest, signal: AbortSignal) => Promise<any>}} `send`
 *   rejects with an AbortError when the upload is cancelled
 */
export function createUploadProgress() {
  let cancellation = new AbortController();
  const status = createElement("span", { role: "status" });
  const bar = createElement("progress", { max: 1, "aria-label": "Upload progress" });
  const cancelButton = createButton("Cancel", () => cancellation.abort());
  const row = createElement("p", { class: "row", hidden: true }, bar, cancelButton);
  /** @param {number} fraction */
  const update = (fraction) => {
    const isUploaded = fraction === 1;
    if (isUploaded) bar.removeAttribute("value");
    else bar.value = fraction;
    cancelButton.hidden = isUploaded;
    const text = isUploaded ? "Reading the file…" : "Uploading…";
    if (status.textContent !== text) replaceContent(status, text);
  };
  return {
    element: createElement("div", { class: "upload-progress" }, status, row),
    send: async (request, signal) => {
      cancellation = new AbortController();
      row.hidden = false;
      update(0);
      try {
        return await upload(request, AbortSignal.any([signal, cancellation.signal]), update);
      } finally {
        row.hidden = true;
        replaceContent(status);
      }
    },
  };
}

/**
 * Send a request with XMLHttpRequest: fetch does not report the progress of an upload.
 * @param {ApiRequest} request @param {AbortSignal} signal @param {(fraction: number) => void} onProgress
 * @returns {Promise<any>} the JSON of the response
 */
async function upload(request, signal, onProgress) {
  signal.throwIfAborted();
  const xhr = new XMLHttpRequest();
  /** @type {Response} */
  const response = await new Promise((resolve, reject) => {
    xhr.upload.addEventListener("progress", ({ loaded, total }) => onProgress(loaded / total));
    xhr.upload.addEventListener("load", () => onProgress(1));
    xhr.addEventListener("load", () => resolve(toResponse(xhr)));
    xhr.addEventListener("error", () => reject(new ServiceUnreachable()));
    signal.addEventListener("abort", () => {
      xhr.abort();
      reject(signal.reason);
    });
    xhr.open(request.method, resolveUrl(request.path));
    xhr.send(encodeBody(request));
  });
  await throwOnError(response);
  return response.json();
}

/** @param {XMLHttpRequest} xhr */
function toResponse(xhr) {
  const headers = { "content-type": xhr.getResponseHeader("content-type") ?? "" };
  return new Response(xhr.response, { status: xhr.status, headers });
}
