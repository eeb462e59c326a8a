// Refused images that look alike: one name labels them all.
const shownClusters = data.clusters.filter((cluster) => cluster.size > 1);
const members = new Map();
for (const card of data.cards) {
  if (card.cluster === null) continue;
  if (!members.has(card.cluster)) members.set(card.cluster, []);
  members.get(card.cluster).push(card);
}

// What may be accepted for all: a guess that nearly all share, and none is like nothing labelled.
function leaning(cluster) {
  const [[name, count] = ["", 0]] = cluster.labels;
  return cluster.novel === 0 && count >= 0.9 * cluster.size ? name : "";
}

function drawCluster(cluster) {
  const box = make("article", "card cluster");
  box.tabIndex = -1;
  box.cluster = cluster;
  box.append(make("h3", "", `Cluster ${cluster.cluster}: ${plural(cluster.size, "image")}`));
  const leans = cluster.labels.map(([name, count]) => `${name}: ${count}`).join(", ");
  const novel = cluster.novel ? `${cluster.novel.toLocaleString("en")} like nothing labelled. ` : "";
  box.append(make("p", "reason", novel + (leans ? `The model's guesses: ${leans}.` : "")));
  const cards = [...(members.get(cluster.cluster) || [])];
  cards.sort((a, b) => (b.image_id === cluster.medoid_id) - (a.image_id === cluster.medoid_id));
  const strip = make("div", "members");
  for (const card of cards.slice(0, 12)) {
    // Plain: a group is named for what it shows.
    const one = picture(card.thumb, null, card.image);
    one.title = card.image;
    strip.append(one);
  }
  box.append(strip);
  const hidden = cluster.size - cards.length;
  if (hidden) box.append(make("p", "soft", `${plural(hidden, "more image")} of it ${hidden === 1 ? "is" : "are"} `
    + "not on this page; the name goes for all."));
  if (cards.length) box.append(button(`Show its ${plural(cards.length, "image")}`, () => {
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
    if (!found.error) settleName(found.label, (name) => nameCluster(cluster, name));
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
  if (leaning(cluster)) row.append(action(`all are ${leaning(cluster)}`, "a", () => nameCluster(cluster, leaning(cluster))));
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

function nameCluster(cluster, name) {
  addName(name);
  setCluster(cluster, "relabel", name);
}
