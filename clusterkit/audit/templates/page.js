"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const statuses = ["all", "assigned", "review", "novel", "duplicate", "failed"];
const filters = ["class", "cluster", "group"];
const state = { status: "all", layer: "none" };
const find = (id) => document.getElementById(id);
const names = new Intl.Collator("en", { numeric: true });
const chunk = 24;

// Everything from the data goes in as text: a label may look like markup.
function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function percent(value, digits = 1) {
  if (value === null) return "–";
  const scale = 10 ** digits;
  // What is not certain must not be rounded to 100%.
  const shown = value < 1 ? Math.min(100 - 1 / scale, 100 * value) : 100;
  return shown.toFixed(digits) + "%";
}

function photo(source, className, alt) {
  const image = make("img", className);
  image.loading = "lazy";
  image.decoding = "async";
  image.alt = alt;
  image.src = source;
  return image;
}

// One picture with its overlays' paths; `lay` puts the chosen one over it.
function picture(plain, overlays, alt) {
  const box = make("div", "picture");
  if (!plain) {
    box.append(make("span", "", "no picture"));
    return box;
  }
  const image = photo(plain, "", alt);
  image.addEventListener("error", () => box.replaceChildren(make("span", "", "picture not found")));
  box.append(image);
  box.overlays = overlays;
  lay(box);
  return box;
}

function lay(box) {
  if (!box.overlays) return;
  for (const old of box.querySelectorAll(".over, .note")) old.remove();
  if (state.layer === "none") return;
  const source = box.overlays[state.layer];
  box.append(source ? photo(source, "over", "") : make("div", "note", "no overlay"));
}

function captioned(box, ...lines) {
  const figure = make("figure");
  const caption = make("figcaption");
  for (const line of lines) caption.append(make("div", "", line));
  figure.append(box, caption);
  return figure;
}

function pair(card) {
  const box = make("div", "pair");
  const own = { cam: card.cam, classifier_cam: card.classifier_cam };
  box.append(captioned(picture(card.thumb, own, "this image"), "this image"));
  if (card.nearest_image) {
    const nearest = picture(card.nearest_thumb, { cam: card.nearest_cam }, "nearest labelled image");
    const similar = `${percent(card.nearest_similarity)} similar`;
    box.append(captioned(nearest, `nearest labelled: ${card.nearest_label}, ${similar}`));
  }
  return box;
}

function meter(card) {
  const box = make("div", "confidence");
  const bar = make("div", "meter");
  bar.setAttribute("aria-hidden", "true");
  const fill = make("b");
  fill.style.width = percent(card.confidence || 0);
  bar.append(fill);
  const numbers = make("div", "numbers");
  numbers.append(make("span", "", "confidence "), make("b", "", percent(card.confidence, 2)));
  if (data.threshold !== null) {
    const mark = make("i");
    mark.style.left = percent(Math.min(1, data.threshold));
    if (data.threshold <= 1) bar.append(mark);
    const limit = data.threshold <= 1 ? `assigned from ${percent(data.threshold, 2)}` : "none is assigned";
    numbers.append(make("span", "limit", limit));
  }
  box.append(bar, numbers);
  return box;
}

function filterButton(text, id, value) {
  const button = make("button", "", text);
  button.type = "button";
  button.dataset.filter = id;
  button.dataset.value = String(value);
  button.setAttribute("aria-pressed", String(find(id).value === String(value)));
  return button;
}

function chips(card) {
  const box = make("div", "chips");
  if (card.label_set.length) box.append(make("span", "lead", card.label_set.length > 1 ? "could be" : "only"));
  for (const label of card.label_set) box.append(make("span", "chip", label));
  if (card.cluster !== null) box.append(filterButton(`cluster ${card.cluster}`, "cluster", card.cluster));
  if (card.group) box.append(filterButton(card.group, "group", card.group));
  return box;
}

function more(card) {
  const box = make("details");
  box.append(make("summary", "", "All evidence"));
  const list = make("dl");
  const classifier = card.classifier_label && `${card.classifier_label}, ${percent(card.classifier_probability)}`;
  const rows = [
    ["classifier says", classifier],
    ["similarity to the label", percent(card.similarity)],
    ["classes compared", card.gate.join(", ")],
    ["nearest image", card.nearest_image],
    ["novelty p (small: novel)", card.novelty_p === null ? "–" : card.novelty_p.toFixed(4)],
    ["duplicate of", card.duplicate_of],
    ["group", card.group],
    ["image id", card.image_id],
  ];
  for (const [name, value] of rows) {
    if (value) list.append(make("dt", "", name), make("dd", "", value));
  }
  box.append(list);
  return box;
}

function draw(card) {
  const box = make("article", "card");
  const title = make("h3", "", card.predicted_label || "no label");
  title.append(make("span", "tag " + card.status, card.status));
  box.append(title, make("p", "file", card.image));
  if (card.status !== "failed") box.append(pair(card), meter(card));
  box.append(make("p", "reason", card.reason));
  if (card.status !== "failed") box.append(chips(card), more(card));
  return box;
}

const words = new Map(data.cards.map((card) => [card,
  [card.image, card.predicted_label, card.nearest_label, card.reason].join("\n").toLowerCase()]));
const columns = { class: "predicted_label", cluster: "cluster", group: "group" };

function matches(card) {
  return filters.every((id) => !find(id).value || String(card[columns[id]]) === find(id).value)
    && words.get(card).includes(find("search").value.trim().toLowerCase());
}

function compare(a, b) {
  const key = find("sort").value.replace("-", "");
  const sign = find("sort").value.startsWith("-") ? -1 : 1;
  if (key === "image" || a[key] === b[key]) return names.compare(a.image, b.image);
  // What has no value comes last, whichever way the rest is sorted.
  if (a[key] === null) return 1;
  if (b[key] === null) return -1;
  return (a[key] - b[key]) * sign;
}

let rows = [];
let drawn = 0;
const watcher = new IntersectionObserver((entries) => {
  if (entries.some((entry) => entry.isIntersecting)) drawMore();
}, { rootMargin: "1000px" });

function drawMore() {
  const next = rows.slice(drawn, drawn + chunk);
  find("cards").append(...next.map(draw));
  drawn += next.length;
  // Watching anew makes the watcher look again: a tall window may have room for more.
  watcher.unobserve(find("end"));
  if (drawn < rows.length) watcher.observe(find("end"));
}

function press(selector, chosen) {
  for (const button of document.querySelectorAll(selector))
    button.setAttribute("aria-pressed", String(chosen(button)));
}

function show() {
  const found = data.cards.filter(matches);
  rows = (state.status === "all" ? found : found.filter((c) => c.status === state.status)).sort(compare);
  drawn = 0;
  find("cards").replaceChildren();
  const plural = rows.length === 1 ? "image" : "images";
  find("count").textContent = rows.length ? `${rows.length.toLocaleString("en")} ${plural}` : "No image matches these filters.";
  for (const button of document.querySelectorAll("[data-status]")) {
    const status = button.dataset.status;
    const count = status === "all" ? found.length : found.filter((c) => c.status === status).length;
    button.lastChild.textContent = count.toLocaleString("en");
  }
  press("[data-status]", (button) => button.dataset.status === state.status);
  find("clear").disabled = state.status === "all" && !find("search").value && filters.every((id) => !find(id).value);
  drawMore();
}

function showLayer() {
  press("[data-layer]", (button) => button.dataset.layer === state.layer);
  find("opacity").disabled = state.layer === "none";
  for (const box of document.querySelectorAll(".picture")) lay(box);
}

function options(id, order) {
  const counts = new Map();
  for (const card of data.cards) {
    const value = card[columns[id]];
    if (value !== null && value !== "") counts.set(value, (counts.get(value) || 0) + 1);
  }
  const select = find(id);
  const option = (value, text) => {
    const element = make("option", "", text);
    element.value = value;
    return element;
  };
  select.append(option("", "any"));
  for (const value of [...counts.keys()].sort(order)) select.append(option(String(value), `${value} (${counts.get(value)})`));
  select.disabled = counts.size === 0;
  select.addEventListener("change", show);
}

for (const status of statuses) {
  const button = make("button", "", status[0].toUpperCase() + status.slice(1) + " ");
  button.append(make("b"));
  button.type = "button";
  button.dataset.status = status;
  button.addEventListener("click", () => { state.status = status; show(); });
  find("tabs").append(button);
}
options("class", names.compare);
options("cluster", (a, b) => a - b);
options("group", names.compare);
find("sort").addEventListener("change", show);

let waiting = 0;
find("search").addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(show, 150);
});
find("clear").addEventListener("click", () => {
  for (const id of [...filters, "search"]) find(id).value = "";
  state.status = "all";
  show();
  find("search").focus({ preventScroll: true });
});
// A tag on a card filters by its cluster or group; pressed again, it lets go.
find("cards").addEventListener("click", (event) => {
  const button = event.target.closest("[data-filter]");
  if (!button) return;
  const select = find(button.dataset.filter);
  select.value = select.value === button.dataset.value ? "" : button.dataset.value;
  show();
  select.focus({ preventScroll: true });
  find("count").scrollIntoView();
});
find("size").addEventListener("change", (event) =>
  document.documentElement.style.setProperty("--width", event.target.value));
find("opacity").addEventListener("input", (event) => {
  document.documentElement.style.setProperty("--overlay", event.target.value / 100);
  find("strength").textContent = event.target.value + "%";
});
for (const button of document.querySelectorAll("[data-layer]"))
  button.addEventListener("click", () => { state.layer = button.dataset.layer; showLayer(); });
state.layer = data.cards.some((card) => card.cam) ? "cam" : "none";
showLayer();
show();
