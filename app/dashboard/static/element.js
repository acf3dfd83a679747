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
 * Put these into an element, in place of what was there. Whoever was at something that is there again stays at it: the
 * focus does not leave it, and what was scrolled stays so.
 * @param {Element} place
 * @param {...(Child | Child[])} children
 */
export function fill(place, ...children) {
  const focused = document.activeElement !== place && place.contains(document.activeElement) ? document.activeElement : null;
  const scrolled = [...place.querySelectorAll(".scrolls")].map((one) => [one.scrollLeft, one.scrollTop]);
  place.replaceChildren(...present(children));
  place.querySelectorAll(".scrolls").forEach((one, number) => {
    const [left = 0, top = 0] = scrolled[number] ?? [];
    if (left || top) one.scrollTo(left, top);
  });
  if (!focused) return;
  const same = [...place.querySelectorAll(focused.localName)].find((one) => describe(one) === describe(focused));
  if (same instanceof HTMLElement) same.focus({ preventScroll: true });
}

/** What tells an element from those beside it. @param {Element} one */
function describe(one) {
  return ["href", "aria-label", "name"].map((name) => one.getAttribute(name)).join() + one.textContent;
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
