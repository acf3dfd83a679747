/** Charts, drawn by plotly.js, which is loaded for the first chart. */

import { resolveUrl } from "../lib/api.js";
import { createElement } from "../lib/dom.js";
import { formatError } from "../lib/format.js";

/** Milliseconds between two drawings of a chart: at most four a second. */
const REDRAW_INTERVAL = 250;
/** One color per job, distinguishable with color blindness and on both themes. */
export const COLORS = ["#2f7de1", "#e0731d", "#159a74", "#b65fc4", "#c9a000", "#d4506a", "#5f7f95", "#7a9a1e"];

/** @type {Promise<any> | null} */
let plotly = null;

function loadPlotly() {
  plotly ??= new Promise((resolve, reject) => {
    const script = createElement("script", { src: resolveUrl("/dashboard/plotly.js").href });
    script.addEventListener("load", () => resolve(/** @type {any} */ (window).Plotly));
    script.addEventListener("error", () => {
      plotly = null;
      script.remove();
      reject(new Error("The chart library could not be loaded."));
    });
    document.head.append(script);
  });
  return plotly;
}

/**
 * Create a chart. `redraw` draws its current content soon, and so does a change of the theme.
 * @param {object} options
 * @param {string} options.label
 * @param {() => {traces: any[], layout?: any, summary: string}} options.getContent `summary` is read by screen readers
 * @param {AbortSignal} options.signal
 * @returns {{element: HTMLElement, redraw: () => void}}
 */
export function createChart({ label, getContent, signal }) {
  const plot = createElement("div", { class: "plot", role: "img", "aria-label": label });
  const element = createElement("figure", { class: "chart" }, plot);
  let timer = 0;
  async function draw() {
    timer = 0;
    const { traces, layout, summary } = getContent();
    plot.setAttribute("aria-label", `${label}. ${summary}`);
    try {
      const Plotly = await loadPlotly();
      if (signal.aborted) return;
      if (!plot.isConnected) return redraw();
      const fullLayout = { ...buildLayout(), ...layout, ...buildAxes(layout) };
      await Plotly.react(plot, traces, fullLayout, { responsive: true, displayModeBar: false });
    } catch (error) {
      plot.textContent = formatError(error);
    }
  }
  const redraw = () => {
    if (!timer && !signal.aborted) timer = setTimeout(() => requestAnimationFrame(draw), REDRAW_INTERVAL);
  };
  addEventListener("themechange", redraw, { signal });
  signal.addEventListener("abort", () => {
    clearTimeout(timer);
    if (plotly) void plotly.then((Plotly) => Plotly.purge(plot));
  });
  return { element, redraw };
}

/** Escape text that Plotly would read as markup, and shorten it. @param {string} text */
export function escapeChartText(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").slice(0, 60);
}

function buildLayout() {
  const style = getComputedStyle(document.body);
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: style.fontFamily, size: 13, color: style.color },
    margin: { l: 60, r: 12, t: 8, b: 44 },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    hovermode: "x unified",
    hoverlabel: { bgcolor: isDark() ? "#1d232b" : "#ffffff", font: { color: style.color } },
    colorway: COLORS,
    // A constant value preserves the zoom when the chart is redrawn.
    uirevision: "constant",
  };
}

/** @param {any} layout */
function buildAxes(layout) {
  const gridColor = isDark() ? "#343c47" : "#dfe3e8";
  const axis = { gridcolor: gridColor, zerolinecolor: gridColor, linecolor: gridColor, automargin: true };
  return { xaxis: { ...axis, ...layout?.xaxis }, yaxis: { ...axis, ...layout?.yaxis } };
}

function isDark() {
  const { theme } = document.documentElement.dataset;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}
