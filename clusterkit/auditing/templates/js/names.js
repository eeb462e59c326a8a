// Names of labels: a new one that looks like an old one is asked about; those made here are renamed and merged.
const ownNames = () => known.filter((name) => name && !data.classes.includes(name));

// Ratio of matching letters, as difflib's SequenceMatcher has it: 2 × matches ÷ letters.
function ratio(a, b) {
  return a.length + b.length ? (2 * matching(a, b)) / (a.length + b.length) : 1;
}

// Letters in the longest common block, and in those left and right of it.
function matching(a, b) {
  let best = 0, endA = 0, endB = 0;
  let before = new Array(b.length + 1).fill(0);
  for (let i = 1; i <= a.length; i++) {
    const row = new Array(b.length + 1).fill(0);
    for (let j = 1; j <= b.length; j++) {
      if (a[i - 1] !== b[j - 1]) continue;
      row[j] = before[j - 1] + 1;
      if (row[j] > best) [best, endA, endB] = [row[j], i, j];
    }
    before = row;
  }
  if (!best) return 0;
  return best + matching(a.slice(0, endA - best), b.slice(0, endB - best)) + matching(a.slice(endA), b.slice(endB));
}

const bare = (name) => name.normalize("NFKC").toLowerCase().replace(/[\s_\-.]+/g, "");

// How much two names are alike, 0 to 1: two letters that changed places count as one mistake.
function likeness(a, b) {
  const first = bare(a), second = bare(b);
  // Grade 1 and grade 2 are not the same written twice.
  if (first !== second && first.replace(/\d+/g, "0") === second.replace(/\d+/g, "0")) return 0;
  return Math.max(ratio(first, second), swapped(first, second) ? 0.9 : 0);
}

function swapped(a, b) {
  const at = [...a].findIndex((letter, place) => letter !== b[place]);
  return at >= 0 && a.slice(0, at) + (a[at + 1] ?? "") + a[at] + a.slice(at + 2) === b;
}

// Whether their lengths allow 0.8: of hundreds of long names few are compared letter by letter.
function mayBeLike(a, b) {
  const [shorter, longer] = [bare(a).length, bare(b).length].sort((x, y) => x - y);
  return 2 * shorter >= 0.8 * (shorter + longer);
}

// The known name that a new one is most like, from 0.8 on; "": none, or it is known itself.
function nearName(name, among = known) {
  if (among.includes(name)) return "";
  const [best] = among.filter((old) => old && mayBeLike(name, old)).map((old) => ({ old, like: likeness(name, old) }))
    .filter(({ like }) => like >= 0.8).sort((a, b) => b.like - a.like);
  return best ? best.old : "";
}

let asked = null;

// Calls `then` with the name, or with the one that was meant.
function settleName(name, then, among = known) {
  const old = nearName(name, among);
  if (!old) return then(name);
  asked = { name, old, then };
  find("near-title").textContent = `Did you mean ${old}?`;
  find("near-text").textContent = `“${name}” is new here, and much like “${old}”.`;
  find("near-yes").replaceChildren(make("span", "", `Yes, ${old}`), keyCap("y"));
  find("near-no").replaceChildren(make("span", "", `No, ${name} is another label`), keyCap("n"));
  find("near").showModal();
  find("near-yes").focus();
}

function answerNear(name) {
  const { then } = asked;
  asked = null;
  find("near").close();
  then(name);
}

function watchNames() {
  find("near-yes").addEventListener("click", () => answerNear(asked.old));
  find("near-no").addEventListener("click", () => answerNear(asked.name));
  find("near").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    if (event.key !== "y" && event.key !== "n") return;
    event.preventDefault();
    event.stopPropagation();
    answerNear(event.key === "y" ? asked.old : asked.name);
  });
  find("own").addEventListener("click", () => {
    drawOwn();
    find("own-names").showModal();
  });
}

function drawOwn() {
  find("own-error").textContent = "";
  find("own-list").replaceChildren(...ownNames().map((name) => {
    const form = make("form", "naming");
    const field = make("input");
    field.value = name;
    field.setAttribute("aria-label", `Another name for ${name}`);
    field.setAttribute("list", "names");
    form.append(field, make("button", "", "Rename"), make("span", "soft", plural(rowsOf(name).length, "decision")));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const found = checkLabel(field.value);
      find("own-error").textContent = found.error || "";
      if (found.error || found.label === name) return;
      settleName(found.label, (text) => rename(name, text), known.filter((other) => other !== name));
    });
    return form;
  }));
  if (!ownNames().length) find("own-names").close();
}

const rowsOf = (name) => [...verdicts].filter(([, verdict]) => verdict.label === name);

// Renames a label everywhere, or merges it into one that is there; one step to undo.
function rename(name, text) {
  const step = [{ known: [...known] }];
  const merged = known.includes(text);
  // A number never comes to mean another label: that of a merged one stays empty.
  known[known.indexOf(name)] = merged ? "" : text;
  for (const [id, verdict] of rowsOf(name)) {
    step.push({ id, before: verdict });
    const accepted = verdict.decision !== "reject" && !id.startsWith("cluster:") && predicted.get(id) === text;
    decide(id, { ...verdict, label: text, decision: accepted ? "accept" : "relabel", time: now() }, false);
  }
  for (const [id, row] of others) {
    if (row.label !== name) continue;
    step.push({ id, row });
    others.set(id, { ...row, label: text, time: now() });
    if (served) send([others.get(id)]);
  }
  remember(step);
  keep();
  refresh();
  drawOwn();
  say(`${name} is now ${text}: ${plural(step.length - 1, "decision")}. Undo takes it back.`);
}
