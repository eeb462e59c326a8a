"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const statuses = ["all", "assigned", "review", "novel", "duplicate", "failed"];
const state = { status: "all", layer: "none" };
const find = (id) => document.getElementById(id);

// Everything from the data goes in as text: a label may look like markup.
function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

const percent = (value, digits = 1) => value === null ? "–" : (100 * value).toFixed(digits) + "%";

function picture(plain, overlay, alt) {
  const box = make("div", "picture");
  if (!plain) {
    box.append(make("span", "", "no picture"));
    return box;
  }
  const image = make("img");
  image.loading = "lazy";
  image.alt = alt;
  image.src = plain;
  box.append(image);
  if (overlay) {
    const over = make("img", "over");
    over.loading = "lazy";
    over.alt = "";
    over.src = overlay;
    box.append(over);
  }
  return box;
}

function captioned(box, text) {
  const figure = make("figure");
  figure.append(box, make("figcaption", "", text));
  return figure;
}

function pair(card) {
  const box = make("div", "pair");
  const own = state.layer === "classifier_cam" ? card.classifier_cam : card.cam;
  box.append(captioned(picture(card.thumb, own, "image to be labelled"), "this image"));
  if (card.nearest_image) {
    const nearest = state.layer === "classifier_cam" ? null : card.nearest_cam;
    const text = `nearest labelled: ${card.nearest_label}, ${percent(card.nearest_similarity)} similar`;
    box.append(captioned(picture(card.nearest_thumb, nearest, "nearest labelled image"), text));
  }
  return box;
}

function meter(card) {
  const box = make("div");
  const bar = make("div", "meter");
  const fill = make("b");
  fill.style.width = percent(card.confidence);
  bar.append(fill);
  if (data.threshold !== null) {
    const mark = make("i");
    mark.style.left = percent(data.threshold);
    bar.append(mark);
  }
  const limit = data.threshold === null ? "" : ` (assigned from ${percent(data.threshold, 2)})`;
  box.append(bar, make("div", "numbers", `confidence ${percent(card.confidence, 2)}${limit}`));
  return box;
}

function chips(card) {
  const box = make("div", "chips");
  if (card.label_set.length) box.append(make("span", "", "could be: " + card.label_set.join(", ")));
  if (card.cluster !== null) {
    const button = make("button", "", `cluster ${card.cluster}`);
    button.type = "button";
    button.addEventListener("click", () => { find("cluster").value = String(card.cluster); show(); });
    box.append(button);
  }
  if (card.group) box.append(make("span", "", card.group));
  return box;
}

function more(card) {
  const box = make("details");
  box.append(make("summary", "", "all evidence"));
  const list = make("dl");
  const rows = [
    ["classifier", `${card.classifier_label} (${percent(card.classifier_probability)})`],
    ["classes compared", card.gate.join(", ")],
    ["similarity to the label", percent(card.similarity)],
    ["nearest image", card.nearest_image],
    ["novelty p", card.novelty_p === null ? "–" : card.novelty_p.toFixed(4)],
    ["duplicate of", card.duplicate_of],
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

function wanted(card) {
  const words = find("search").value.trim().toLowerCase();
  const text = [card.image, card.predicted_label, card.nearest_label, card.reason].join(" ");
  return (state.status === "all" || card.status === state.status)
    && (!find("class").value || card.predicted_label === find("class").value)
    && (!find("cluster").value || String(card.cluster) === find("cluster").value)
    && (!find("group").value || card.group === find("group").value)
    && text.toLowerCase().includes(words);
}

function compare(a, b) {
  const key = find("sort").value.replace("-", "");
  const sign = find("sort").value.startsWith("-") ? -1 : 1;
  if (a[key] === b[key]) return a.image < b.image ? -1 : 1;
  // What has no value comes last, whichever way the rest is sorted.
  if (a[key] === null) return 1;
  if (b[key] === null) return -1;
  return (a[key] < b[key] ? -1 : 1) * sign;
}

let rows = [];
let drawn = 0;

function drawMore() {
  const next = rows.slice(drawn, drawn + 24);
  find("cards").append(...next.map(draw));
  drawn += next.length;
}

function show() {
  rows = data.cards.filter(wanted).sort(compare);
  drawn = 0;
  find("cards").replaceChildren();
  find("cards").className = "layer-" + state.layer;
  find("count").textContent = `${rows.length.toLocaleString("en")} images match`;
  for (const button of document.querySelectorAll("[data-status]"))
    button.setAttribute("aria-pressed", String(button.dataset.status === state.status));
  for (const button of document.querySelectorAll("[data-layer]"))
    button.setAttribute("aria-pressed", String(button.dataset.layer === state.layer));
  drawMore();
}

function options(id, values) {
  const select = find(id);
  const any = make("option", "", "any");
  any.value = "";
  select.append(any);
  for (const value of values) {
    const option = make("option", "", String(value));
    option.value = String(value);
    select.append(option);
  }
  select.addEventListener("change", show);
}

const distinct = (key) => [...new Set(data.cards.map((c) => c[key]))].filter((v) => v !== null && v !== "");
for (const status of statuses) {
  const count = status === "all" ? data.cards.length : data.cards.filter((c) => c.status === status).length;
  const button = make("button", "", `${status} ${count.toLocaleString("en")}`);
  button.type = "button";
  button.dataset.status = status;
  button.addEventListener("click", () => { state.status = status; show(); });
  find("tabs").append(button);
}
options("class", distinct("predicted_label").sort());
options("cluster", distinct("cluster").sort((a, b) => a - b));
options("group", distinct("group").sort());
find("sort").addEventListener("change", show);
find("search").addEventListener("input", show);
find("opacity").addEventListener("input", (event) =>
  document.documentElement.style.setProperty("--overlay", event.target.value / 100));
for (const button of document.querySelectorAll("[data-layer]"))
  button.addEventListener("click", () => { state.layer = button.dataset.layer; show(); });
new IntersectionObserver((entries) => {
  if (entries.some((entry) => entry.isIntersecting)) drawMore();
}, { rootMargin: "800px" }).observe(find("end"));
state.layer = data.cards.some((card) => card.cam) ? "cam" : "none";
show();
