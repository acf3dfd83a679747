/** Lists that load page by page, newest first. */

import { getJson } from "../lib/api.js";
import { createButton, createElement, replaceContent } from "../lib/dom.js";
import { createTable } from "./table.js";

/** @import { Child } from "../lib/dom.js" */

const PAGE_SIZE = 50;

/**
 * Create a table of a list resource, with a button that loads older items.
 * @param {object} options
 * @param {string} options.path
 * @param {string} options.caption
 * @param {Child[]} options.head
 * @param {(item: any) => (Child | Child[])[]} options.row
 * @param {Child} options.empty shown instead of a table without rows
 * @param {AbortSignal} options.signal
 * @returns {{element: HTMLElement, load: () => Promise<void>}} `load` reloads all pages that are shown
 */
export function createPaginatedTable({ path, caption, head, row, empty, signal }) {
  const element = createElement("div");
  let limit = PAGE_SIZE;
  async function load() {
    let page = { data: /** @type {any[]} */ ([]), has_more: true };
    const items = [];
    while (items.length < limit && page.has_more) {
      const cursor = page.data.length ? `&after=${page.data[page.data.length - 1].id}` : "";
      page = await getJson(`${path}?limit=${PAGE_SIZE}${cursor}`, signal);
      items.push(...page.data);
    }
    if (items.length === 0) replaceContent(element, empty);
    else replaceContent(element, createTable(caption, head, items.map(row)), page.has_more && createMoreButton());
  }
  const createMoreButton = () =>
    createButton("Show more", () => {
      limit += PAGE_SIZE;
      void load();
    });
  return { element, load };
}
