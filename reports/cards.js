// --- cards: one an image, filled when it comes near the window and emptied when it has gone far ------------------

const PIXELS = Math.max(128, Math.min(224, data.edge)); // a side of a canvas
const painters = new WeakMap();
const scratch = make("canvas", { width: PIXELS, height: PIXELS });
const table = (signed) => data.colours[signed ? "diverging" : state.colours];

function paintPicture(context, shard, item) {
  const place = item - shard.first;
  context.globalAlpha = 1;
  context.imageSmoothingEnabled = state.grid === "smooth";
  context.imageSmoothingQuality = "high";
  context.clearRect(0, 0, PIXELS, PIXELS);
  const picture = shard.pictures[data.columns ? 0 : place]; // one sheet, or a file each
  const [x, y, edge] = data.columns ? [place % data.columns, Math.floor(place / data.columns), data.edge] : [0, 0, picture.width];
  context.drawImage(picture, x * edge, y * edge, edge, edge, 0, 0, PIXELS, PIXELS);
}

/** The picture with a map over it. */
function paintMap(context, shard, item, found, scale) {
  const { cell, values, signed } = found;
  // A finished picture is on the scale from 0 to 1 already.
  const grey = (signed ? centred : scaled)(values, cell.height, cell.width, PIXELS, { scale: cell.picture ? 1 : scale, smooth: state.grid === "smooth" });
  paintPicture(context, shard, item);
  scratch.getContext("2d").putImageData(new ImageData(colour(grey, table(signed)), PIXELS, PIXELS), 0, 0);
  context.globalAlpha = state.opacity / 100;
  context.drawImage(scratch, 0, 0);
  context.globalAlpha = 1;
}

function canvas(label, paint) {
  const element = make("canvas", { width: PIXELS, height: PIXELS, role: "img", "aria-label": label });
  painters.set(element, () => paint(element.getContext("2d")));
  painters.get(element)();
  return element;
}

/** Where a map is largest, in words. */
function placeOf(found) {
  const { values, cell } = found;
  const strength = found.signed ? values.map(Math.abs) : values;
  const at = strength.indexOf(Math.max(...strength));
  const third = (k, size) => Math.min(2, Math.floor(((k + 0.5) * 3) / size));
  const [down, along] = [third(Math.floor(at / cell.width), cell.height), third(at % cell.width, cell.width)];
  return down === 1 && along === 1 ? "the centre" : `the ${["upper", "middle", "lower"][down]} ${["left", "centre", "right"][along]}`;
}

function headline(item) {
  const truth = make("bdi", {}, className(data.true[item]));
  const wrong = new Map();
  all.m.filter((run) => isWrong(item, run)).forEach((run) => wrong.set(data.predicted[run][item], (wrong.get(data.predicted[run][item]) || 0) + 1));
  if (!wrong.size) return make("span", {}, truth, " ", make("span", { class: "good" }, "recognised"));
  const total = known(item).length;
  const parts = [...wrong].sort((a, b) => b[1] - a[1]).flatMap(([k, times], index) => [
    index ? ", " : "",
    make("bdi", { class: "wrong" }, className(k)),
    data.runs.length > 1 ? soft(` by ${times} of ${total}`) : "",
  ]);
  return make("span", {}, truth, soft(" taken for "), ...parts);
}

/** The same in plain words, for what is read out. */
function wordsOf(item) {
  const taken = [...new Set(all.m.filter((run) => isWrong(item, run)).map((run) => className(data.predicted[run][item])))];
  return `test image ${data.ids[item]}: ${className(data.true[item])}, ${taken.length ? `taken for ${taken.join(", ")}` : "recognised"}`;
}

/** The line above a row of maps: which class they speak for, and how probable the run found it. */
function saidLine(item, run, role, target) {
  const predicted = data.predicted[run][item];
  if (role === "difference") return make("p", { class: "said" }, make("bdi", {}, [...new Set([target, data.true[item]])].map(className).join(" − ")));
  if (target < 0) return make("p", { class: "said" }, "no prediction");
  const share = predicted < 0 ? undefined : target === predicted ? data.probability[run][item] : target === data.true[item] ? data.trueProbability[run][item] : undefined;
  const kind = role !== "predicted" ? "" : isWrong(item, run) ? "wrong" : "right";
  // Beside other runs there is little room: a sign stands for the word.
  const word = data.runs.length === 1 || !kind ? role : kind === "wrong" ? "✗" : "✓";
  return make("div", { class: `said ${kind}` }, make("span", { title: className(target) }, `${word} `, make("bdi", {}, className(target))),
    ...(share === undefined ? [] : [make("span", {}, share.toFixed(2)), make("div", { class: "bar", "--share": share })]));
}

/** Which rows of maps a run has: the roles the view asks for, then classes that were asked for by number. */
function rolesOf(shard, item, run, xs = state.x, ls = state.l) {
  const predicted = data.predicted[run][item];
  if (state.maps === "difference") return [["difference", predicted]];
  const keys = xs.flatMap((x) => ls.map((l) => keyOf(run, x, l)));
  const asked = state.maps === "both" ? keys.flatMap((key) => [...(shard.cells[cellAt.get(key)]?.rows.get(item)?.asked.keys() || [])]) : [];
  return [
    ...(state.maps !== "true" ? [["predicted", predicted]] : []),
    ...(state.maps !== "predicted" ? [["true", data.true[item]]] : []),
    ...[...new Set(asked)].map((target) => ["asked", target]),
  ];
}

/** The value that is drawn as 1: of a map (0), of all maps that are shown of an image, or of all images. */
function scaleOf(shard, item, shown) {
  if (state.scale === "map") return 0;
  const key = state.maps === "difference" ? "difference" : state.sign === "signed" ? "magnitude" : "top";
  const raw = shown.filter((one) => !data.cells[cellAt.get(keyOf(...one))]?.picture);
  return Math.max(0, ...raw.map((one) => (state.scale === "shared" ? data.cells[cellAt.get(keyOf(...one))]?.[key] : mapFor(shard, item, ...one)?.top) || 0));
}

/** All maps that a card shows: run, explainer, layer, and with a shard the role and its class. */
const mapsOf = (shard, item) => state.m.flatMap((run) => state.x.flatMap((x) => state.l.flatMap((l) => (shard ? rolesOf(shard, item, run) : [[]]).map((role) => [run, x, l, ...role]))));

/** A map with its largest value; nothing where none was made. */
function tile(shard, item, [run, x, l, role, target], scale, label = "", draw = canvas) {
  const again = state.maps === "both" && role === "true" && data.predicted[run][item] === data.true[item];
  const found = again ? { words: "same class, same map" } : mapFor(shard, item, run, x, l, role, target);
  if (!found || (again && !mapFor(shard, item, run, x, l, role, target))) return undefined;
  const about = role === "difference" ? "predicted minus true class" : `for ${role} class ${className(target)}`;
  const top = found.words ? "" : found.cell.picture ? "0 to 1" : (found.signed ? "±" : "") + figure(found.top);
  const shown = found.words ? make("div", { class: again || found.quiet ? "blank quiet" : "blank" }, found.words)
    : draw(`${x} at ${l} ${about}: ${found.cell?.picture ? "a finished picture of the library" : `largest raw value ${top}`}, largest in ${placeOf(found)}`, (context) => paintMap(context, shard, item, found, scale), found);
  return make("figure", { class: "map", "data-map": keyOf(run, x, l) + role }, shown, make("figcaption", {}, [label, top].filter(Boolean).join(" ")));
}

function group(shard, item, run, scale) {
  const element = make("div", { class: "group" }, data.runs.length > 1 ? make("h4", { title: data.runs[run] }, ...broken(data.runs[run])) : "");
  for (const [role, target] of rolesOf(shard, item, run)) {
    // Explainers of one layer stand side by side, to be compared.
    const layers = state.l.map((l) => [l, state.x.map((x) => tile(shard, item, [run, x, l, role, target], scale, state.x.length > 1 ? x : "")).filter(Boolean)]);
    const found = layers.filter(([, tiles]) => tiles.length);
    element.append(saidLine(item, run, role, target), make("div", { class: "row" }, ...found.map(([l, tiles]) => make("div", { class: "maps", "--tiles": tiles.length },
      state.l.length > 1 ? make("div", { class: "by", title: l }, l) : "", ...tiles)), found.length ? "" : soft("no map of this image")));
  }
  return element;
}

/** What stands in a card. */
function contents(shard, item) {
  const scale = scaleOf(shard, item, mapsOf(shard, item));
  const caption = make("figcaption", {}, make("bdi", {}, data.files[item]));
  if (state.scale === "image" && scale > 0) caption.append(make("br"), `scale: 1 = ${figure(scale)}`);
  const mark = make("button", { type: "button", class: "mark", "data-act": "m", "data-id": data.ids[item], "aria-label": `mark test image ${data.ids[item]}` }, "☆");
  const link = make("a", { href: hashOf({ ...state, img: String(data.ids[item]) }), "aria-label": `open test image ${data.ids[item]}` }, `#${data.ids[item]}`);
  const picture = canvas(wordsOf(item), (context) => paintPicture(context, shard, item));
  return [
    make("h3", {}, headline(item), make("span", { class: "tools" }, mark, link)),
    make("div", { class: "body" }, make("figure", { class: "picture" }, picture, caption),
      make("div", { class: "groups" }, ...(data.cells.length ? state.m.map((run) => group(shard, item, run, scale)) : [make("p", { class: "note" }, "No maps were computed.")]))),
  ];
}

async function fill(card, wanted = () => true) {
  if (card.childElementCount) return;
  const item = Number(card.dataset.item);
  try {
    const shard = await need(item);
    if (card.isConnected && !card.childElementCount && wanted()) { card.replaceChildren(...contents(shard, item)); marked(); }
  } catch (error) {
    card.replaceChildren(make("p", { class: "note bad" }, `${wordsOf(item)}. ${error.message || "The pictures could not be read."}`));
  }
  card.style.minHeight = "";
}

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    target.near = isIntersecting;
    if (isIntersecting) fill(target, () => target.near); // it may have gone before its pictures came
    else if (target.childElementCount && !target.contains(document.activeElement)) {
      target.style.minHeight = `${target.offsetHeight}px`;
      target.replaceChildren();
    }
  }
}, { rootMargin: "10px" });

const shell = (item) => make("article", { class: "card", id: `i${data.ids[item]}`, "data-item": item, "aria-label": wordsOf(item), tabindex: -1 });
