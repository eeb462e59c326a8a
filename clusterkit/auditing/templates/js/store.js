// What a person decided: one verdict an image or cluster, kept in this browser after every step.
const place = "clusterkit " + data.key;
const verdicts = new Map(); // image_id or "cluster:3" → {image, label, decision, reviewer, time, note}
const others = new Map(); // imported rows about what is not on this page, by image_id: kept as they are
const steps = []; // for undo: lists of {id, before}
// What this browser holds for the page, as this tab last read or wrote it; whether it does, and whether all is exported.
const store = { text: null, damaged: false, kept: true, exported: true };

const clusterId = (number) => `cluster:${number}`;

function reviewable(card) {
  return card.status !== "failed" && card.image_id !== "";
}

const novel = (card) => card.status === "novel";

// What a check has labelled keeps the number of its cluster, and has no need of the cluster's name.
const labelled = (card) => card.status === "assigned" || card.status === "reviewed";
const clusterOfCard = (card) => (card.cluster === null || labelled(card) ? "" : clusterId(card.cluster));

// The label that counts for a card: its own verdict, else that of its cluster.
function verdictOf(card) {
  const own = verdicts.get(card.image_id);
  if (own && own.decision !== "skip") return { ...own, from: "image" };
  const named = verdicts.get(clusterOfCard(card));
  if (named && named.decision !== "skip") {
    const label = named.label || (named.decision === "accept" ? card.predicted_label : "");
    return { ...named, label, from: "cluster" };
  }
  return own ? { ...own, from: "image" } : null;
}

// Nobody has said anything of it: not here, and not in the check.
const isOpen = (card) => reviewable(card) && card.status !== "reviewed" && verdictOf(card) === null;

// Classes that the run was fitted to may be as long as they are; what is written here is for people to read.
function checkLabel(text) {
  const label = text.trim();
  if (!label) return { error: "Write a label first." };
  if (label.length > 200 && !known.includes(label)) return { error: `A new label has at most 200 characters, and this one ${label.length}.` };
  return lettersOf(label);
}

function now() {
  return new Date().toISOString().replace(/\.\d+Z$/, "Z");
}

// Sets, or with null removes, one verdict; the step can be undone.
function decide(id, verdict, undoable = true) {
  join(stored());
  const before = verdicts.get(id) || null;
  if (undoable) remember([{ id, before }]);
  if (verdict) verdicts.set(id, verdict);
  else verdicts.delete(id);
  if (served) send([rowOf(id, verdict || { ...before, decision: "skip", label: "", time: now() })]);
  keep();
}

function verdictFor(image, decision, label, note) {
  const reviewer = find("reviewer").value.trim();
  return { image, label, decision, reviewer, time: now(), note: note || "", here: true };
}

function rowOf(id, verdict) {
  const row = { image_id: id, image: verdict.image, label: verdict.label, decision: verdict.decision,
    reviewer: verdict.reviewer, time: verdict.time, note: verdict.note };
  // A cluster's number means something in this batch only, and a file in another folder finds it so.
  // What was said of a whole cluster before a check stays about the whole.
  const before = isForeign(verdict) || !id.startsWith("cluster:") ? "" : verdict.assignments;
  return { ...row, assignments: before || data.fingerprint };
}

function allRows() {
  return [...others.values(), ...[...verdicts].map(([id, verdict]) => rowOf(id, verdict))];
}

function keep() {
  store.exported = false;
  join(stored());
  const saved = { verdicts: [...verdicts], others: [...others], steps: steps.slice(-200), undone: undone.slice(-200), waiting, known, reviewer: find("reviewer").value, seated: store.seated,
    aside: [...aside].map(([number, put]) => [number, [...put].map((one) => one.image_id)]) };
  try {
    const text = JSON.stringify(saved);
    localStorage.setItem(place, text);
    Object.assign(store, { text, kept: true, damaged: false });
  } catch {
    // Full, or forbidden by the browser's settings.
    store.kept = false;
  }
  showKept();
}

function stored() {
  try {
    return localStorage.getItem(place);
  } catch {
    store.kept = false;
    return null;
  }
}

// It stays until storing works again. A server has every decision anyway.
function showKept() {
  find("unkept").hidden = store.kept || served;
}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

// Another tab has decided something that this one has not heard of: what was not decided here since is as it says.
function join(text) {
  if (!text || text === store.text) return;
  let theirs;
  try {
    theirs = JSON.parse(text);
  } catch {
    return setAside(text);
  }
  const base = store.text && !store.damaged ? JSON.parse(store.text) : { verdicts: [], others: [] };
  for (const [mine, part] of [[verdicts, "verdicts"], [others, "others"]]) {
    const before = new Map(base[part]), found = new Map(theirs[part]);
    for (const id of new Set([...before.keys(), ...found.keys()])) {
      if (!same(mine.get(id), before.get(id))) continue;
      if (found.has(id)) mine.set(id, found.get(id));
      else mine.delete(id);
    }
  }
  (theirs.known || []).filter(Boolean).forEach(addName);
}

function load() {
  verdicts.clear();
  others.clear();
  for (const put of aside.values()) put.clear();
  steps.length = undone.length = waiting.length = 0;
  store.text = stored();
  showKept();
  try {
    if (store.text) restore(JSON.parse(store.text));
  } catch {
    setAside(store.text);
    // What another tab may have written since has nothing in common with it.
    store.damaged = true;
  }
}

function restore(saved) {
  for (const [id, verdict] of saved.verdicts) {
    if (!decisions.includes(verdict.decision)) throw new Error("no verdict");
    verdicts.set(id, verdict);
  }
  for (const [id, row] of saved.others) {
    // Kept when the page showed fewer images.
    const { image_id, ...verdict } = row;
    if (!onPage.has(id)) others.set(id, row);
    else if (!(verdicts.get(id)?.time >= row.time)) verdicts.set(id, { ...verdict, label: verdict.label || (row.decision === "accept" ? predicted.get(image_id) : "") });
  }
  const put = new Map(saved.aside);
  for (const cluster of shownClusters) aside.set(cluster.cluster, new Set(membersOf(cluster).filter((one) => put.get(cluster.cluster)?.includes(one.image_id))));
  steps.push(...saved.steps);
  undone.push(...(saved.undone || []));
  waiting.push(...saved.waiting);
  find("reviewer").value = saved.reviewer;
  store.seated = Boolean(saved.seated);
  // By number: of a merged name nothing but its place is left.
  known.splice(data.classes.length, known.length, ...saved.known.slice(data.classes.length));
  showNames();
}

// What cannot be read is not written over: somebody may still get it out.
function setAside(text) {
  say("What this browser had stored cannot be read. It is set aside; import a reviews.csv if you have one.", true);
  try {
    if (text) localStorage.setItem(`${place} damaged ${now()}`, text);
  } catch {
    store.kept = false;
  }
}

// Another tab with the same page has decided something.
window.addEventListener("storage", (event) => {
  if (event.key !== place) return;
  load();
  for (const box of find("cards").children) box.told = "";
  refresh();
  if (served) flush();
});

window.addEventListener("beforeunload", (event) => {
  const lost = !store.kept && (served ? waiting.length > 0 : !store.exported && verdicts.size + others.size > 0);
  if (lost) event.preventDefault();
});
