// --- controls, keys, the page of cards ---------------------------------------------------------------------------

const DRAWN = ["opacity", "colours", "marks"]; // what changes no more than how maps are painted
let queued = 0;

/** The one way in which the state changes. */
function change(values) {
  const keys = Object.keys(values);
  if (keys.some((key) => key in TESTS || ["from", "to", "sort", "pair"].includes(key))) state.page = 1;
  Object.assign(state, values);
  cancelAnimationFrame(queued);
  queued = requestAnimationFrame(() => {
    if (keys.every((key) => DRAWN.includes(key))) repaint();
    else if (dialog.open && keys.every((key) => ["rows", "of", "mode", "a", "b", "mix"].includes(key))) showImage();
    else build();
  });
  writeHash();
}

function build() {
  choose();
  const pages = Math.max(1, Math.ceil(list.length / PER_PAGE));
  state.page = clamp(Math.round(state.page), 1, pages);
  const start = (state.page - 1) * PER_PAGE;
  const items = list.slice(start, start + PER_PAGE);
  const focused = document.activeElement?.closest?.(".card")?.id;
  watcher.disconnect();
  measure();
  $("grid").replaceChildren(...items.map(shell));
  [...$("grid").children].forEach((card, k) => { // the first one stays, wherever the window is
    if (k < 1) fill(card); else watcher.observe(card);
  });
  if (focused) $(focused)?.focus({ preventScroll: true });
  $("status").textContent = list.length ? `${grouped(start + 1)}–${grouped(start + items.length)} of ${grouped(list.length)} that match` : "No image matches these filters.";
  $("pager").hidden = pages < 2;
  $("pager").firstChild.disabled = state.page < 2;
  $("pager").lastChild.disabled = state.page >= pages;
  $("pages").textContent = `page ${state.page} of ${grouped(pages)}`;
  legend();
  refresh();
  writeHash();
  if (dialog.open || state.img) showImage();
}

function repaint() {
  legend();
  refresh();
  document.querySelectorAll("#grid canvas, #one canvas").forEach((element) => painters.get(element)?.());
}

/** Card widths follow from how many maps stand side by side. */
function measure() {
  const wide = state.x.length * state.l.length || 1;
  const runs = state.m.length;
  const width = Math.max(data.runs.length > 1 ? 118 : 150, wide * 80 + (wide - 1) * 6 + (state.l.length - 1) * 6);
  const picture = clamp(width, 132, 180);
  const sizes = { cols: wide, group: `${Math.min(width, 940)}px`, picture: `${picture}px`, wide: `${Math.min(1180, 34 + picture + 16 + runs * width + (runs - 1) * 12)}px` };
  for (const [key, value] of Object.entries(sizes)) $("grid").style.setProperty(`--${key}`, value);
  for (const id of ["grid", "one"]) $(id).classList.toggle("raw", state.grid === "raw");
}

/** One colour bar, with the numbers that its ends stand for. */
function legend() {
  const difference = state.maps === "difference";
  const signed = difference || state.sign === "signed";
  const ramp = $("legend").querySelector("canvas");
  ramp.getContext("2d").putImageData(new ImageData(colour(Float64Array.from({ length: 256 }, (_, i) => i / 256), table(signed)), 256, 1), 0, 0);
  const top = state.scale === "shared" ? scaleOf(null, -1, mapsOf()) : 1;
  const ends = (signed ? [-top, 0, top] : [0, top / 2, top]).map((v) => figure(v).replace("-", "−"));
  const marks = difference ? [`${ends[0]} true`, "0", `predicted ${ends[2]}`] : ends;
  ramp.setAttribute("aria-label", `colour bar, ${signed ? "diverging, 0 in the middle" : state.colours}, ${ends[0]} to ${ends[2]}`);
  [...$("legend").querySelectorAll(".marks span")].forEach((mark, k) => { mark.textContent = marks[k]; });
  const unit = difference ? "difference" : "value";
  $("legend").querySelector("p").textContent = { map: `× the map’s largest ${unit}, given under it`, image: `× the image’s largest ${unit}, under its picture`, shared: `raw ${unit}, the same for all images` }[state.scale];
}

// --- controls: elements with the name of a value of the state

const texts0 = new Map(); // what options say without their counts

/** Brings the controls in line with the state; options say how many images each would leave. */
function refresh() {
  for (const element of document.querySelectorAll("[data-key]")) {
    const { key, scale } = element.dataset;
    if (element.tagName === "BUTTON") {
      element.setAttribute("aria-pressed", [state[key]].flat().map(String).includes(element.value));
      continue;
    }
    const counts = VALUES[key] && tally(key);
    for (const option of counts ? element.options : []) {
      if (!texts0.has(option)) texts0.set(option, option.textContent);
      option.textContent = `${texts0.get(option)} (${grouped(counts.get(option.value) || 0)})`;
    }
    if (state[key] !== -1 && element.value !== String(state[key])) element.value = state[key];
    if (counts) element.parentElement.classList.toggle("set", element.value !== "");
    const told = element.parentElement.querySelector(".value");
    if (told) told.textContent = scale ? (state[key] / scale).toFixed(2) : state[key];
  }
  // A difference is signed and has its own colours: what would change nothing is not offered.
  const difference = state.maps === "difference";
  $("looks").querySelector("[data-key=sign]").closest(".choice").hidden = difference;
  $("looks").querySelector("[data-key=colours]").parentElement.hidden = difference || state.sign === "signed";
  marked();
}

function press(element) {
  const { key } = element.dataset;
  if (!Array.isArray(DEFAULTS[key])) return change({ [key]: element.value });
  const on = state[key].map(String).includes(element.value);
  const chosen = all[key].filter((one) => (String(one) === element.value ? !on : state[key].includes(one)));
  if (chosen.length) change({ [key]: chosen }); // one column always stays
}

const cycled = (key, choices = CHOICES[key]) => change({ [key]: choices[(choices.indexOf(state[key]) + 1) % choices.length] });
const turned = (by) => { change({ page: state.page + by }); $("status").scrollIntoView({ block: "center" }); };

/** What keys and buttons do. */
const ACTIONS = {
  j: () => move(1), k: () => move(-1), "<": () => turned(-1), ">": () => turned(1),
  r: () => { const item = list[Math.floor(Math.random() * list.length)]; if (dialog.open) openImage(item, false); else if (list.length) reach(item); },
  "/": () => { if (dialog.open) dialog.close(); $("filtering").open = true; $("search").focus(); },
  t: () => cycled("maps", CHOICES.maps.slice(0, 3)), d: () => change({ maps: state.maps === "difference" ? "both" : "difference" }),
  s: () => cycled("scale"), g: () => cycled("sign"), c: () => cycled("colours"), p: () => cycled("grid"),
  o: () => change({ opacity: Math.max(0, state.opacity - 10) }), O: () => change({ opacity: Math.min(100, state.opacity + 10) }),
  m: (card = currentCard()) => mark(dialog.open ? state.img : card?.id.slice(1)), ids: () => copy(`--ids ${state.marks}`, "ids copied"),
  y: () => copy(location.href, "link copied"), "?": help,
  clear: () => change(NONE), command: () => copy($("one-command").textContent, "command copied"), close: () => (document.querySelector("#help[open]") || dialog).close(),
};
for (const [arrow, key] of Object.entries({ ArrowRight: "j", ArrowDown: "j", ArrowLeft: "k", ArrowUp: "k" })) ACTIONS[arrow] = ACTIONS[key];

/** All keys; not in the document until it is asked for. */
function help() {
  const box = $("help");
  if (box.open) return box.close();
  box.replaceChildren($("help-words").content.cloneNode(true));
  return box.showModal();
}

/** Marks an image for `--ids`, or takes the mark away. */
function mark(id) {
  const ids = state.marks.split(",").filter(Boolean);
  if (id) change({ marks: (ids.includes(id) ? ids.filter((one) => one !== id) : [...ids, id]).join(",") });
}

/** Shows which images are marked. */
function marked() {
  const ids = state.marks.split(",").filter(Boolean);
  $("marks").hidden = !ids.length;
  $("marks").querySelector("span").textContent = `${ids.length} marked:`;
  $("marks").querySelector("code").textContent = `--ids ${state.marks}`;
  for (const one of document.querySelectorAll("[data-act=m]")) {
    const on = ids.includes(one.dataset.id || state.img);
    one.setAttribute("aria-pressed", on);
    one.textContent = on ? "★" : "☆";
  }
}

const currentCard = () => document.activeElement?.closest?.(".card");

function move(by) {
  if (dialog.open) return step(by);
  const here = currentCard() ? list.indexOf(Number(currentCard().dataset.item)) + by : (state.page - 1) * PER_PAGE;
  if (here >= 0 && here < list.length) reach(list[here]);
}

/** Brings an image onto the page and into sight. */
async function reach(item) {
  const page = Math.floor(list.indexOf(item) / PER_PAGE) + 1;
  if (page !== state.page || !$(`i${data.ids[item]}`)) { state.page = page; build(); }
  const card = $(`i${data.ids[item]}`);
  await fill(card);
  card.focus({ preventScroll: true });
  card.scrollIntoView({ block: "nearest" });
  return card;
}

const STEPS = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };

/** Arrows walk over the numbers of a table, Enter follows one; all of them are one stop of the tab key. */
function walk(from, key) {
  const [down, right] = STEPS[key];
  let to = from;
  do to = from.closest("table").rows[to.parentElement.rowIndex + down]?.cells[to.cellIndex + right]; while (to && !to.dataset.link);
  if (to) { from.tabIndex = -1; to.tabIndex = 0; to.focus(); }
}

function keyed(event) {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, select") || ($("help").open && key !== "?")) return;
  const card = currentCard();
  const number = target.closest("[data-link]");
  if (number && key === "Enter") link(number.dataset.link);
  else if (number && STEPS[key]) walk(number, key);
  else if (key.startsWith("Arrow") && !card && !dialog.open) return; // arrows scroll until an image is taken up
  else if (key === "Enter" && target === card) openImage(Number(card.dataset.item));
  else if (/^[1-9]$/.test(key)) { const one = $("columns").querySelectorAll("button")[key - 1]; if (one) press(one); }
  else if (key.length === 1 || key.startsWith("Arrow")) { if (!ACTIONS[key]) return; ACTIONS[key](); }
  else return;
  event.preventDefault();
}

function clicked(event) {
  const one = event.target.closest?.("button[data-key], button[data-act], main a[href*='='], [data-link], .card canvas");
  if (!one || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const card = one.closest(".card");
  if (one.dataset.key) press(one);
  else if (one.dataset.act) ACTIONS[one.dataset.act](card || undefined);
  else { event.preventDefault(); if (card) openImage(Number(card.dataset.item), true, one.closest(".map")?.dataset.map); else link(one.hash || one.dataset.link); }
}

/** Tables that are wider than their frame: a line becomes a list, each figure beside the head of its column. */
let printing = false; // on paper every column gets narrower instead
function fold() {
  for (const table of document.querySelectorAll(".frame > table:not(.confusion, .panels)")) {
    const frame = table.parentElement;
    table.classList.remove("folded");
    if (printing || !table.tHead || !frame.clientWidth || frame.scrollWidth <= frame.clientWidth + 1) continue; // or in a closed part
    const heads = [...table.tHead.rows[0].cells].map((head) => head.firstChild?.textContent.trim() || "");
    for (const body of table.tBodies) for (const row of body.rows) for (const cell of row.cells) cell.dataset.head = heads[cell.cellIndex];
    table.classList.add("folded");
  }
}

// --- addresses

/** Links of tables change what they name, clear the other filters, and leave how maps are shown. */
function link(hash) {
  const named = new URLSearchParams(hash.slice(1));
  const kept = { ...state, ...NONE, page: 1 };
  readHash(hash);
  for (const key of named.keys()) kept[key] = state[key];
  Object.assign(state, kept);
  writeHash(true);
  build();
  $("errors").scrollIntoView();
}

/** Brings what the address says: a view, or the image of a link like #i3021. */
function follow() {
  const id = /^#i(\d+)$/.exec(location.hash)?.[1];
  const item = ids.get(Number(id));
  if (item !== undefined) {
    if (!list.includes(item)) { Object.assign(state, NONE); build(); }
    return reach(item).then((card) => {
      document.querySelectorAll(".card.here").forEach((other) => other.classList.remove("here"));
      card.classList.add("here");
      card.scrollIntoView();
    });
  }
  if (!location.hash.includes("img=") && dialog.open) dialog.close();
  if (!location.hash.includes("=")) return undefined;
  readHash(location.hash);
  build();
  if (!state.img) $("errors").scrollIntoView();
  return undefined;
}

function start() {
  Object.defineProperty(state, "pair", { // both classes at once, of the pairs that the list has
    get: () => ([...document.querySelector("[data-key=pair]").options].some((one) => one.value === `${state.true},${state.pred}`) ? `${state.true},${state.pred}` : ""),
    set: (value) => { [state.true, state.pred] = value ? value.split(",") : ["", ""]; },
  });
  if (innerWidth < 640) $("filtering").open = false;
  for (const id of ["filtering", "columns", "keys", "looks"]) $(id).hidden = id === "looks" && !data.cells.length;
  if (!location.hash.includes("=")) build();
  follow();
  addEventListener("hashchange", follow);
  addEventListener("keydown", keyed);
  addEventListener("click", clicked);
  addEventListener("input", ({ target }) => {
    const { key } = target.dataset;
    if (key) change({ [key]: typeof DEFAULTS[key] === "number" ? Number(target.value) : target.value });
  });
  addEventListener("beforeprint", () => document.querySelectorAll(".card").forEach((card) => fill(card)));
}

theme();
const put = (one) => one.replaceWith(one.content);
document.querySelectorAll("details > template").forEach((one) => one.parentElement.addEventListener("toggle", () => one.isConnected && put(one), { once: true }));
addEventListener("beforeprint", () => {
  printing = true;
  document.querySelectorAll("details > template").forEach(put);
  document.querySelectorAll("details:not([open])").forEach((one) => { one.open = true; one.dataset.shut = ""; });
  fold();
});
addEventListener("afterprint", () => {
  printing = false;
  document.querySelectorAll("[data-shut]").forEach((one) => { one.open = false; delete one.dataset.shut; });
  fold();
});
/** What a word means, beside the word that is pointed at or reached by keyboard. */
const tip = make("div", { id: "tip", role: "tooltip", hidden: "" });
document.body.append(tip);
function explain({ target }) {
  const term = target.closest?.(".term") || document.activeElement.closest(".term"); // a page that scrolls moves under the pointer
  if (target === tip) return; // what it says may be pointed at, too
  tip.hidden = !term;
  if (!term) return;
  tip.textContent = $(term.hash.slice(1)).lastChild.textContent;
  const box = term.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(box.left, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${box.bottom + tip.offsetHeight + 12 < innerHeight ? box.bottom : box.top - tip.offsetHeight}px`;
}
addEventListener("keydown", ({ key }) => { if (key === "Escape") tip.hidden = true; });
for (const kind of ["mouseover", "focusin"]) addEventListener(kind, explain);
fold();
addEventListener("toggle", () => requestAnimationFrame(fold), true);
addEventListener("resize", () => requestAnimationFrame(fold));
const sections = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const entry = document.querySelector(`#contents a[href="#${target.getAttribute("aria-labelledby")}"]`);
    if (isIntersecting) entry?.setAttribute("aria-current", "true"); else entry?.removeAttribute("aria-current");
  }
}, { rootMargin: "-20% 0px -70%" });
document.querySelectorAll("main > section, footer > section").forEach((one) => sections.observe(one));
if (data.ids.length) start();
// Ready is what tests and prints wait for: the first cards have their pictures.
Promise.resolve(list.length && need(list[0]).catch(() => 0)).then(() => setTimeout(() => { document.documentElement.dataset.ready = "true"; }, 50));
