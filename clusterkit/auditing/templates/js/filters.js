// Which cards are shown, in which order, a page of them at a time.
const pageSize = 48;
const filters = ["class", "cluster", "group", "done"];
const fields = { class: "predicted_label", cluster: "cluster", group: "group" };
const words = new Map(data.cards.map((card) => [card,
  [card.image, card.predicted_label, card.reason, ...card.matches.map((m) => m.label)].join("\n").toLowerCase()]));

function matches(card) {
  const done = find("done").value;
  if (done === "differ") return disagreeing.has(card.image_id) || differing(card).length > 0;
  if (done === "nobody") return isOpen(card) && !answersOf(card).length && shared(card);
  if (done && (done === "open") !== isOpen(card)) return false;
  return shared(card);
}

// The filters that are about the image, whoever has decided what.
function shared(card) {
  return Object.keys(fields).every((id) => !find(id).value || String(card[fields[id]]) === find(id).value)
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

function press(selector, chosen) {
  for (const one of document.querySelectorAll(selector)) one.setAttribute("aria-pressed", String(chosen(one)));
}

// Refused: what a person has to decide.
function inTab(card, tab) {
  if (tab === "all") return true;
  return tab === "refused" ? card.status === "review" || card.status === "novel" : card.status === tab;
}

// Filters anew and starts at the first.
function show() {
  const found = data.cards.filter(matches);
  for (const one of document.querySelectorAll("[data-tab]")) {
    const tab = one.dataset.tab;
    const count = tab === "clusters" ? shownClusters.length : found.filter((card) => inTab(card, tab)).length;
    one.lastChild.textContent = count.toLocaleString("en");
  }
  press("[data-tab]", (one) => one.dataset.tab === state.tab);
  const byCard = state.tab !== "clusters";
  document.body.dataset.view = byCard ? "cards" : "clusters";
  if (byCard) state.rows = found.filter((card) => inTab(card, state.tab)).sort(compare);
  else state.rows = shownClusters;
  const active = filters.filter((id) => find(id).value).length + (statuses.includes(state.tab) && state.tab !== "all" ? 1 : 0);
  find("filtered").textContent = active ? ` ${active}` : "";
  find("clear").disabled = byCard && state.tab === "all" && !find("search").value && !active;
  state.at = 0;
  state.ended = false;
  drawPage(0);
}

const perPage = () => (state.tab === "clusters" ? 12 : pageSize);

function clearFilters() {
  for (const id of [...filters, "search"]) find(id).value = "";
  state.tab = "all";
  show();
}

// Draws one page of what was found; `first` is any row on it.
function drawPage(first) {
  const size = perPage();
  state.page = Math.floor(first / size);
  const start = state.page * size;
  const part = state.rows.slice(start, start + size);
  find("cards").replaceChildren(...part.map(state.tab === "clusters" ? drawCluster : draw));
  const total = state.rows.length;
  const what = state.tab === "clusters" ? "cluster" : "image";
  find("count").textContent = total ? plural(total, what) + (state.tab === "refused" && beyond ? `; ${beyond.toLocaleString("en")} more to decide are not on this page: --limit ${data.total}` : "") : `No ${what} matches these filters.`;
  for (const bar of document.querySelectorAll(".pager")) {
    bar.hidden = total <= size;
    bar.querySelector("span").textContent = `${start + 1} to ${start + part.length} of ${total.toLocaleString("en")}`;
    bar.querySelector(".before").disabled = start === 0;
    bar.querySelector(".after").disabled = start + size >= total;
  }
  for (const box of find("cards").children) if (box.card) box.told = toldOf(box.card);
  mark();
  showProgress();
}

function turn(pages) {
  const size = perPage();
  state.at = Math.max(0, Math.min((state.page + pages) * size, state.rows.length - 1));
  drawPage(state.at);
  find("cards").scrollIntoView({ block: "start" });
}

// The box of the row that j and k have come to.
function current() {
  return find("cards").children[state.at - state.page * perPage()];
}

function mark() {
  for (const old of find("cards").querySelectorAll(".current")) {
    old.classList.remove("current");
    old.removeAttribute("aria-current");
  }
  const box = current();
  if (!box) return;
  box.classList.add("current");
  box.setAttribute("aria-current", "true");
}

function go(row, toCard = true) {
  if (row < 0 || row >= state.rows.length) return;
  state.at = row;
  state.ended = false;
  if (!current()) drawPage(row);
  mark();
  // The list behind the large image moves when that is closed.
  if (inFocus() && state.tab !== "clusters") return showFocus(state.rows[row]);
  if (!toCard || !current()) return;
  current().focus({ preventScroll: true });
  current().scrollIntoView({ block: "nearest" });
}

// After a decision, the next one, if the decision was on the one looked at.
function advance(thing) {
  if (state.rows[state.at] !== thing) go(state.rows.indexOf(thing), false);
  if (state.rows[state.at] !== thing) return;
  const last = state.at === state.rows.length - 1;
  go(last ? state.at : state.at + 1);
  state.ended = last;
}

// Undo shows what it changed.
function returnTo(id) {
  const row = state.rows.findIndex((one) => (one.image_id ?? clusterId(one.cluster)) === id);
  if (row >= 0) go(row);
}

// What a card says of its verdict: laying out all cards anew at every key would take longer than the key.
const toldOf = (card) => JSON.stringify([verdictOf(card), verdicts.get(card.image_id)?.note, readersText(card)]);

function redraw() {
  if (inFocus()) drawSoon();
  else drawVerdicts();
  const counted = progress();
  showProgress(counted);
  checkFinished(counted);
}

// Behind the large view the list waits: laying it out would take longer than all else that a key does.
function drawVerdicts() {
  for (const box of find("cards").children) {
    if (!box.card) showNaming(box);
    else if (box.told !== toldOf(box.card)) showVerdict(box);
    if (box.card) box.told = toldOf(box.card);
  }
}

function refresh() {
  redraw();
  showNames();
}

const toReview = data.cards.filter(reviewable);

function showProgress({ decided, skipped, total } = progress()) {
  const text = `${decided.toLocaleString("en")} of ${total.toLocaleString("en")} decided`;
  find("progress").textContent = skipped ? `${text}, ${skipped.toLocaleString("en")} skipped` : text;
  find("meter").value = total ? decided / total : 0;
  find("export").disabled = verdicts.size + others.size === 0;
  find("undo").disabled = steps.length === 0;
  find("redo").disabled = undone.length === 0;
}

function options(id, order) {
  const counts = new Map();
  for (const card of data.cards) {
    const value = card[fields[id]];
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
}

function showLayer() {
  press("[data-layer]", (one) => one.dataset.layer === state.layer);
  find("opacity").disabled = state.layer === "none";
  for (const box of document.querySelectorAll(".picture")) lay(box);
}
