/**
 * Elements of the page. What is put into one is text, whatever it looks like: names of jobs, columns and classes are
 * other people's.
 */

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, unknown>} [properties] attributes; true for one without a value; functions listen to the event
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") made.addEventListener(name, /** @type {EventListener} */ (value));
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, String(value));
  }
  made.append(...present(children));
  return made;
}

/**
 * Put these into an element, in place of what was there.
 * @param {Element} place
 * @param {...(Child | Child[])} children
 */
export function fill(place, ...children) {
  place.replaceChildren(...present(children));
}

/** @param {string} href @param {...Child} children */
export function link(href, ...children) {
  return element("a", { href }, ...children);
}

/** @param {string} label @param {(event: Event) => void} press @param {Record<string, unknown>} [properties] */
export function button(label, press, properties = {}) {
  return element("button", { type: "button", click: press, ...properties }, label);
}

/** @param {any[]} children */
function present(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : String(child)));
}
