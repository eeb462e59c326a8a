// What all parts of the page use: its data, and elements whose text is text.
const data = JSON.parse(document.getElementById("data").textContent);
const statuses = ["all", "assigned", "reviewed", "review", "novel", "duplicate", "failed"].filter((one) => one !== "reviewed" || data.counts.reviewed);
const find = (id) => document.getElementById(id);
const names = new Intl.Collator("en", { numeric: true });
const decisionWords = { accept: "accepted", relabel: "labelled", reject: "rejected", skip: "skipped" };
const served = location.protocol !== "file:";

// What is looked at: the tab, the overlay, the filtered rows, and the place among them.
const state = { tab: "refused", layer: "none", rows: [], at: 0 };
const cardsById = new Map(data.cards.map((card) => [card.image_id, card]));
// Members of clusters that have no card.
const tiles = data.clusters.flatMap((cluster) => cluster.tiles.map((one) => ({ ...one, cluster: cluster.cluster })));
const clusters = new Map(data.clusters.map((cluster) => [cluster.cluster, cluster]));

// Everything from the data goes in as text: a label may look like markup.
function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function button(text, action, className) {
  const element = make("button", className, text);
  element.type = "button";
  element.addEventListener("click", action);
  return element;
}

function percent(value, digits = 1) {
  if (value === null) return "–";
  const scale = 10 ** digits;
  // What is not certain must not be rounded to 100%.
  const shown = value < 1 ? Math.min(100 - 1 / scale, 100 * value) : 100;
  return shown.toFixed(digits) + "%";
}

function plural(count, word) {
  return `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
}

// Short messages for eyes and screen readers alike.
function say(text, alarm = false) {
  // In the focus view the rest of the page is out of reach.
  for (const place of [find("said"), find("focus-said")]) {
    place.textContent = text;
    place.classList.toggle("alarm", alarm);
  }
}

// The key of a button, for eyes only: its name is what it does.
function keyCap(key) {
  const cap = make("kbd", "", key);
  cap.setAttribute("aria-hidden", "true");
  return cap;
}
