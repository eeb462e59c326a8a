// What a person decided: one verdict an image or cluster, kept in this browser after every step.
const place = "clusterkit " + data.key;
const verdicts = new Map(); // image_id or "cluster:3" → {image, label, decision, reviewer, time, note}
const others = []; // imported rows about images that are not on this page: kept as they are
const steps = []; // for undo: {id, before}
const forbidden = /[|\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;
const store = { kept: true };

const clusterId = (number) => `cluster:${number}`;

function reviewable(card) {
  return card.status !== "failed" && card.image_id !== "";
}

// The label that counts for a card: its own verdict, else that of its cluster.
function verdictOf(card) {
  const own = verdicts.get(card.image_id);
  if (own && own.decision !== "skip") return { ...own, from: "image" };
  const named = card.cluster === null ? undefined : verdicts.get(clusterId(card.cluster));
  if (named && named.decision !== "skip") {
    const label = named.label || (named.decision === "accept" ? card.predicted_label : "");
    return { ...named, label, from: "cluster" };
  }
  return own ? { ...own, from: "image" } : null;
}

function checkLabel(text) {
  const label = text.trim();
  if (!label) return { error: "Write a label first." };
  if (label.length > 200) return { error: "A label has at most 200 characters." };
  if (forbidden.test(label)) return { error: "A label must not hold | or invisible characters." };
  return { label };
}

function now() {
  return new Date().toISOString().replace(/\.\d+Z$/, "Z");
}

// Sets, or with null removes, one verdict; the step can be undone.
function decide(id, verdict, remember = true) {
  const before = verdicts.get(id) || null;
  if (remember) {
    steps.push({ id, before });
    if (steps.length > 1000) steps.shift();
  }
  if (verdict) verdicts.set(id, verdict);
  else verdicts.delete(id);
  if (served) send([rowOf(id, verdict || { ...before, decision: "skip", label: "", time: now() })]);
  keep();
}

function verdictFor(image, decision, label, note) {
  const reviewer = find("reviewer").value.trim();
  return { image, label, decision, reviewer, time: now(), note: note || "" };
}

function rowOf(id, verdict) {
  return { image_id: id, image: verdict.image, label: verdict.label, decision: verdict.decision,
    reviewer: verdict.reviewer, time: verdict.time, note: verdict.note };
}

function allRows() {
  return [...others, ...[...verdicts].map(([id, verdict]) => rowOf(id, verdict))];
}

function keep() {
  const saved = { verdicts: [...verdicts], others, steps: steps.slice(-200), waiting, known, reviewer: find("reviewer").value };
  try {
    localStorage.setItem(place, JSON.stringify(saved));
    store.kept = true;
  } catch {
    // Full, or forbidden by the browser's settings.
    store.kept = false;
    if (!served) say("This browser does not store decisions: export reviews.csv before you leave.", true);
  }
}

function load() {
  let saved = null;
  try {
    saved = JSON.parse(localStorage.getItem(place));
  } catch {
    say("What this browser had stored cannot be read.", true);
  }
  verdicts.clear();
  others.length = steps.length = waiting.length = 0;
  if (!saved || !Array.isArray(saved.verdicts)) return;
  for (const [id, verdict] of saved.verdicts) verdicts.set(id, verdict);
  others.push(...saved.others);
  steps.push(...saved.steps);
  waiting.push(...saved.waiting);
  find("reviewer").value = saved.reviewer;
  for (const name of saved.known) addName(name);
}

// Another tab with the same page has decided something.
window.addEventListener("storage", (event) => {
  if (event.key !== place) return;
  load();
  refresh();
});

window.addEventListener("beforeunload", (event) => {
  const lost = served ? waiting.length > 0 && !store.kept : !store.kept && verdicts.size > 0;
  if (lost) event.preventDefault();
});
