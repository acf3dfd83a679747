/** The curl commands for the requests of a screen. */

import { resolveUrl } from "../lib/api.js";
import { createButton, createElement, replaceContent } from "../lib/dom.js";

/** @import { ApiRequest } from "../lib/api.js" */

/**
 * Create a folded list of curl commands with a copy button.
 * @param {...ApiRequest} requests
 * @returns {{element: HTMLElement, update: (...requests: ApiRequest[]) => void}}
 */
export function createCurlSnippets(...requests) {
  const code = createElement("code");
  const status = createElement("span", { role: "status" });
  const copyButton = createButton("Copy", async () => {
    await navigator.clipboard.writeText(code.textContent ?? "").then(
      () => replaceContent(status, "Copied."),
      () => replaceContent(status, "The browser blocked copying. Select the text instead."),
    );
  });
  const element = createElement(
    "details",
    { class: "curl" },
    createElement("summary", {}, "Equivalent curl commands"),
    createElement("pre", { tabindex: 0, role: "region", "aria-label": "curl commands" }, code),
    createElement("p", { class: "row" }, copyButton, status),
  );
  const update = (/** @type {ApiRequest[]} */ ...requests) => replaceContent(code, requests.map(formatCurl).join("\n"));
  update(...requests);
  return { element, update };
}

/**
 * Format a request as a curl command for a POSIX shell.
 * @param {ApiRequest} request
 */
function formatCurl(request) {
  const words = ["curl", request.path.includes("/events") ? "-sN" : "-s"];
  if (request.path.endsWith("/file") || request.path.includes("/file?")) words.push("-OJ");
  const impliedMethod = request.json === undefined && !request.form ? "GET" : "POST";
  if (request.method !== impliedMethod) words.push("-X", request.method);
  words.push(quoteWord(resolveUrl(request.path).href));
  for (const [name, value] of Object.entries(request.headers ?? {})) words.push("-H", quoteWord(`${name}: ${value}`));
  // --form-string takes text literally; in -F some characters have a meaning.
  for (const [name, value] of request.form ?? [])
    if (typeof value === "string") words.push("--form-string", quoteWord(`${name}=${value}`));
    else words.push("-F", quoteWord(`${name}=@${quoteFileName(value)}`));
  if (request.json !== undefined)
    words.push("-H", quoteWord("content-type: application/json"), "-d", quoteWord(JSON.stringify(request.json)));
  return words.join(" ");
}

/** Quote a file name for curl's -F. @param {File} file */
function quoteFileName({ name }) {
  return /[;,"]/.test(name) ? `"${name.replace(/(["\\])/g, "\\$1")}"` : name;
}

/** Quote a word for the shell. @param {string} word */
function quoteWord(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
