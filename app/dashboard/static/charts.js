/** Charts, by plotly.js, which is fetched when the first one is drawn. */

import { element } from "./element.js";
import { address } from "./request.js";

/** @type {Promise<any> | null} */
let library = null;

function plotly() {
  library ??= new Promise((resolve, reject) => {
    const script = element("script", { src: address("/dashboard/plotly.js").href });
    script.addEventListener("load", () => resolve(/** @type {any} */ (window).Plotly));
    script.addEventListener("error", () => {
      library = null;
      script.remove();
      reject(new Error("The library of charts could not be loaded."));
    });
    document.head.append(script);
  });
  return library;
}

/** One colour for each job, told apart with and without colours seen, on both themes. */
export const COLOURS = ["#2f7de1", "#e0731d", "#159a74", "#b65fc4", "#c9a000", "#d4506a", "#5f7f95", "#7a9a1e"];

/**
 * A chart that is drawn anew when its content changes, at most four times a second.
 * @param {object} about
 * @param {string} about.label what it shows
 * @param {() => {traces: any[], layout?: any, summary: string}} about.content
 * @param {AbortSignal} about.signal
 * @returns {{place: HTMLElement, draw: () => void}}
 */
export function chart({ label, content, signal }) {
  const plot = element("div", { class: "plot", role: "img", "aria-label": label });
  const place = element("figure", { class: "chart" }, plot);
  let due = 0;
  async function now() {
    due = 0;
    const { traces, layout, summary } = content();
    plot.setAttribute("aria-label", `${label}. ${summary}`);
    try {
      const Plotly = await plotly();
      if (signal.aborted) return;
      if (!plot.isConnected) return draw();
      await Plotly.react(plot, traces, { ...look(), ...layout, ...axes(layout) }, { responsive: true, displayModeBar: false });
    } catch (error) {
      plot.textContent = error instanceof Error ? error.message : String(error);
    }
  }
  const draw = () => {
    if (!due && !signal.aborted) due = setTimeout(() => requestAnimationFrame(now), 250);
  };
  addEventListener("theme", draw, { signal });
  signal.addEventListener("abort", () => {
    clearTimeout(due);
    if (library) void library.then((Plotly) => Plotly.purge(plot));
  });
  return { place, draw };
}


function look() {
  const probe = getComputedStyle(document.body);
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: probe.fontFamily, size: 13, color: probe.color },
    margin: { l: 60, r: 12, t: 8, b: 44 },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    hovermode: "x unified",
    hoverlabel: { bgcolor: isDark() ? "#1d232b" : "#ffffff", font: { color: probe.color } },
    colorway: COLOURS,
    uirevision: "kept",
  };
}

/** @param {any} layout */
function axes(layout) {
  const lines = isDark() ? "#343c47" : "#dfe3e8";
  const axis = { gridcolor: lines, zerolinecolor: lines, linecolor: lines, automargin: true };
  return { xaxis: { ...axis, ...layout?.xaxis }, yaxis: { ...axis, ...layout?.yaxis } };
}

function isDark() {
  const theme = document.documentElement.dataset.theme;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}
