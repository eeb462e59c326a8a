// Refused images that look alike: one name labels them all.
const shownClusters = data.clusters.filter((cluster) => cluster.size > 1);
const members = new Map();
for (const one of [...data.cards.filter(reviewable), ...tiles]) {
  if (!clusterOfCard(one)) continue;
  if (!members.has(one.cluster)) members.set(one.cluster, []);
  members.get(one.cluster).push(one);
}
const membersOf = (cluster) => members.get(cluster.cluster) || [];
const hasCard = (one) => cardsById.has(one.image_id);

// Members that a person put aside before naming, by cluster: the name is not for them.
const aside = new Map(shownClusters.map((cluster) => [cluster.cluster, new Set()]));
const checkedFirst = 10;
// More of them than this are drawn when they are asked for.
const drawnFirst = 240;

function ownDecision(one) {
  const own = verdicts.get(one.image_id);
  return own && own.decision !== "skip" ? own : null;
}

// Those that nobody has decided by themselves, the most typical first.
function openMembers(cluster) {
  const open = membersOf(cluster).filter((one) => !ownDecision(one));
  return open.sort((a, b) => (b.image_id === cluster.medoid_id) - (a.image_id === cluster.medoid_id));
}

function drawCluster(cluster) {
  const box = make("article", "card cluster");
  box.tabIndex = -1;
  box.cluster = cluster;
  box.append(make("h3", "", `Cluster ${cluster.cluster}: ${plural(cluster.size, "image")}`));
  const leans = cluster.labels.map(([name, count]) => `${name}: ${count}`).join(", ");
  const novel = cluster.novel ? `${cluster.novel.toLocaleString("en")} like nothing labelled. ` : "";
  box.append(make("p", "reason", novel + (leans ? `The model's guesses: ${leans}.` : "")));
  if (cluster.labelled) box.append(make("p", "soft", `${plural(cluster.labelled, "more image")} of it ${cluster.labelled === 1 ? "has a label" : "have labels"} since the check: the name is not for ${cluster.labelled === 1 ? "it" : "them"}.`));
  box.append(make("div", "members"), make("p", "soft rest"));
  const cards = membersOf(cluster).filter(hasCard).length;
  if (cards) box.append(button(`Show its ${plural(cards, "card")}`, () => {
    clearFilters();
    find("cluster").value = String(cluster.cluster);
    show();
  }));
  box.append(make("div", "verdict"));
  const form = make("form", "naming");
  const field = make("input");
  field.setAttribute("list", "names");
  field.setAttribute("aria-label", `Name for all images of cluster ${cluster.cluster}`);
  field.placeholder = "name for all";
  const sure = make("button", "", "Name");
  const wrong = make("p", "alarm");
  form.append(field, sure);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const found = checkLabel(field.value);
    wrong.textContent = found.error || "";
    if (!found.error) settleName(found.label, (name) => checkCluster(cluster, name));
  });
  box.append(form, wrong);
  showNaming(box);
  return box;
}

function showNaming(box) {
  const cluster = box.cluster;
  const verdict = verdicts.get(clusterId(cluster.cluster)) || null;
  box.dataset.decision = verdict ? verdict.decision : "";
  const own = membersOf(cluster).filter(ownDecision).length;
  const text = verdictText(verdict, {}) + (verdict && verdict.decision === "accept" && !verdict.label ? "each image's own guess" : "");
  const status = make("p", "decided", text + (own ? `; ${plural(own, "image")} decided by ${own === 1 ? "itself" : "themselves"}` : ""));
  const namers = namersText(cluster.cluster);
  if (namers) status.append(make("span", "noted", `; ${namers}`));
  const row = make("div", "actions");
  row.append(action("reject all", "x", () => setCluster(cluster, "reject", "")),
    action("skip", "s", () => setCluster(cluster, "skip", "")));
  box.querySelector(".verdict").replaceChildren(status, row);
  const told = membersOf(cluster).map((one) => verdictText(ownDecision(one), {})).join("|");
  if (box.told !== told) drawTiles(box);
  box.told = told;
}

// Open ones, then those with a decision of their own; all of them when that is asked for.
function drawTiles(box) {
  const { cluster } = box;
  const shown = [...openMembers(cluster), ...membersOf(cluster).filter(ownDecision)];
  const some = box.all ? shown : shown.slice(0, drawnFirst);
  box.querySelector(".members").replaceChildren(...some.map((one) => (ownDecision(one) ? decidedTile(box, one) : tile(cluster, one))));
  const rest = box.querySelector(".rest");
  const unseen = cluster.size - shown.length;
  rest.replaceChildren();
  if (some.length < shown.length) rest.append(button(`Show all ${plural(shown.length, "image")}`, () => {
    box.all = true;
    drawTiles(box);
  }), " ");
  if (unseen) rest.append(`${plural(unseen, "more image")} of it ${unseen === 1 ? "has" : "have"} no picture here; the name goes for all.`);
}

function setCluster(cluster, decision, label) {
  decide(clusterId(cluster.cluster), verdictFor(cluster.medoid, decision, label, ""));
  redraw();
  say(`Cluster ${cluster.cluster}: ${verdictText(verdicts.get(clusterId(cluster.cluster)), {})}`);
  advance(cluster);
}

// A member as a small picture: a click, or x, puts it aside and takes it back.
function tile(cluster, card) {
  const set = aside.get(cluster.cluster);
  const one = tileOf(card, () => {
    if (set.has(card)) set.delete(card);
    else set.add(card);
    keep();
    one.setAttribute("aria-pressed", String(set.has(card)));
    say(`${card.image}: ${set.has(card) ? "put aside, the name is not for it" : "in the cluster again"}`);
  });
  one.setAttribute("aria-label", `put ${card.image} aside`);
  one.setAttribute("aria-pressed", String(set.has(card)));
  return one;
}

// One with a decision of its own: that is taken back.
function decidedTile(box, card) {
  const one = tileOf(card, () => {
    decide(card.image_id, null);
    redraw();
    say(`${card.image}: not decided any more; u takes that back`);
    [...box.querySelectorAll(".tile")].find((other) => other.card === card)?.focus();
  });
  const text = [verdictText(ownDecision(card), {}), disagreeing.get(card.image_id)].filter(Boolean).join("; ");
  one.dataset.decision = ownDecision(card).decision;
  one.title = `${card.image}: ${text}`;
  one.setAttribute("aria-label", `${card.image}: ${text}. Take that back`);
  return one;
}

function tileOf(card, work) {
  const one = button("", work, "tile");
  one.card = card;
  one.append(picture(card.thumb, null, ""));
  one.querySelector("img")?.addEventListener("error", () => { card.lost = true; });
  one.title = card.predicted_label ? `${card.image}: the model's guess is ${card.predicted_label}` : card.image;
  return one;
}

function shuffled(list) {
  const drawn = [...list];
  for (let at = drawn.length - 1; at > 0; at--) {
    const other = Math.floor(Math.random() * (at + 1));
    [drawn[at], drawn[other]] = [drawn[other], drawn[at]];
  }
  return drawn;
}

// Some of the members by chance: what a name that nobody checked would be worth. Cards were chosen for their doubts, and
// tiles by chance: where others have neither, the tiles stand for them, or the sample would be of the doubtful.
function someOf(cluster) {
  const put = aside.get(cluster.cluster);
  const open = shuffled(openMembers(cluster).filter((one) => one.thumb && !one.lost && !put.has(one)));
  const cards = open.filter(hasCard), others = open.filter((one) => !hasCard(one));
  let left = others.length + cluster.size - membersOf(cluster).length;
  const drawn = [];
  while (drawn.length < checkedFirst && cards.length + others.length) {
    const fromCards = cards.length && (!others.length || Math.random() * (cards.length + left) < cards.length);
    if (!fromCards) left--;
    drawn.push((fromCards ? cards : others).pop());
  }
  return drawn;
}

let naming = null;

// Before a name goes for all, ten are looked at.
function checkCluster(cluster, name) {
  const drawn = someOf(cluster);
  naming = { cluster, name, drawn };
  find("check-title").textContent = `Are these ${name}?`;
  find("check-text").textContent = drawn.length
    ? `${plural(drawn.length, "image")} of cluster ${cluster.cluster}, drawn by chance. Put aside what is not ${name}.`
    : `Nothing of cluster ${cluster.cluster} is left to look at here: without a look at some, the name counts half.`;
  find("check-tiles").replaceChildren(...drawn.map((card) => tile(cluster, card)));
  find("check-name").textContent = `Name ${plural(namedCount(cluster), "image")} “${name}”`;
  find("check").showModal();
  find("check-name").focus({ preventScroll: true });
}

// Images that the name would go for: all that nobody has decided and nobody has put aside.
function namedCount(cluster) {
  const put = aside.get(cluster.cluster);
  return cluster.size - membersOf(cluster).filter((one) => put.has(one) || ownDecision(one)).length;
}

// The images that were looked at get rows of their own; the others follow the cluster's, and what was not seen too.
function nameChecked() {
  const { cluster, name, drawn } = naming;
  const put = aside.get(cluster.cluster);
  find("check").close();
  addName(name);
  const rows = [[clusterId(cluster.cluster), verdictFor(cluster.medoid, "relabel", name, "")]];
  for (const card of drawn) {
    if (!put.has(card) && !card.lost) rows.push([card.image_id,
      verdictFor(card.image, card.predicted_label === name ? "accept" : "relabel", name, `checked with cluster ${cluster.cluster}`)]);
  }
  for (const card of [...put].filter((one) => !ownDecision(one))) rows.push([card.image_id, verdictFor(card.image, "reject", "", `not ${name}`)]);
  remember(rows.map(([id]) => ({ id, before: verdicts.get(id) || null })));
  put.clear();
  for (const [id, verdict] of rows) decide(id, verdict, false);
  drawPage(state.at);
  say(`Cluster ${cluster.cluster}: labelled: ${name}`);
  advance(cluster);
}

// On a tile, x is for the tile and not for the whole cluster.
document.addEventListener("keydown", (event) => {
  const one = event.key === "x" && event.target.closest?.(".tile");
  if (!one || event.repeat) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  one.click();
}, true);
