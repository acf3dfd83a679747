/** A pad to draw on with a pointer, or to fill with numbers: what is on it goes to the network as it is drawn. */

import { button, element } from "./element.js";
import { complain, field, number } from "./forms.js";
import { pixelsOf } from "./pixels.js";

/** @typedef {import("./pixels.js").Stroke} Stroke */

const SIZE = 280;
const PEN = 20;

/** @typedef {[number, number]} Range of pixels: the darkest and the brightest */

/**
 * @param {number} side of the images @param {Range | null} known null where it has to be asked for
 * @param {(pixels: number[] | null) => void} changed null: there is nothing on the pad
 * @returns {{place: HTMLElement, show: (pixels: number[]) => void}}
 */
export function drawingPad(side, known, changed) {
  /** @type {Stroke[]} */
  let strokes = [];
  const white = number("white", "", { min: 0 });
  /** @returns {Range} */
  const range = () => known ?? [0, Number(white.value)];
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

  /** @param {number[]} pixels as the network takes them, unless of another range */
  function see(pixels, [darkest, brightest] = range()) {
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

  const blank = () => see(new Array(side * side).fill(0), [0, 1]);

  function drawn() {
    const shares = pixelsOf(strokes, side);
    const [darkest, brightest] = range();
    if (known || brightest) return show(shares.map((share) => Math.round(100 * (darkest + share * (brightest - darkest))) / 100));
    see(shares, [0, 1]);
    changed(null);
    complain(white, "Say this first: pixels of another scale than it has learned would be answered wrong.");
  }

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
  white.addEventListener("input", () => {
    if (strokes.length && white.value) drawn();
  });
  blank();

  const clear = button("Clear", () => {
    strokes = [];
    paint();
    numbers.value = "";
    blank();
    changed(null);
  });
  return {
    place: element(
      "div",
      { class: "pads" },
      element("div", { class: "drawing" }, pad, element("figure", {}, seen, element("figcaption", {}, `What the network sees: ${side} × ${side}`), element("p", { class: "row" }, clear))),
      element("details", {}, element("summary", {}, "Pixels as numbers"), field("Row by row", numbers, known ? `From ${known[0]} to ${known[1]}.` : "")),
      known === null && field("A white pixel is", white, "The data that the network was trained on are not here to tell: often 1, 16 or 255."),
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
