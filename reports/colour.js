// --- colour: the same arithmetic as bench.postprocess --------------------------------------------------------

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const floats = (text) => new Float32Array(bytes(text).buffer);
const words = (text) => new Uint16Array(bytes(text).buffer);

/** Raw values of one map: low + level / 255 * (high - low). */
const dequantise = (levels, low, high) => Float64Array.from(levels, (level) => low + (level / 255) * (high - low));

const largest = (values) => values.reduce((top, v) => (Number.isFinite(v) ? Math.max(top, v) : top), 0);
const largestMagnitude = (values) => largest(values.map(Math.abs));

/** For every pixel of an axis: the cell before it, the cell after it, and how far it lies between them. */
function axis(cells, size, smooth) {
  return Array.from({ length: size }, (_, pixel) => {
    const centre = ((pixel + 0.5) * cells) / size;
    const at = smooth ? clamp(centre - 0.5, 0, cells - 1) : Math.min(cells - 1, Math.floor(centre));
    const near = Math.floor(at);
    return [near, Math.min(cells - 1, near + 1), at - near];
  });
}

/** Cells (height x width) at size x size pixels: bilinear between half-pixel centres, or the nearest cell. */
function resize(cells, height, width, size, smooth) {
  const out = new Float64Array(size * size);
  const along = axis(width, size, smooth);
  axis(height, size, smooth).forEach(([top, below, v], y) => {
    along.forEach(([left, right, u], x) => {
      const upper = cells[top * width + left] * (1 - u) + cells[top * width + right] * u;
      const lower = cells[below * width + left] * (1 - u) + cells[below * width + right] * u;
      out[y * size + x] = upper * (1 - v) + lower * v;
    });
  });
  return out;
}

/** A raw map as size x size values in 0..1: ReLU, divided by `scale` or by the map's own largest value. */
function scaled(values, height, width, size, { scale = 0, smooth = true } = {}) {
  const top = scale || largest(values) || 1;
  const cells = Float64Array.from(values, (v) => (Number.isFinite(v) ? clamp(v / top, 0, 1) : 0));
  return resize(cells, height, width, size, smooth);
}

/** A signed map as size x size values in 0..1, where 0.5 is zero. */
function centred(values, height, width, size, { scale = 0, smooth = true } = {}) {
  const top = scale || largestMagnitude(values) || 1;
  const cells = Float64Array.from(values, (v) => (Number.isFinite(v) ? clamp(v / top, -1, 1) / 2 + 0.5 : 0.5));
  return resize(cells, height, width, size, smooth);
}

/** Values in 0..1 as RGBA bytes of a table of 256 colours. */
function colour(values, table) {
  const out = new Uint8ClampedArray(values.length * 4);
  for (let i = 0, at = 0; i < values.length; i++) {
    const k = 3 * Math.min(255, Math.floor(values[i] * 256));
    out[at++] = table[k];
    out[at++] = table[k + 1];
    out[at++] = table[k + 2];
    out[at++] = 255;
  }
  return out;
}

window.benchPage = { dequantise, scaled, centred, resize, colour };
