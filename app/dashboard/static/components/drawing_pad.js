/** A pad for drawing an image that a network predicts, with its pixels as numbers. */

import { createButton, createElement } from "../lib/dom.js";
import { drawStrokes, rasterize } from "../lib/rasterize.js";
import { createField, createNumberInput, setValidationMessage } from "./forms.js";

/** @import { Stroke } from "../lib/rasterize.js" */

const PAD_SIDE = 280;
const PEN_WIDTH = 20;

/** @typedef {[number, number]} PixelRange values of a black and of a white pixel */

/**
 * @param {number} side of the images
 * @param {PixelRange | null} knownRange null if the training data was deleted; a field then asks for the white value
 * @param {(pixels: number[] | null) => void} onChange null when the pad is empty
 * @returns {{element: HTMLElement, setPixels: (pixels: number[]) => void}}
 */
export function createDrawingPad(side, knownRange, onChange) {
  /** @type {Stroke[]} */
  let strokes = [];
  const white = createNumberInput("white", "", { min: 0 });
  /** @returns {PixelRange} */
  const getRange = () => knownRange ?? [0, Number(white.value)];
  const pad = createElement("canvas", {
    width: PAD_SIDE,
    height: PAD_SIDE,
    class: "drawing-pad",
    role: "img",
    "aria-label": "Drawing pad. Without a pointer, enter the pixel values below.",
  });
  const preview = createElement("canvas", {
    width: side,
    height: side,
    class: "pixel-preview",
    role: "img",
    "aria-label": "Input of the network",
  });
  const pixelText = createElement("textarea", { rows: 8, class: "pixel-values", spellcheck: "false" });
  const context = /** @type {CanvasRenderingContext2D} */ (pad.getContext("2d"));

  /** @param {PointerEvent} event */
  const toPoint = (event) => ({
    x: (event.offsetX * PAD_SIDE) / pad.clientWidth,
    y: (event.offsetY * PAD_SIDE) / pad.clientHeight,
  });

  function paint() {
    context.clearRect(0, 0, PAD_SIDE, PAD_SIDE);
    context.lineWidth = PEN_WIDTH;
    drawStrokes(context, strokes);
  }

  /** @param {number[]} pixels @param {PixelRange} range */
  function showPreview(pixels, [black, brightest] = getRange()) {
    const previewContext = /** @type {CanvasRenderingContext2D} */ (preview.getContext("2d"));
    const image = previewContext.createImageData(side, side);
    pixels.forEach((value, index) => {
      const brightness = (255 * (value - black)) / (brightest - black || 1);
      image.data.set([brightness, brightness, brightness, 255], 4 * index);
    });
    previewContext.putImageData(image, 0, 0);
  }

  /** @param {number[]} pixels */
  function showPixels(pixels) {
    pixelText.value = formatPixels(pixels, side);
    showPreview(pixels);
    onChange(pixels);
  }

  const clearPreview = () => showPreview(new Array(side * side).fill(0), [0, 1]);

  function readDrawing() {
    const shades = rasterize(strokes, side);
    const [black, brightest] = getRange();
    if (knownRange || brightest)
      return showPixels(shades.map((shade) => Math.round(100 * (black + shade * (brightest - black))) / 100));
    showPreview(shades, [0, 1]);
    onChange(null);
    setValidationMessage(
      white,
      "Enter this first. Pixels on another scale than the training data give wrong predictions.",
    );
  }

  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    strokes.push([toPoint(event)]);
    paint();
  });
  pad.addEventListener("pointermove", (event) => {
    if (!pad.hasPointerCapture(event.pointerId)) return;
    strokes[strokes.length - 1]?.push(...(event.getCoalescedEvents?.() ?? [event]).map(toPoint));
    paint();
  });
  pad.addEventListener("pointerup", readDrawing);
  pad.addEventListener("pointercancel", readDrawing);
  pixelText.addEventListener("input", () => {
    const pixels = (pixelText.value.match(/-?[\d.]+(e-?\d+)?/gi) ?? []).map(Number);
    const isValid = pixels.length === side * side && pixels.every(Number.isFinite);
    pixelText.setCustomValidity(isValid ? "" : `Enter ${side * side} numbers; found ${pixels.length}.`);
    pixelText.reportValidity();
    if (!isValid) return;
    showPreview(pixels);
    onChange(pixels);
  });
  white.addEventListener("input", () => {
    if (strokes.length && white.value) readDrawing();
  });
  clearPreview();

  const clearButton = createButton("Clear", () => {
    strokes = [];
    paint();
    pixelText.value = "";
    clearPreview();
    onChange(null);
  });
  return {
    element: createElement(
      "div",
      {},
      createElement(
        "div",
        { class: "drawing" },
        pad,
        createElement(
          "figure",
          {},
          preview,
          createElement("figcaption", {}, `Input of the network: ${side} × ${side} pixels`),
          createElement("p", { class: "row" }, clearButton),
        ),
      ),
      createElement(
        "details",
        {},
        createElement("summary", {}, "Pixel values"),
        createField("Pixels, row by row", pixelText, knownRange ? `From ${knownRange[0]} to ${knownRange[1]}.` : ""),
      ),
      knownRange === null &&
        createField(
          "Value of a white pixel",
          white,
          "Unknown, because the training data was deleted. Often 1, 16 or 255.",
        ),
    ),
    setPixels: (pixels) => {
      strokes = [];
      paint();
      showPixels(pixels);
    },
  };
}

/** @param {number[]} pixels @param {number} side */
function formatPixels(pixels, side) {
  const rows = Array.from({ length: side }, (_, row) => pixels.slice(row * side, (row + 1) * side));
  return rows.map((row) => row.join(" ")).join("\n");
}
