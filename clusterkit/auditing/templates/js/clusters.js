// Refused images that look alike: one name labels them all.
const shownClusters = data.clusters.filter((cluster) => cluster.size > 1);
const members = new Map();
for (const card of data.cards) {
  if (card.cluster === null) continue;
  if (!members.has(card.cluster)) members.set(card.cluster, []);
  members.get(card.cluster).push(card);
}

// Members that a person put aside before naming, by cluster: the name is not for them.
const aside = new Map(shownClusters.map((cluster) => [cluster.cluster, new Set()]));
const checkedFirst = 10;

// Those on the page that nobody has decided by themselves, the most typical first.
function openMembers(cluster) {
  const cards = [...(members.get(cluster.cluster) || [])].filter((card) => !ownDecision(card));
  return cards.sort((a, b) => (b.image_id === cluster.medoid_id) - (a.image_id === cluster.medoid_id));
}

function ownDecision(card) {
  const own = verdicts.get(card.image_id);
  return own && own.decision !== "skip" ? own : null;
}

function drawCluster(cluster) {
  const box = make("article", "card cluster");
  box.tabIndex = -1;
  box.cluster = cluster;
  box.append(make("h3", "", `Cluster ${cluster.cluster}: ${plural(cluster.size, "image")}`));
  const leans = cluster.labels.map(([name, count]) => `${name}: ${count}`).join(", ");
  const novel = cluster.novel ? `${cluster.novel.toLocaleString("en")} like nothing labelled. ` : "";
  box.append(make("p", "reason", novel + (leans ? `The model's guesses: ${leans}.` : "")));
  const tiles = make("div", "members");
  for (const card of openMembers(cluster)) tiles.append(tile(cluster, card));
  box.append(tiles);
  const shown = (members.get(cluster.cluster) || []).length;
  const hidden = cluster.size - shown;
  if (hidden) box.append(make("p", "soft", `${plural(hidden, "more image")} of it ${hidden === 1 ? "is" : "are"} `
    + "not on this page; the name goes for all."));
  if (shown) box.append(button(`Show its ${plural(shown, "image")}`, () => {
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
  const own = (members.get(cluster.cluster) || []).filter((card) => {
    const found = verdicts.get(card.image_id);
    return found && found.decision !== "skip";
  }).length;
  const text = verdictText(verdict, {}) + (verdict && verdict.decision === "accept" && !verdict.label ? "each image's own guess" : "");
  const status = make("p", "decided", text + (own ? `; ${plural(own, "image")} decided by ${own === 1 ? "itself" : "themselves"}` : ""));
  const row = make("div", "actions");
  row.append(action("reject all", "x", () => setCluster(cluster, "reject", "")),
    action("skip", "s", () => setCluster(cluster, "skip", "")));
  box.querySelector(".verdict").replaceChildren(status, row);
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
  const one = button("", () => {
    if (set.has(card)) set.delete(card);
    else set.add(card);
    one.setAttribute("aria-pressed", String(set.has(card)));
    say(`${card.image}: ${set.has(card) ? "put aside, the name is not for it" : "in the cluster again"}`);
  }, "tile");
  one.append(picture(card.thumb, null, ""));
  one.title = card.image;
  one.setAttribute("aria-label", `put ${card.image} aside`);
  one.setAttribute("aria-pressed", String(set.has(card)));
  return one;
}

// Some of the members by chance: what a name that nobody checked would be worth.
function someOf(cards) {
  const drawn = [...cards];
  for (let at = drawn.length - 1; at > 0; at--) {
    const other = Math.floor(Math.random() * (at + 1));
    [drawn[at], drawn[other]] = [drawn[other], drawn[at]];
  }
  return drawn.slice(0, checkedFirst);
}

let naming = null;

// Before a name goes for all, ten are looked at.
function checkCluster(cluster, name) {
  const drawn = someOf(openMembers(cluster).filter((card) => !aside.get(cluster.cluster).has(card)));
  naming = { cluster, name, drawn };
  find("check-title").textContent = `Are these ${name}?`;
  find("check-text").textContent = drawn.length
    ? `${plural(drawn.length, "image")} of cluster ${cluster.cluster}, drawn by chance. Put aside what is not ${name}.`
    : `None of cluster ${cluster.cluster} is on this page: without a look at some, the name counts half.`;
  find("check-tiles").replaceChildren(...drawn.map((card) => tile(cluster, card)));
  find("check-name").textContent = `Name ${plural(namedCount(cluster), "image")} “${name}”`;
  find("check").showModal();
  find("check-name").focus();
}

// Images that the name would go for: all that nobody has decided and nobody has put aside.
function namedCount(cluster) {
  const decided = (members.get(cluster.cluster) || []).filter(ownDecision).length;
  return cluster.size - decided - aside.get(cluster.cluster).size;
}

// The images that were looked at get rows of their own; the others follow the cluster's.
function nameChecked() {
  const { cluster, name, drawn } = naming;
  const put = aside.get(cluster.cluster);
  find("check").close();
  addName(name);
  const rows = [[clusterId(cluster.cluster), verdictFor(cluster.medoid, "relabel", name, "")]];
  for (const card of drawn) {
    if (!put.has(card)) rows.push([card.image_id,
      verdictFor(card.image, card.predicted_label === name ? "accept" : "relabel", name, `checked with cluster ${cluster.cluster}`)]);
  }
  for (const card of put) rows.push([card.image_id, verdictFor(card.image, "reject", "", `not ${name}`)]);
  remember(rows.map(([id]) => ({ id, before: verdicts.get(id) || null })));
  for (const [id, verdict] of rows) decide(id, verdict, false);
  put.clear();
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
