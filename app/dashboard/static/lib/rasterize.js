/**
 * Rasterization of drawings by the methods that produced the images of MNIST and of scikit-learn's digits.
 *
 * A drawing is a list of strokes, not a bitmap, so that its lines are as thick as those of the data at any size.
 *
 * @typedef {{x: number, y: number}} Point
 * @typedef {Point[]} Stroke
 */

/** MNIST: scaled to 20 × 20 pixels, then centered by mass in 28 × 28. */
const MNIST = { side: 28, box: 20, pen: 2.4 };
/** scikit-learn: bitmaps of 32 × 32, scaled to full height; a pixel counts the set bits of a block of 4 × 4. */
const BITMAP = { side: 32, box: 32, pen: 4.6 };
const BLOCK_SIDE = 4;
const BIT_THRESHOLD = 128;

/**
 * Rasterize strokes.
 * @param {Stroke[]} strokes @param {number} side 8 or 28 @returns {number[]} brightness from 0 to 1, row by row
 */
export function rasterize(strokes, side) {
  return side === MNIST.side ? rasterizeMnist(strokes) : rasterizeBitCounts(strokes);
}

/** @param {Stroke[]} strokes */
function rasterizeMnist(strokes) {
  const { side } = MNIST;
  const middle = side / 2;
  const centered = renderStrokes(strokes, MNIST, middle, middle);
  const mass = centered.reduce((sum, value) => sum + value, 0) || 1;
  let x = 0;
  let y = 0;
  centered.forEach((value, index) => {
    x += ((index % side) + 0.5) * value;
    y += (Math.floor(index / side) + 0.5) * value;
  });
  const shiftX = Math.round(middle - x / mass);
  const shiftY = Math.round(middle - y / mass);
  return renderStrokes(strokes, MNIST, middle + shiftX, middle + shiftY).map((value) => value / 255);
}

/** @param {Stroke[]} strokes */
function rasterizeBitCounts(strokes) {
  const { side } = BITMAP;
  const blocks = side / BLOCK_SIDE;
  const bits = renderStrokes(strokes, BITMAP, side / 2, side / 2);
  const pixels = new Array(blocks ** 2).fill(0);
  bits.forEach((value, index) => {
    const row = Math.floor(index / side / BLOCK_SIDE);
    const column = Math.floor((index % side) / BLOCK_SIDE);
    if (value >= BIT_THRESHOLD) pixels[row * blocks + column] += 1 / BLOCK_SIDE ** 2;
  });
  return pixels;
}

/**
 * Draw strokes as large as fits into the box.
 * @param {Stroke[]} strokes @param {{side: number, box: number, pen: number}} raster
 * @param {number} centerX @param {number} centerY
 * @returns {number[]} brightness from 0 to 255
 */
function renderStrokes(strokes, { side, box, pen }, centerX, centerY) {
  const points = strokes.flat();
  const [left, right] = getRange(points.map((point) => point.x));
  const [top, bottom] = getRange(points.map((point) => point.y));
  const scale = (box - pen) / Math.max(right - left, bottom - top, 1);
  const toRaster = (/** @type {Point} */ point) => ({
    x: centerX + (point.x - (left + right) / 2) * scale,
    y: centerY + (point.y - (top + bottom) / 2) * scale,
  });
  const context = new OffscreenCanvas(side, side).getContext("2d", { willReadFrequently: true });
  if (!context) return [];
  context.lineWidth = pen;
  drawStrokes(
    context,
    strokes.map((stroke) => stroke.map(toRaster)),
  );
  const rgba = context.getImageData(0, 0, side, side).data;
  return Array.from({ length: side * side }, (_, index) => rgba[4 * index + 3] ?? 0);
}

/**
 * Draw white strokes, with the line width of the context.
 * @param {CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D} context @param {Stroke[]} strokes
 */
export function drawStrokes(context, strokes) {
  context.lineCap = context.lineJoin = "round";
  context.strokeStyle = "#fff";
  for (const stroke of strokes) {
    context.beginPath();
    for (const point of stroke) context.lineTo(point.x, point.y);
    // A canvas draws nothing for a line of a single point.
    const [first] = stroke;
    if (stroke.length === 1 && first) context.lineTo(first.x + 0.01, first.y);
    context.stroke();
  }
}

/** @param {number[]} values @returns {[number, number]} */
function getRange(values) {
  return values.length ? [Math.min(...values), Math.max(...values)] : [0, 0];
}
