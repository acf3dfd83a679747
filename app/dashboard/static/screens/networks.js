/** All networks. */

import { createCurlSnippets } from "../components/curl_snippets.js";
import { createEmptyState } from "../components/data_display.js";
import { createPaginatedTable } from "../components/pagination.js";
import { buildGet } from "../lib/api.js";
import { formatLayerSizes } from "../lib/architecture.js";
import { createElement, createLink } from "../lib/dom.js";
import { getDisplayName, formatDateTime, formatInteger } from "../lib/format.js";

/** @import { Network } from "../lib/api_types.js" */

/** @type {import("../main.js").Screen} */
export async function loadNetworksScreen({ signal }) {
  const { element, load } = createPaginatedTable({
    path: "/v1/networks",
    caption: "Networks",
    head: ["Name", "Layers", "Parameters", "Cost", "Version", "Created"],
    row: (/** @type {Network} */ network) => [
      createLink(`#/networks/${network.id}`, getDisplayName(network)),
      formatLayerSizes(network),
      formatInteger(network.parameters),
      network.cost,
      network.version === 0 ? "0 (untrained)" : network.version,
      formatDateTime(network.created_at),
    ],
    empty: createEmptyState("No networks yet."),
    signal,
  });
  await load();
  return {
    title: "Networks",
    content: [
      createElement("p", { class: "row" }, createLink("#/networks/new", "Create a network")),
      element,
      createCurlSnippets(buildGet("/v1/networks")).element,
    ],
  };
}
