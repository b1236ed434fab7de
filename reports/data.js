// --- the data: an index of all images, and shards of pictures and raw maps that are read when looked at --------

const data = JSON.parse($("data").textContent);
const ROLES = ["predicted", "true", "both", "asked"];
const STATUSES = ["ok", "dead", "constant", "non-finite"];
const IN_WORDS = { dead: "all zero after ReLU", constant: "same value everywhere", "non-finite": "not finite" };

for (const key of ["probability", "trueProbability", "margin"]) data[key] = data[key].map(floats);
data.disagreement = floats(data.disagreement);
for (const key in data.colours) data.colours[key] = bytes(data.colours[key]);

const all = { x: data.explainers, l: data.layers, m: data.runs.map((_, k) => k) };
const keyOf = (run, explainer, layer) => JSON.stringify([run, explainer, layer]);
const cellAt = new Map(data.cells.map((cell, k) => [keyOf(cell.run, cell.explainer, cell.layer), k]));
const className = (k) => data.classes[k] ?? `class ${k}`;
const isWrong = (item, run) => data.predicted[run][item] >= 0 && data.predicted[run][item] !== data.true[item];

/** Typed arrays of a shard and, for each image, which row speaks for which role or asked class. */
function readShard(shard, first, pictures) {
  const cells = shard.cells.map((cell, k) => {
    const rows = new Map();
    const roles = bytes(cell.role);
    words(cell.item).forEach((place, row) => {
      const item = first + place;
      const found = rows.get(item) || rows.set(item, { asked: new Map() }).get(item);
      const role = ROLES[roles[row]];
      if (role === "asked") found.asked.set(cell.target[row], row);
      if (role === "predicted" || role === "both") found.predicted = row;
      if (role === "true" || role === "both") found.true = row;
    });
    return { ...data.cells[k], rows, status: bytes(cell.status), levels: bytes(cell.levels), low: floats(cell.low), high: floats(cell.high) };
  });
  return { cells, pictures, first, most: shard.most, topClass: shard.topClass.map(words), topShare: shard.topShare.map(words) };
}

const shards = new Map();
const arrived = {};
window.benchShard = (k, shard) => { arrived[k] = shard; };

/** The shard of an image, as a promise; in a folder each shard is a script beside the page. */
function need(item) {
  const k = Math.floor(item / data.perShard);
  if (!shards.has(k)) {
    if (shards.size > 40) shards.delete(shards.keys().next().value);
    shards.set(k, load(k));
  }
  return shards.get(k);
}

async function decoded(source) {
  const image = new Image();
  image.src = source;
  await image.decode();
  return image;
}

async function load(k) {
  const inside = $(`shard${k}`);
  if (!inside && !arrived[k]) {
    const file = `data-${String(k).padStart(3, "0")}.js`;
    await new Promise((done, fail) => {
      const script = make("script", { src: file });
      script.onload = done;
      script.onerror = () => fail(new Error(`not loaded: ${file} is not beside the page`));
      document.head.append(script);
    });
  }
  const shard = inside ? JSON.parse(inside.textContent) : arrived[k];
  delete arrived[k];
  return readShard(shard, k * data.perShard, await Promise.all(shard.pictures.map(decoded)));
}

const rawMap = (cell, row) => {
  const area = cell.height * cell.width;
  return dequantise(cell.levels.subarray(row * area, (row + 1) * area), cell.low[row], cell.high[row]);
};

/** What a column shows for a role: a map and its largest value, words that say why there is none, or undefined where none was made. */
function mapFor(shard, item, run, explainer, layer, role, target) {
  const k = cellAt.get(keyOf(run, explainer, layer));
  if (k === undefined) return undefined;
  const cell = shard.cells[k];
  const rows = cell.rows.get(item);
  if (cell.picture && role === "difference") return { words: "no raw map", quiet: true };
  if (role === "predicted" && target < 0) return undefined;
  if (role === "difference") return differenceOf(cell, rows);
  const row = role === "asked" ? rows?.asked.get(target) : rows?.[role];
  if (row === undefined) return undefined;
  const status = STATUSES[cell.status[row]];
  const signed = state.sign === "signed" && !cell.picture;
  if (status !== "ok" && !(signed && status === "dead")) return { words: IN_WORDS[status] };
  const values = rawMap(cell, row);
  return { cell, values, signed, top: signed ? largestMagnitude(values) : cell.high[row] };
}

function differenceOf(cell, rows) {
  if (rows?.predicted === undefined || rows.true === undefined) return undefined;
  if (rows.predicted === rows.true) return { words: "same class, no difference" };
  if ([rows.predicted, rows.true].some((row) => STATUSES[cell.status[row]] === "non-finite")) return { words: IN_WORDS["non-finite"] };
  const other = rawMap(cell, rows.true);
  const values = rawMap(cell, rows.predicted).map((v, i) => v - other[i]);
  const top = largestMagnitude(values);
  return top > 0 ? { cell, values, top, signed: true } : { words: "no difference" };
}
