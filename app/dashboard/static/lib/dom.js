/**
 * DOM elements. Strings always become text nodes, never markup: names of jobs, columns and classes are user input.
 */

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * Create an element.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, unknown>} [properties] attributes: `true` sets one without a value; null, undefined and
 *   `false` leave it out; functions become event listeners
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function createElement(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(name, /** @type {EventListener} */ (value));
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...flattenChildren(children));
  return element;
}

/**
 * Replace the children of an element. Focus and scroll positions are carried over to the new elements that correspond
 * to the old ones.
 * @param {Element} parent
 * @param {...(Child | Child[])} children
 */
export function replaceContent(parent, ...children) {
  const active = document.activeElement;
  const focused = active !== parent && parent.contains(active) ? active : null;
  const scrollPositions = [...parent.querySelectorAll(".scrollable")].map((area) => [area.scrollLeft, area.scrollTop]);
  parent.replaceChildren(...flattenChildren(children));
  parent.querySelectorAll(".scrollable").forEach((area, index) => {
    const [left = 0, top = 0] = scrollPositions[index] ?? [];
    if (left || top) area.scrollTo(left, top);
  });
  if (!focused) return;
  const successor = [...parent.querySelectorAll(focused.localName)].find(
    (candidate) => buildKey(candidate) === buildKey(focused),
  );
  if (successor instanceof HTMLElement) successor.focus({ preventScroll: true });
}

/** @param {string} href @param {...Child} children */
export function createLink(href, ...children) {
  return createElement("a", { href }, ...children);
}

/**
 * @param {string} href @param {string} text @param {Record<string, unknown>} [properties]
 */
export function createDownloadLink(href, text, properties = {}) {
  return createElement("a", { href, download: true, ...properties }, text);
}

/** @param {string} label @param {(event: Event) => void} onClick @param {Record<string, unknown>} [properties] */
export function createButton(label, onClick, properties = {}) {
  return createElement("button", { type: "button", click: onClick, ...properties }, label);
}

/** Return a key that identifies an element among its siblings. @param {Element} element */
function buildKey(element) {
  return ["href", "aria-label", "name"].map((name) => element.getAttribute(name)).join() + element.textContent;
}

/** @param {any[]} children */
function flattenChildren(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : String(child)));
}
