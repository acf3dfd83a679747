/**
 * A drawing as the pixels that a network has learned from: made as MNIST's digits were, or as those of scikit-learn.
 *
 * A drawing is strokes, and not a picture, so that lines are as thick as in the data however large it was drawn.
 *
 * @typedef {{x: number, y: number}} Point
 * @typedef {Point[]} Stroke
 */

/** MNIST: into 20 × 20 pixels, whose centre of mass is put into the middle of 28 × 28. */
const MNIST = { side: 28, box: 20, pen: 2.4 };
/** scikit-learn: bitmaps of 32 × 32, as high as they are; a pixel is how many of 4 × 4 bits are set. */
const BITMAP = { side: 32, box: 32, pen: 4.6 };
const BLOCK = 4;
const HALF = 128;

/** @param {Stroke[]} strokes @param {number} side 8 or 28 @returns {number[]} shares of the greatest brightness, row by row */
export function pixelsOf(strokes, side) {
  return side === MNIST.side ? mnist(strokes) : counts(strokes);
}

/** @param {Stroke[]} strokes */
function mnist(strokes) {
  const { side, box, pen } = MNIST;
  const first = drawn(strokes, side, box, pen, side / 2, side / 2);
  const mass = first.reduce((sum, value) => sum + value, 0) || 1;
  let x = 0;
  let y = 0;
  first.forEach((value, place) => {
    x += ((place % side) + 0.5) * value;
    y += (Math.floor(place / side) + 0.5) * value;
  });
  const shift = { x: Math.round(side / 2 - x / mass), y: Math.round(side / 2 - y / mass) };
  return drawn(strokes, side, box, pen, side / 2 + shift.x, side / 2 + shift.y).map((value) => value / 255);
}

/** @param {Stroke[]} strokes */
function counts(strokes) {
  const { side, box, pen } = BITMAP;
  const bits = drawn(strokes, side, box, pen, side / 2, side / 2);
  const found = new Array((side / BLOCK) ** 2).fill(0);
  bits.forEach((value, place) => {
    const row = Math.floor(place / side / BLOCK);
    const column = Math.floor((place % side) / BLOCK);
    if (value >= HALF) found[row * (side / BLOCK) + column] += 1 / BLOCK ** 2;
  });
  return found;
}

/**
 * Strokes, made as large as fits into the box, around a centre: bytes of brightness.
 * @param {Stroke[]} strokes @param {number} side @param {number} box @param {number} pen @param {number} x @param {number} y
 */
function drawn(strokes, side, box, pen, x, y) {
  const points = strokes.flat();
  const [left, right] = range(points.map((point) => point.x));
  const [top, bottom] = range(points.map((point) => point.y));
  const scale = (box - pen) / Math.max(right - left, bottom - top, 1);
  const canvas = new OffscreenCanvas(side, side);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) return [];
  context.lineWidth = pen;
  context.lineCap = context.lineJoin = "round";
  context.strokeStyle = "#fff";
  for (const stroke of strokes) {
    context.beginPath();
    for (const point of stroke) {
      context.lineTo(x + (point.x - (left + right) / 2) * scale, y + (point.y - (top + bottom) / 2) * scale);
    }
    // A dot is a line to where it is.
    if (stroke.length === 1 && stroke[0]) context.lineTo(x + (stroke[0].x - (left + right) / 2) * scale + 0.01, y + (stroke[0].y - (top + bottom) / 2) * scale);
    context.stroke();
  }
  const bytes = context.getImageData(0, 0, side, side).data;
  return Array.from({ length: side * side }, (_, place) => bytes[4 * place + 3] ?? 0);
}

/** @param {number[]} values @returns {[number, number]} */
function range(values) {
  return values.length ? [Math.min(...values), Math.max(...values)] : [0, 0];
}
