// --- elements and figures ------------------------------------------------------------------------------------

const $ = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("--")) element.style.setProperty(name, value);
    else if (value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== ""));
  return element;
}

const soft = (text) => make("span", { class: "soft" }, text);
const name = (text) => make("bdi", { class: "name", title: text }, text);
/** A name that may go on in the next line behind a mark in it. */
const broken = (text) => text.split(/(?<=[_:./-])/).flatMap((part) => [part, make("wbr")]);
const grouped = (number) => number.toLocaleString("en");
const figure = (value) => {
  const magnitude = Math.abs(value);
  if (magnitude === 0) return "0";
  if (magnitude >= 0.01 && magnitude < 1000) return String(Number(value.toPrecision(2)));
  return value.toExponential(1);
};

async function copy(text, told) {
  try {
    await navigator.clipboard.writeText(text);
    $($("one").open ? "one-told" : "status").textContent = told;
  } catch { prompt("", text); } // a viewer without a clipboard
}
