// --- one image: all layers and explainers (or models), one cursor, two maps over each other ---------------------

const dialog = $("one");
let panels = []; // pictures that share the cursor, and the maps whose values they tell
let shown = []; // the picture and the maps of the table, to be laid over each other
let opening = ""; // the map that was clicked
let cursor; // in 0..1 along and down

function openImage(item, push = true, map = "") {
  state.img = String(data.ids[item]);
  opening = map;
  writeHash(push);
  showImage();
}

/** The next or the previous image of those that match. */
function step(by) {
  const at = list.indexOf(ids.get(Number(state.img)));
  if (list.length) openImage(list[(Math.max(at, by > 0 ? -1 : 0) + by + list.length) % list.length], false);
}

const quoted = (text) => (/^[\w./:+=@-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** What to type so that the maps of just this image are made. */
function commandOf(item) {
  const several = (option, values) => values.map((value) => `${option} ${quoted(value)} `).join("");
  const runs = (state.rows === "models" ? all.m : [state.of]).map((run) => data.names[run]);
  return `bench explain ${several("--run", runs)}--ids ${data.ids[item]} ${several("--explainer", all.x)}${several("--layer", all.l)}`.trim();
}

/** Rows of the table of maps: explainers of one model, or models by one explainer. */
function rowsOf() {
  const models = state.rows === "models";
  const others = models ? all.x : data.runs;
  state.of = clamp(Math.round(state.of), 0, Math.max(0, others.length - 1));
  options($("one-of"), others, state.of);
  return models ? all.m.map((run) => ({ text: data.runs[run], run, x: all.x[state.of] })) : all.x.map((x) => ({ text: x, run: state.of, x }));
}

function options(element, texts, chosen) {
  element.replaceChildren(...texts.map((text, k) => make("option", { value: k }, text)));
  element.value = chosen;
  element.hidden = texts.length < 2;
}

function probabilities(shard, item) {
  return known(item).map((run) => {
    const at = (item - shard.first) * shard.most;
    const rows = [...shard.topClass[run].subarray(at, at + shard.most)].map((k, n) => [k, shard.topShare[run][at + n] / 65535]);
    const kept = rows.filter(([k], n) => k < 65535 && (n < 5 || k === data.true[item]));
    return make("table", { class: "shares" }, make("caption", {}, data.runs.length > 1 ? data.runs[run] : "probabilities"),
      make("tbody", {}, ...kept.map(([k, share]) => make("tr", { class: k === data.true[item] ? "right" : k === data.predicted[run][item] ? "wrong" : "" },
        make("th", { scope: "row" }, make("bdi", {}, className(k)), k === data.true[item] ? soft(" true") : ""),
        make("td", {}, make("div", { class: "bar", "--share": share })), make("td", {}, share.toFixed(3))))));
  });
}

/** A picture that takes part in the common cursor: `found` has the values under it. */
function panel(label, paint, found) {
  const element = canvas(label, paint);
  const told = make("output", { class: "under", "aria-hidden": "true" });
  const move = (event) => {
    const box = element.getBoundingClientRect();
    point((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  };
  element.addEventListener("pointermove", move);
  element.addEventListener("pointerdown", move);
  panels.push({ told, found });
  return make("div", { class: "panel" }, element, make("i", { class: "cross" }), told);
}

function point(u, v) {
  cursor = [clamp(u, 0, 0.9999), clamp(v, 0, 0.9999)];
  dialog.style.setProperty("--u", cursor[0]);
  dialog.style.setProperty("--v", cursor[1]);
  dialog.classList.add("pointed");
  for (const { told, found } of panels) {
    if (found) told.textContent = figure(found.values[Math.floor(cursor[1] * found.cell.height) * found.cell.width + Math.floor(cursor[0] * found.cell.width)]);
  }
}

/** What is laid over each other at first: two explainers at one layer, the last that has them, else the picture and a map. */
function pairOf() {
  const every = [...shown.keys()].filter((k) => shown[k].found).reverse();
  const maps = [...every.filter((k) => shown[k].role !== "true"), ...every];
  for (const b of maps) {
    const a = maps.find((k) => k < b && shown[k].l === shown[b].l && shown[k].role === shown[b].role && shown[k].x !== shown[b].x);
    if (a) return [a, b];
  }
  return [0, Math.min(1, shown.length - 1)];
}

/** Two maps in one picture: the left part of one and the right part of the other, or one through the other. */
function overlay(shard, item, scale) {
  $("one-over").hidden = shown.length < 2;
  if (shown.length < 2) return;
  const first = pairOf();
  const [a, b] = ["a", "b"].map((key, k) => {
    const at = state[key] < 0 ? first[k] : clamp(Math.round(state[key]), 0, shown.length - 1);
    options($(`one-${key}`), shown.map(({ text }) => text), at);
    return shown[at];
  });
  const second = make("canvas", { width: PIXELS, height: PIXELS });
  const paint = (context, { found }) => (found ? paintMap(context, shard, item, found, scale) : paintPicture(context, shard, item));
  $("one-pair").replaceChildren(panel(`${a.text} and ${b.text} in one picture`, (context) => {
    paint(second.getContext("2d"), b);
    paint(context, a);
    const from = state.mode === "swipe" ? (PIXELS * state.mix) / 100 : 0;
    context.globalAlpha = state.mode === "blend" ? state.mix / 100 : 1;
    if (from < PIXELS) context.drawImage(second, from, 0, PIXELS - from, PIXELS, from, 0, PIXELS - from, PIXELS);
    context.globalAlpha = 1;
  }));
}

/** The dialog's words and pictures, anew. */
async function showImage() {
  const item = ids.get(Number(state.img));
  if (state.img !== "" && item === undefined) {
    $("status").textContent = `This page has no image ${state.img}.`;
    $("errors").scrollIntoView();
    state.img = "";
  }
  if (state.img === "") return dialog.open && dialog.close();
  const shard = await need(item).catch((error) => { $("status").textContent = error.message; });
  if (!shard || state.img !== String(data.ids[item])) return;
  [panels, shown] = [[], [{ text: "picture" }]];
  if (opening) {
    const [run, x] = JSON.parse(opening.slice(0, opening.lastIndexOf("]") + 1));
    state.of = state.rows === "models" ? all.x.indexOf(x) : run;
  }
  const rows = rowsOf().map((row) => ({ ...row, roles: rolesOf(shard, item, row.run, all.x, all.l) }));
  const every = rows.flatMap(({ run, x, roles }) => all.l.flatMap((l) => roles.map(([role, target]) => [run, x, l, role, target])));
  const scale = scaleOf(shard, item, every);
  const draw = (text, [run, x, l, role]) => (label, paint, found) => { shown.push({ text, found, x, l, role, key: keyOf(run, x, l) + role }); return panel(label, paint, found); };
  $("one-at").textContent = list.includes(item) ? `${grouped(list.indexOf(item) + 1)} of ${grouped(list.length)}` : "not in this selection";
  $("one-title").replaceChildren(headline(item), make("span", { class: "id" }, `#${data.ids[item]}`));
  $("one-left").replaceChildren(panel(wordsOf(item), (context) => paintPicture(context, shard, item)), make("p", { class: "soft" }, make("bdi", {}, data.files[item]), state.scale === "image" ? ` scale: 1 = ${figure(scale)}` : ""));
  $("one-shares").replaceChildren(...probabilities(shard, item));
  $("one-maps").replaceChildren(...rows.flatMap((row) => row.roles.map(([role, target]) => make("tr", {}, make("th", { scope: "row" }, name(row.text), saidLine(item, row.run, role, target)),
    ...all.l.map((l) => {
      const one = [row.run, row.x, l, role, target];
      return make("td", {}, tile(shard, item, one, scale, "", draw([row.text, l, state.maps === "both" ? role : ""].join(" "), one)) || soft("–"));
    })))));
  const clickedAt = shown.findIndex((one) => one.key === opening);
  if (clickedAt > 0) state.a = clickedAt;
  opening = "";
  overlay(shard, item, scale);
  $("one-command").textContent = commandOf(item);
  $("one-looks").append($("looks"));
  refresh();
  if (!dialog.open) dialog.showModal();
  if (cursor) point(...cursor);
}

/** Tab stays within: the browser's own frame is left out of the round. */
function trap(event) {
  if (event.key !== "Tab") return;
  const stops = [...dialog.querySelectorAll("button, select, input, [tabindex='0']")].filter((one) => one.offsetParent);
  const end = event.shiftKey ? stops[0] : stops.at(-1);
  if (document.activeElement !== end) return;
  event.preventDefault();
  (event.shiftKey ? stops.at(-1) : stops[0]).focus();
}

dialog?.addEventListener("keydown", trap);
dialog?.addEventListener("close", () => {
  const card = $(`i${state.img}`);
  $("looks-place").append($("looks"));
  state.img = "";
  writeHash();
  if (card) fill(card).then(() => (card.querySelector("h3 a") || card).focus());
});
