/** The command that does what the page does. */

import { button, element, fill } from "./element.js";
import { address } from "./request.js";

/** @typedef {import("./request.js").Asked} Asked */

/**
 * @param {Asked} asked
 * @returns {string} for a POSIX shell
 */
export function curl(asked) {
  const parts = ["curl", asked.path.includes("/events") ? "-sN" : "-s"];
  if (asked.path.endsWith("/file") || asked.path.includes("/file?")) parts.push("-OJ");
  const implied = asked.json === undefined && !asked.form ? "GET" : "POST";
  if (asked.method !== implied) parts.push("-X", asked.method);
  parts.push(quoted(address(asked.path).href));
  for (const [name, value] of Object.entries(asked.headers ?? {})) parts.push("-H", quoted(`${name}: ${value}`));
  // What a text says, curl takes as it stands; in a field of any kind some characters mean something to it.
  for (const [name, value] of asked.form ?? [])
    if (typeof value === "string") parts.push("--form-string", quoted(`${name}=${value}`));
    else parts.push("-F", quoted(`${name}=@${nameOf(value)}`));
  if (asked.json !== undefined)
    parts.push("-H", quoted("content-type: application/json"), "-d", quoted(JSON.stringify(asked.json)));
  return parts.join(" ");
}

/**
 * Commands that can be opened and copied; `show` puts others there.
 * @param {...Asked} asked
 */
export function commands(...asked) {
  const code = element("code");
  const said = element("span", { role: "status" });
  const copy = button("Copy", async () => {
    await navigator.clipboard.writeText(code.textContent ?? "").then(
      () => fill(said, "Copied."),
      () => fill(said, "The browser does not allow it; select the text."),
    );
  });
  const place = element(
    "details",
    { class: "curl" },
    element("summary", {}, "The same with curl"),
    element("pre", { tabindex: 0, role: "region", "aria-label": "Commands" }, code),
    element("p", { class: "row" }, copy, said),
  );
  const show = (/** @type {Asked[]} */ ...now) => fill(code, now.map(curl).join("\n"));
  show(...asked);
  return { place, show };
}

/** @param {File} file */
function nameOf({ name }) {
  return /[;,"]/.test(name) ? `"${name.replace(/(["\\])/g, "\\$1")}"` : name;
}

/** @param {string} text */
function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
