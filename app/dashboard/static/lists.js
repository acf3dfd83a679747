/** Lists that are longer than a screen, newest first. */

import { button, element, fill } from "./element.js";
import { read } from "./request.js";
import { table } from "./tables.js";

/** @typedef {import("./element.js").Child} Child */

const AT_ONCE = 50;

/**
 * @typedef {object} Listing
 * @property {string} path
 * @property {string} caption
 * @property {Child[]} head
 * @property {(item: any) => (Child | Child[])[]} row
 * @property {Child} empty what stands there when there is nothing
 * @property {AbortSignal} signal
 */

/**
 * @param {Listing} listing
 * @returns {{place: HTMLElement, load: () => Promise<void>, items: any[]}} `load` reads all anew that was shown
 */
export function list(listing) {
  const place = element("div");
  const items = /** @type {any[]} */ ([]);
  let most = AT_ONCE;
  async function load() {
    let page = { data: /** @type {any[]} */ ([]), has_more: true };
    const found = [];
    while (found.length < most && page.has_more) {
      const after = page.data.length ? `&after=${page.data[page.data.length - 1].id}` : "";
      page = await read(`${listing.path}?limit=${AT_ONCE}${after}`, listing.signal);
      found.push(...page.data);
    }
    items.splice(0, items.length, ...found);
    if (items.length === 0) fill(place, listing.empty);
    else fill(place, table(listing.caption, listing.head, items.map(listing.row)), page.has_more && older());
  }
  const older = () =>
    button("Show older ones", () => {
      most += AT_ONCE;
      void load();
    });
  return { place, load, items };
}
