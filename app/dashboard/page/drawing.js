/** A pad to draw on with a pointer, or to fill with numbers: what is on it goes to the network as it is drawn. */

import { button, element } from "./element.js";
import { field } from "./forms.js";
import { pixelsOf } from "./pixels.js";

/** @typedef {import("./pixels.js").Stroke} Stroke */

const SIZE = 280;
const PEN = 20;

/**
 * @param {number} side of the images @param {[number, number]} values the darkest and the brightest
 * @param {(pixels: number[]) => void} changed
 * @returns {{place: HTMLElement, show: (pixels: number[]) => void}}
 */
export function drawingPad(side, [darkest, brightest], changed) {
  /** @type {Stroke[]} */
  let strokes = [];
  const pad = element("canvas", { width: SIZE, height: SIZE, class: "pad", role: "img", "aria-label": "Drawing pad. Without a pointer, fill in the pixels as numbers below." });
  const seen = element("canvas", { width: side, height: side, class: "seen", role: "img", "aria-label": "What the network sees" });
  const numbers = element("textarea", { rows: 8, class: "pixels", spellcheck: "false" });
  const context = /** @type {CanvasRenderingContext2D} */ (pad.getContext("2d"));

  /** @param {PointerEvent} event */
  const at = (event) => ({ x: (event.offsetX * SIZE) / pad.clientWidth, y: (event.offsetY * SIZE) / pad.clientHeight });

  function paint() {
    context.clearRect(0, 0, SIZE, SIZE);
    context.lineWidth = PEN;
    context.lineCap = context.lineJoin = "round";
    context.strokeStyle = "#fff";
    for (const stroke of strokes) {
      context.beginPath();
      for (const point of stroke) context.lineTo(point.x, point.y);
      if (stroke.length === 1 && stroke[0]) context.lineTo(stroke[0].x + 0.01, stroke[0].y);
      context.stroke();
    }
  }

  /** @param {number[]} pixels as the network takes them */
  function see(pixels) {
    const small = /** @type {CanvasRenderingContext2D} */ (seen.getContext("2d"));
    const image = small.createImageData(side, side);
    pixels.forEach((value, place) => {
      const brightness = (255 * (value - darkest)) / (brightest - darkest || 1);
      image.data.set([brightness, brightness, brightness, 255], 4 * place);
    });
    small.putImageData(image, 0, 0);
  }

  /** @param {number[]} pixels */
  function show(pixels) {
    numbers.value = rowsOf(pixels, side);
    see(pixels);
    changed(pixels);
  }

  const drawn = () => show(pixelsOf(strokes, side).map((share) => Math.round(100 * (darkest + share * (brightest - darkest))) / 100));

  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    strokes.push([at(event)]);
    paint();
  });
  pad.addEventListener("pointermove", (event) => {
    if (!pad.hasPointerCapture(event.pointerId)) return;
    strokes[strokes.length - 1]?.push(...(event.getCoalescedEvents?.() ?? [event]).map(at));
    paint();
  });
  pad.addEventListener("pointerup", drawn);
  pad.addEventListener("pointercancel", drawn);
  numbers.addEventListener("input", () => {
    const pixels = (numbers.value.match(/-?[\d.]+(e-?\d+)?/gi) ?? []).map(Number);
    const isWhole = pixels.length === side * side && pixels.every(Number.isFinite);
    numbers.setCustomValidity(isWhole ? "" : `${side * side} numbers are needed; there are ${pixels.length}.`);
    numbers.reportValidity();
    if (!isWhole) return;
    see(pixels);
    changed(pixels);
  });
  see(new Array(side * side).fill(darkest));

  const clear = button("Clear", () => {
    strokes = [];
    paint();
    numbers.value = "";
    see(new Array(side * side).fill(darkest));
  });
  return {
    place: element(
      "div",
      { class: "pads" },
      element("div", { class: "drawing" }, pad, element("figure", {}, seen, element("figcaption", {}, `What the network sees: ${side} × ${side}`), element("p", { class: "row" }, clear))),
      element("details", {}, element("summary", {}, "Pixels as numbers"), field("Row by row", numbers, `From ${darkest} to ${brightest}.`)),
    ),
    show: (pixels) => {
      strokes = [];
      paint();
      show(pixels);
    },
  };
}

/** @param {number[]} pixels @param {number} side */
function rowsOf(pixels, side) {
  return Array.from({ length: side }, (_, row) => pixels.slice(row * side, (row + 1) * side).join(" ")).join("\n");
}
