// --- the state: which images in which order, which maps, how drawn; all of it stands in the address -------------

const PER_PAGE = 24;
const MOST_COLUMNS = 8; // maps side by side before the first view leaves some out
const ids = new Map(data.ids.map((id, item) => [id, item]));

/** The explainer that has most maps: of one run at all its layers that fit, of several runs at one. */
function firstColumns() {
  const [x, layer] = data.lead;
  const own = all.l.filter((l) => data.cells.some((cell) => cell.explainer === x && cell.layer === l));
  return { x: all.x.filter((one) => one === x), l: data.kind === "run" ? own.slice(-MOST_COLUMNS) : own.filter((l) => l === layer), m: all.m };
}

const NONE = { true: "", pred: "", wrong: "", models: "", from: 0, to: 100, apart: 0, q: "" }; // no filter
const DEFAULTS = {
  ...NONE, sort: "sure", page: 1, ...firstColumns(), maps: "both", scale: "map", sign: "relu", colours: "viridis", opacity: 60, grid: "smooth",
  img: "", rows: "explainers", of: 0, mode: "swipe", a: -1, b: -1, mix: 50, marks: "",
};
const CHOICES = {
  maps: ["both", "predicted", "true", "difference"], scale: ["map", "image", "shared"], sign: ["relu", "signed"],
  colours: ["viridis", "cividis", "grey"], grid: ["smooth", "raw"], rows: ["explainers", "models"], mode: ["swipe", "blend"],
};
const state = { ...DEFAULTS };

/** Text as an address has it; one that was cut off or typed wrong stays as it is. */
function unescaped(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

function readHash(hash) {
  const found = new URLSearchParams(hash.slice(1));
  Object.assign(state, DEFAULTS);
  for (const [key, text] of found) {
    const usual = DEFAULTS[key];
    if (Array.isArray(usual)) {
      const chosen = all[key].filter((value) => text.split(",").map(unescaped).includes(String(value)));
      if (chosen.length) state[key] = chosen; // one column always stays
    } else if (typeof usual === "number") {
      if (Number.isFinite(Number(text))) state[key] = Number(text);
    } else if (usual !== undefined && (!CHOICES[key] || CHOICES[key].includes(text))) state[key] = text;
  }
  if (!ORDERS[state.sort]) state.sort = DEFAULTS.sort;
  if (!WRONG_IN[state.wrong]) state.wrong = "";
  if (!MODELS[state.models]) state.models = "";
}

function hashOf(view) {
  const text = (value) => (Array.isArray(value) ? value.map((one) => encodeURIComponent(one)).join(",") : value);
  const changed = Object.keys(DEFAULTS).filter((key) => String(text(view[key])) !== String(text(DEFAULTS[key])));
  return changed.length ? `#${new URLSearchParams(changed.map((key) => [key, text(view[key])]))}` : "#errors";
}

/** Writes the state into the address; `push` makes a step that the browser's Back undoes. */
function writeHash(push) {
  const hash = hashOf(state);
  if (hash === "#errors" && !location.hash.includes("=")) return;
  try { history[push ? "pushState" : "replaceState"](null, "", hash); } catch { /* a viewer without history */ }
}

// --- which images

const sureness = Float32Array.from(data.ids, (_, item) => {
  const wrong = all.m.filter((run) => isWrong(item, run));
  return Math.max(0, ...(wrong.length ? wrong : all.m).map((run) => data.probability[run][item]));
});
const answers = Uint8Array.from(data.ids, (_, item) => new Set(all.m.map((run) => data.predicted[run][item]).filter((k) => k >= 0)).size);
const known = (item) => all.m.filter((run) => data.predicted[run][item] >= 0);
const texts = data.ids.map((id, item) => [id, data.files[item], className(data.true[item]), ...known(item).map((run) => className(data.predicted[run][item]))].join("\n").toLowerCase());
const most = (values) => (item) => Math.max(...known(item).map((run) => values[run][item]));
const least = (values) => (item) => Math.min(...known(item).map((run) => values[run][item]));

const WRONG_IN = {
  "": () => true,
  all: (item) => all.m.every((run) => isWrong(item, run)),
  none: (item) => !all.m.some((run) => isWrong(item, run)),
  ...Object.fromEntries(all.m.map((k) => [`in${k}`, (item) => isWrong(item, k)])),
  ...Object.fromEntries(all.m.map((k) => [`only${k}`, (item) => all.m.every((run) => isWrong(item, run) === (run === k))])),
};
const MODELS = { "": () => true, agree: (item) => answers[item] < 2, differ: (item) => answers[item] > 1 };

const answered = (item) => WRONG_IN.none(item);

/** By what images are ordered: a key to sort by, the smallest first; errors come before what was recognised. */
const ORDERS = {
  sure: (item) => (answered(item) ? 1 : -1) - sureness[item],
  unsure: (item) => (answered(item) ? 2 : 0) + sureness[item],
  margin: least(data.margin),
  loss: least(data.trueProbability),
  apart: (item) => -(Number.isNaN(data.disagreement[item]) ? -1 : data.disagreement[item]),
  models: (item) => -answers[item],
  id: () => 0,
};

const TESTS = {
  true: (item) => state.true === "" || data.true[item] === Number(state.true),
  pred: (item) => state.pred === "" || all.m.some((run) => data.predicted[run][item] === Number(state.pred)),
  wrong: (item) => WRONG_IN[state.wrong](item),
  models: (item) => MODELS[state.models](item),
  sure: (item) => sureness[item] >= state.from / 100 - 1e-9 && sureness[item] <= state.to / 100 + 1e-9,
  apart: (item) => state.apart === 0 || data.disagreement[item] >= state.apart,
  q: (item) => wanted === "" || (/^#?\d+$/.test(wanted) ? data.ids[item] === Number(wanted.replace("#", "")) : texts[item].includes(wanted)),
};
let wanted = "";
let failed = new Uint8Array(data.ids.length); // which filters an image fails, a bit each
let list = []; // the images that match, in order

function choose() {
  wanted = state.q.trim().toLowerCase();
  const tests = Object.values(TESTS);
  failed = Uint8Array.from(data.ids, (_, item) => tests.reduce((bits, test, k) => bits | (test(item) ? 0 : 1 << k), 0));
  const keys = Float64Array.from(data.ids, (_, item) => ORDERS[state.sort](item));
  list = data.ids.map((_, item) => item).filter((item) => !failed[item]);
  list.sort((a, b) => keys[a] - keys[b] || data.ids[a] - data.ids[b]);
}

const VALUES = {
  true: (item) => [data.true[item]],
  pred: (item) => all.m.map((run) => data.predicted[run][item]),
  pair: (item) => all.m.filter((run) => isWrong(item, run)).map((run) => `${data.true[item]},${data.predicted[run][item]}`),
  wrong: (item) => Object.keys(WRONG_IN).filter((key) => key && WRONG_IN[key](item)),
  models: (item) => [MODELS.agree(item) ? "agree" : "differ"],
};
const valuesOf = {}; // of all images, once

/** How many images each value of a list would leave, beside what the other filters leave. */
function tally(key) {
  valuesOf[key] ??= data.ids.map((_, item) => [...new Set(VALUES[key](item).map(String))]);
  const own = key === "pair" ? ["true", "pred"] : [key];
  const others = own.reduce((bits, name) => bits & ~(1 << Object.keys(TESTS).indexOf(name)), 255);
  const found = new Map([["", 0]]);
  const count = (value) => found.set(value, (found.get(value) || 0) + 1);
  failed.forEach((bits, item) => {
    if (bits & others) return;
    count("");
    valuesOf[key][item].forEach(count);
  });
  return found;
}
