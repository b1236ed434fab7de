/* The gallery of a page: reads the data at the end of the page, colours raw maps, builds cards.
   Names of classes and files are other people's text: they only ever go into textContent and setAttribute. */
(() => {
"use strict";

// --- colour: the same arithmetic as bench.postprocess --------------------------------------------------------

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const floats = (text) => new Float32Array(bytes(text).buffer);

/** Raw values of one map: low + level / 255 * (high - low). */
function dequantise(levels, low, high) {
  return Float32Array.from(levels, (level) => low + (level / 255) * (high - low));
}

const largest = (values) => values.reduce((top, v) => (Number.isFinite(v) ? Math.max(top, v) : top), 0);
const largestMagnitude = (values) => largest(values.map((v) => Math.abs(v)));

/** ReLU, then divided by `scale` (a number, or the map's own largest value). A map without a positive value is 0. */
function relu(values, scale) {
  const top = scale || largest(values) || 1;
  return values.map((v) => (Number.isFinite(v) ? clamp(v / top, 0, 1) : 0));
}

/** Cells (height x width) at size x size pixels: bilinear between half-pixel centres, or the nearest cell. */
function resize(cells, height, width, size, smooth) {
  const out = new Float32Array(size * size);
  const along = axis(width, size, smooth);
  const down = axis(height, size, smooth);
  for (let y = 0; y < size; y++) {
    const { near: top, far: below, part: v } = down[y];
    for (let x = 0; x < size; x++) {
      const { near: left, far: right, part: u } = along[x];
      const upper = cells[top * width + left] * (1 - u) + cells[top * width + right] * u;
      const lower = cells[below * width + left] * (1 - u) + cells[below * width + right] * u;
      out[y * size + x] = upper * (1 - v) + lower * v;
    }
  }
  return out;
}

/** For every pixel of an axis: the cell before it, the cell after it, and how far it lies between them. */
function axis(cells, size, smooth) {
  return Array.from({ length: size }, (_, pixel) => {
    const centre = ((pixel + 0.5) * cells) / size;
    if (!smooth) {
      const near = Math.min(cells - 1, Math.floor(centre));
      return { near, far: near, part: 0 };
    }
    const at = clamp(centre - 0.5, 0, cells - 1);
    const near = Math.floor(at);
    return { near, far: Math.min(cells - 1, near + 1), part: at - near };
  });
}

/** A raw map as size x size values in 0..1. */
function scaled(values, height, width, size, { scale = 0, smooth = true } = {}) {
  return resize(relu(Float32Array.from(values), scale), height, width, size, smooth);
}

/** A signed map as size x size values in 0..1, where 0.5 is zero. */
function centred(values, height, width, size, { scale = 0, smooth = true } = {}) {
  const top = scale || largestMagnitude(values) || 1;
  const cells = Float32Array.from(values, (v) => (Number.isFinite(v) ? clamp(v / top, -1, 1) / 2 + 0.5 : 0.5));
  return resize(cells, height, width, size, smooth);
}

/** Values in 0..1 as RGBA bytes of a table of 256 colours. */
function colour(values, table, opacity = 1) {
  const out = new Uint8ClampedArray(values.length * 4);
  for (let i = 0, at = 0; i < values.length; i++) {
    const k = 3 * Math.min(255, Math.floor(values[i] * 256));
    out[at++] = table[k];
    out[at++] = table[k + 1];
    out[at++] = table[k + 2];
    out[at++] = 255 * opacity;
  }
  return out;
}

// --- light and dark ------------------------------------------------------------------------------------------

function theme() {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const stored = (() => { try { return localStorage.getItem("bench-theme"); } catch { return null; } })();
  const isDark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const label = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  if (stored === "light" || stored === "dark") root.dataset.theme = stored;
  button.hidden = false;
  button.setAttribute("title", "Switch between light and dark");
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("bench-theme", root.dataset.theme); } catch { /* a viewer without storage */ }
    label();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
  label();
}

// --- elements ------------------------------------------------------------------------------------------------

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("--")) element.style.setProperty(name, value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== ""));
  return element;
}

/** Buttons of which one is pressed, or several with `many`; `pressed(value)` tells, `press(value)` acts. */
function segments(name, choices, pressed, press) {
  const buttons = choices.map(([value, text]) => {
    const button = make("button", { type: "button", title: text }, text);
    button.addEventListener("click", () => { press(value); show(); });
    return [button, value];
  });
  const show = () => buttons.forEach(([button, value]) => button.setAttribute("aria-pressed", pressed(value)));
  show();
  return make("div", { class: "choice", role: "group", "aria-label": name },
    make("span", {}, name), make("div", { class: "segments" }, ...buttons.map(([button]) => button)));
}

function select(name, choices, value, change) {
  const options = choices.map(([v, text]) => make("option", { value: v, selected: String(v) === String(value) }, text));
  const element = make("select", {}, ...options);
  element.addEventListener("change", () => change(element.value));
  return make("label", {}, name, element);
}

const figure = (value) => {
  const magnitude = Math.abs(value);
  if (magnitude === 0) return "0";
  if (magnitude >= 0.01 && magnitude < 1000) return String(Number(value.toPrecision(2)));
  return value.toExponential(1);
};

// --- the data ------------------------------------------------------------------------------------------------

const ROLES = ["predicted", "true", "both", "asked"];
const STATUSES = ["ok", "dead", "constant", "non-finite"];
const IN_WORDS = {
  dead: "no positive value",
  constant: "same value everywhere",
  "non-finite": "not finite",
  missing: "missing",
};

/** Cells with typed arrays and, per gallery item, which row speaks for which role or asked class. */
function readCells(data) {
  return data.cells.map((cell) => {
    const rows = new Map();
    const roles = bytes(cell.role);
    cell.item.forEach((item, row) => {
      const found = rows.get(item) || rows.set(item, { asked: new Map() }).get(item);
      const role = ROLES[roles[row]];
      if (role === "asked") found.asked.set(cell.target[row], row);
      if (role === "predicted" || role === "both") found.predicted = row;
      if (role === "true" || role === "both") found.true = row;
    });
    return { ...cell, rows, status: bytes(cell.status), levels: bytes(cell.levels), low: floats(cell.low), high: floats(cell.high) };
  });
}

function rawMap(cell, row) {
  const area = cell.height * cell.width;
  return dequantise(cell.levels.subarray(row * area, (row + 1) * area), cell.low[row], cell.high[row]);
}

// --- the gallery ---------------------------------------------------------------------------------------------

const PER_PAGE = 24;
const PIXELS = 128; // a side of a canvas
const MOST_COLUMNS = 8; // maps side by side before the first view leaves some out

function gallery(data) {
  const cells = readCells(data);
  const unique = (key) => [...new Set(cells.map((cell) => cell[key]))];
  const all = { runs: data.runs.map((_, k) => k), explainers: unique("explainer"), layers: unique("layer") };
  const cellAt = new Map(cells.map((cell) => [JSON.stringify([cell.run, cell.explainer, cell.layer]), cell]));
  const state = { view: "both", scale: "map", opacity: 0.6, smooth: true, sort: "sure", true: "", predicted: "", wrong: "", page: 0, ...firstColumns() };
  const sheet = new Image();
  const sequential = bytes(data.colours.sequential);
  const diverging = bytes(data.colours.diverging);
  const $ = (id) => document.getElementById(id);

  /** A run page starts with everything that fits; a comparison with all runs at one explainer's last layer. */
  function firstColumns() {
    const alone = data.kind === "run";
    const explainers = new Set(alone ? all.explainers : all.explainers.slice(0, 1));
    const most = alone ? Math.max(1, Math.floor(MOST_COLUMNS / Math.max(1, explainers.size))) : 1;
    const grids = all.layers.filter((layer) => layer !== "input");
    return { runs: new Set(all.runs), explainers, layers: new Set((grids.length ? grids : all.layers).slice(-most)) };
  }

  // --- which images

  const said = (item) => data.predicted.map((run) => run[item]);
  const isWrong = (item, run) => data.predicted[run][item] >= 0 && data.predicted[run][item] !== data.true[item];
  const sureness = (item) => Math.max(...all.runs.map((run) => (isWrong(item, run) ? data.probability[run][item] : 0)));

  const WRONG_IN = {
    "": () => true,
    all: (item) => all.runs.every((run) => isWrong(item, run)),
    ...Object.fromEntries(all.runs.map((k) => [`in${k}`, (item) => isWrong(item, k)])),
    ...Object.fromEntries(all.runs.map((k) => [`only${k}`, (item) => all.runs.every((run) => isWrong(item, run) === (run === k))])),
  };
  const ORDERS = {
    sure: (a, b) => sureness(b) - sureness(a) || data.ids[a] - data.ids[b],
    unsure: (a, b) => sureness(a) - sureness(b) || data.ids[a] - data.ids[b],
    id: (a, b) => data.ids[a] - data.ids[b],
  };

  const matches = (item) =>
    (state.true === "" || data.true[item] === Number(state.true)) &&
    (state.predicted === "" || said(item).includes(Number(state.predicted))) &&
    WRONG_IN[state.wrong](item);
  const selected = () => data.ids.map((_, item) => item).filter(matches).sort(ORDERS[state.sort]);

  // --- one card

  /** The pictures and maps of a card, coloured by the state when they come into sight. */
  const painters = new WeakMap();
  const inSight = new Set();
  const watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) { inSight.add(target); painters.get(target)(); } else inSight.delete(target);
    }
  }, { rootMargin: "200px" });

  function canvas(label, paint) {
    const element = make("canvas", { width: PIXELS, height: PIXELS, role: "img", "aria-label": label });
    const context = element.getContext("2d");
    painters.set(element, () => paint(context));
    watcher.observe(element);
    return element;
  }

  function paintPicture(context, item) {
    const column = item % data.columns;
    const row = Math.floor(item / data.columns);
    context.globalAlpha = 1;
    context.imageSmoothingEnabled = state.smooth;
    context.imageSmoothingQuality = "high";
    context.clearRect(0, 0, PIXELS, PIXELS);
    context.drawImage(sheet, column * data.edge, row * data.edge, data.edge, data.edge, 0, 0, PIXELS, PIXELS);
  }

  const scratch = make("canvas", { width: PIXELS, height: PIXELS });
  function paintOver(context, rgba) {
    scratch.getContext("2d").putImageData(new ImageData(rgba, PIXELS, PIXELS), 0, 0);
    context.globalAlpha = state.opacity;
    context.drawImage(scratch, 0, 0);
    context.globalAlpha = 1;
  }

  const className = (k) => (k >= 0 && k < data.classes.length ? data.classes[k] : `class ${k}`);

  function headline(item) {
    const truth = make("bdi", {}, className(data.true[item]));
    const wrong = new Map();
    all.runs.filter((run) => isWrong(item, run)).forEach((run) => wrong.set(data.predicted[run][item], (wrong.get(data.predicted[run][item]) || 0) + 1));
    if (!wrong.size) return make("span", {}, truth, " ", make("span", { class: "good" }, "recognised"));
    const known = said(item).filter((k) => k >= 0).length;
    const parts = [...wrong].sort((a, b) => b[1] - a[1]).flatMap(([k, times], index) => [
      index ? ", " : "",
      make("em", {}, make("bdi", {}, className(k))),
      data.runs.length > 1 ? make("span", { class: "soft" }, ` by ${times} of ${known}`) : "",
    ]);
    return make("span", {}, truth, make("span", { class: "soft" }, " taken for "), ...parts);
  }

  /** The line above a row of maps: which class they speak for, and how probable the run found it. */
  function saidLine(item, run, role, target) {
    const predicted = data.predicted[run][item];
    const probability = predicted < 0 ? undefined : target === predicted ? data.probability[run][item] : target === data.true[item] ? data.trueProbability[run][item] : undefined;
    if (target < 0) return make("div", { class: "said" }, make("span", { class: "role" }, "no prediction"), make("span"), make("div", { class: "bar" }));
    const wrong = role === "predicted" && isWrong(item, run);
    const right = role === "predicted" && !wrong;
    // Beside other runs there is little room: a sign stands for the word.
    const word = data.runs.length === 1 || role !== "predicted" ? role : wrong ? "✗" : "✓";
    return make("div", { class: "said" },
      make("span", { class: wrong ? "wrong" : right ? "right" : "" }, make("span", { class: "role" }, `${word} `), make("b", { title: className(target) }, make("bdi", {}, className(target)))),
      make("span", {}, probability === undefined ? "" : probability.toFixed(2)),
      make("div", { class: "bar" }, probability === undefined ? "" : make("i", { "--share": probability })));
  }

  const chosen = (key) => all[key].filter((value) => state[key].has(value));
  const columns = () => chosen("explainers").flatMap((explainer) => chosen("layers").map((layer) => ({ explainer, layer })));

  /** Whether an explainer has maps at a layer that is shown; methods of pixels and of layers have none in common. */
  const answers = (explainer) => chosen("layers").some((layer) => all.runs.some((run) => cellAt.has(JSON.stringify([run, explainer, layer]))));

  function lookUp(item, run, column) {
    const cell = cellAt.get(JSON.stringify([run, column.explainer, column.layer]));
    return { cell, rows: cell?.rows.get(item) };
  }

  /** What a column shows for a role: a map and its largest value, or the words that say why there is none. */
  function mapFor(item, run, column, role, target) {
    const { cell, rows } = lookUp(item, run, column);
    if (!cell) return { words: "not computed" };
    if (cell.picture && role === "difference") return { words: "no raw map", quiet: true };
    if (role === "predicted" && target < 0) return { words: "image unknown to this run" };
    if (role === "difference") return differenceOf(cell, rows);
    const row = role === "asked" ? rows?.asked.get(target) : rows?.[role];
    if (row === undefined) return { words: IN_WORDS.missing };
    const status = STATUSES[cell.status[row]];
    return status === "ok" ? { cell, values: rawMap(cell, row), top: cell.high[row] } : { words: IN_WORDS[status] };
  }

  function differenceOf(cell, rows) {
    if (rows?.predicted === undefined || rows.true === undefined) return { words: IN_WORDS.missing };
    if (rows.predicted === rows.true) return { words: "same class" };
    if ([rows.predicted, rows.true].some((row) => STATUSES[cell.status[row]] === "non-finite")) return { words: IN_WORDS["non-finite"] };
    const other = rawMap(cell, rows.true);
    const values = rawMap(cell, rows.predicted).map((v, i) => v - other[i]);
    const top = largestMagnitude(values);
    return top > 0 ? { cell, values, top, signed: true } : { words: "no difference" };
  }

  function tile(item, column, found, about, shared) {
    const label = make("b", {}, state.layers.size > 1 ? column.layer : "");
    if (found.words) return make("figure", { class: "map" }, make("div", { class: found.quiet ? "blank quiet" : "blank" }, found.words), make("figcaption", {}, label));
    const { cell, values, top, signed } = found;
    const size = cell.picture ? "a finished picture of the library" : `largest raw value ${figure(top)}`;
    const element = canvas(`${column.explainer} ${column.layer} ${about}, ${size}`, (context) => {
      // A finished picture is on the scale from 0 to 1 already.
      const options = { scale: cell.picture ? 1 : state.scale === "image" ? shared() : 0, smooth: state.smooth };
      const grey = (signed ? centred : scaled)(values, cell.height, cell.width, PIXELS, options);
      paintPicture(context, item);
      paintOver(context, colour(grey, signed ? diverging : sequential));
    });
    return make("figure", { class: "map" }, element,
      make("figcaption", {}, label, make("span", {}, cell.picture ? "0 to 1" : (signed ? "±" : "") + figure(top))));
  }

  /** Rows of maps of one run: the roles the view asks for, then classes that were asked for by number. */
  function rolesOf(item, run) {
    const predicted = data.predicted[run][item];
    if (state.view === "difference") return [["difference", predicted]];
    const asked = new Set(columns().flatMap((column) => [...(lookUp(item, run, column).rows?.asked.keys() || [])]));
    return [
      ...(state.view !== "true" ? [["predicted", predicted]] : []),
      ...(state.view !== "predicted" ? [["true", data.true[item]]] : []),
      ...(state.view === "both" ? [...asked].map((target) => ["asked", target]) : []),
    ];
  }

  function group(item, run, shared) {
    const element = make("div", { class: "group" });
    if (data.runs.length > 1) element.append(make("h4", { title: data.runs[run] }, data.runs[run]));
    const right = data.predicted[run][item] === data.true[item];
    for (const [role, target] of rolesOf(item, run)) {
      const repeated = right && role === "true" && state.view === "both";
      const about = role === "difference" ? "predicted minus true class" : `for ${role} class ${className(target)}`;
      element.append(role === "difference" ? make("p", { class: "said" }, make("span", {}, make("bdi", {}, className(target)), " − ", make("bdi", {}, className(data.true[item])))) : saidLine(item, run, role, target));
      const able = chosen("explainers").filter(answers);
      const blocks = (able.length ? able : chosen("explainers")).map((explainer) => make("div", { class: "block" },
        state.explainers.size > 1 ? make("div", { class: "by", title: explainer }, explainer) : "",
        make("div", { class: "maps" }, ...chosen("layers").map((layer) => {
          const column = { explainer, layer };
          const found = repeated ? { words: "same class, same map", quiet: true } : mapFor(item, run, column, role, target);
          return tile(item, column, found, about, shared);
        }))));
      element.append(make("div", { class: "row" }, ...blocks));
    }
    return element;
  }

  /** The largest value of all maps that a card shows now: the shared scale. */
  function sharedScale(item) {
    let known;
    return () => (known ??= Math.max(...chosen("runs").flatMap((run) =>
      rolesOf(item, run).flatMap(([role, target]) => columns().map((column) => mapFor(item, run, column, role, target)).map((found) => (found.cell?.picture ? 0 : found.top || 0))))));
  }

  function card(item) {
    const id = `i${data.ids[item]}`;
    const words = `test image ${data.ids[item]}, ${className(data.true[item])}`;
    const shared = sharedScale(item);
    const groups = chosen("runs").map((run) => group(item, run, shared));
    const caption = make("figcaption", {}, make("bdi", {}, data.files[item]));
    if (state.scale === "image" && shared() > 0) caption.append(make("br"), `scale: 1 = ${figure(shared())}`);
    return make("article", { class: "card", id, "aria-label": words },
      make("h3", {}, headline(item), make("a", { href: `#${id}`, "aria-label": `link to test image ${data.ids[item]}` }, `#${data.ids[item]}`)),
      make("div", { class: "body" },
        make("figure", { class: "picture" }, canvas(words, (context) => paintPicture(context, item)), caption),
        make("div", { class: "groups" }, ...(cells.length ? groups : [make("p", { class: "note" }, "No maps were computed.")]))));
  }

  // --- the page of cards

  function build() {
    const items = selected();
    const pages = Math.max(1, Math.ceil(items.length / PER_PAGE));
    state.page = clamp(state.page, 0, pages - 1);
    const start = state.page * PER_PAGE;
    const shown = items.slice(start, start + PER_PAGE);
    watcher.disconnect();
    inSight.clear();
    measure();
    $("grid").replaceChildren(...shown.map(card));
    $("status").textContent = items.length ? `${start + 1}–${start + shown.length} of ${items.length.toLocaleString("en")} that match` : "No image matches these filters.";
    pager(pages);
    legend();
  }

  /** Card widths follow from how many maps stand side by side. */
  function measure() {
    const style = $("grid").style;
    const wide = columns().length;
    const gaps = (wide - 1) * 6 + (state.explainers.size - 1) * 6;
    const runs = Math.max(1, state.runs.size);
    const group = Math.max(data.runs.length > 1 ? 118 : 150, wide * 80 + gaps);
    const picture = clamp(group, 132, 180);
    style.setProperty("--cols", Math.max(1, wide));
    style.setProperty("--layers", Math.max(1, state.layers.size));
    style.setProperty("--group", `${Math.min(group, 940)}px`);
    style.setProperty("--picture", `${picture}px`);
    style.setProperty("--wide", `${Math.min(1180, 34 + picture + 16 + runs * group + (runs - 1) * 12)}px`);
    $("grid").classList.toggle("raw", !state.smooth);
  }

  function pager(pages) {
    const step = (by, text) => {
      const button = make("button", { type: "button" }, text);
      button.disabled = state.page + by < 0 || state.page + by >= pages;
      button.addEventListener("click", () => { state.page += by; build(); $("status").scrollIntoView({ block: "center" }); });
      return button;
    };
    $("pager").hidden = pages < 2;
    $("pager").replaceChildren(step(-1, "Previous"), make("span", {}, `page ${state.page + 1} of ${pages}`), step(1, "Next"));
  }

  function legend() {
    const signed = state.view === "difference";
    const ramp = $("legend").querySelector("canvas");
    const line = Float32Array.from({ length: 256 }, (_, i) => i / 256);
    ramp.getContext("2d").putImageData(new ImageData(colour(line, signed ? diverging : sequential), 256, 1), 0, 0);
    ramp.setAttribute("aria-label", signed ? "colour bar from blue at −1 over white at 0 to red at 1" : "colour bar from violet at 0 over green to yellow at 1");
    const marks = signed ? ["−1 true", "0", "predicted +1"] : ["0", "0.5", "1"];
    [...$("legend").querySelectorAll(".marks span")].forEach((mark, k) => { mark.textContent = marks[k]; });
    const unit = signed ? "difference" : "value";
    $("legend").querySelector("p").textContent = state.scale === "image" ? `× the card’s largest ${unit}, under its picture` : `× the map’s largest ${unit}, given under it`;
  }

  /** Colours anew what is in sight; the rest is painted when it comes into sight. */
  let waiting = 0;
  function repaint() {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => {
      $("grid").classList.toggle("raw", !state.smooth);
      inSight.forEach((element) => painters.get(element)());
    });
  }

  // --- controls

  const set = (name) => (value) => { state[name] = value; if (["true", "predicted", "wrong", "sort"].includes(name)) state.page = 0; build(); };
  const toggle = (name) => (value) => {
    const chosen = state[name];
    if (!chosen.has(value)) chosen.add(value);
    else if (chosen.size > 1) chosen.delete(value); // one column always stays
    build();
  };

  function filters() {
    const present = (classes) => [["", "any"], ...[...new Set(classes)].filter((k) => k >= 0).sort((a, b) => a - b).map((k) => [k, className(k)])];
    const several = data.runs.length > 1;
    const wrongIn = [["", "any run"], ["all", "every run"], ...all.runs.map((k) => [`in${k}`, data.runs[k]]), ...all.runs.map((k) => [`only${k}`, `only ${data.runs[k]}`])];
    $("filters").replaceChildren(
      select("true class", present(data.true), state.true, set("true")),
      select("taken for", present(data.predicted.flat()), state.predicted, set("predicted")),
      several ? select("wrong in", wrongIn, state.wrong, set("wrong")) : "",
      select("order", [["sure", "most sure first"], ["unsure", "least sure first"], ["id", "test id"]], state.sort, set("sort")));
    const names = { runs: all.runs.map((k) => [k, data.runs[k]]), explainers: all.explainers.map((e) => [e, e]), layers: all.layers.map((l) => [l, l]) };
    const titles = { runs: "models", explainers: "explainers", layers: "layers" };
    const wide = Object.keys(names).filter((key) => names[key].length > 1);
    $("columns").replaceChildren(...wide.map((key) => segments(titles[key], names[key], (value) => state[key].has(value), toggle(key))));
    $("filters").hidden = false;
    $("columns").hidden = !wide.length;
  }

  function knobs() {
    const opacity = make("input", { type: "range", min: 0, max: 100, value: 100 * state.opacity });
    opacity.addEventListener("input", () => { state.opacity = opacity.value / 100; repaint(); });
    const smooth = make("input", { type: "checkbox", checked: state.smooth });
    smooth.addEventListener("change", () => { state.smooth = smooth.checked; repaint(); });
    const is = (name) => (value) => state[name] === value;
    $("knobs").replaceChildren(
      segments("maps for", [["both", "both"], ["predicted", "predicted"], ["true", "true"], ["difference", "difference"]], is("view"), set("view")),
      segments("scale", [["map", "each map"], ["image", "whole card"]], is("scale"), set("scale")),
      make("label", {}, "opacity", opacity),
      make("label", {}, smooth, "smooth"));
    $("looks").hidden = !cells.length;
  }

  /** Brings the image of a link like #i3021 onto the page and into sight. */
  function follow() {
    const id = /^#i(\d+)$/.exec(location.hash)?.[1];
    const item = id === undefined ? -1 : data.ids.indexOf(Number(id));
    if (item < 0) return;
    if (!matches(item)) { Object.assign(state, { true: "", predicted: "", wrong: "" }); filters(); }
    const page = Math.floor(selected().indexOf(item) / PER_PAGE);
    if (page !== state.page || !$(`i${id}`)) { state.page = page; build(); }
    $("grid").querySelectorAll(".here").forEach((card) => card.classList.remove("here"));
    $(`i${id}`).classList.add("here");
    $(`i${id}`).scrollIntoView();
  }

  function pairLinks() {
    for (const link of document.querySelectorAll("a[data-true]")) {
      link.addEventListener("click", () => {
        Object.assign(state, { true: link.dataset.true, predicted: link.dataset.predicted, wrong: "", page: 0 });
        filters();
        build();
      });
    }
  }

  sheet.src = data.sheet;
  sheet.decode().then(() => {
    filters();
    knobs();
    build();
    pairLinks();
    follow();
    addEventListener("hashchange", follow);
    addEventListener("beforeprint", () => document.querySelectorAll("#grid canvas").forEach((element) => painters.get(element)()));
    document.documentElement.dataset.ready = "true";
  });
}

window.benchPage = { dequantise, scaled, centred, resize, colour };
theme();
const data = JSON.parse(document.getElementById("data").textContent);
if (data.ids.length) gallery(data);
else document.documentElement.dataset.ready = "true";
})();
