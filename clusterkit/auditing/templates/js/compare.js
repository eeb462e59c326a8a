// A second reader's file beside the decisions here: how often both agree, and what is left to settle.
const disagreeing = new Map(); // image_id → what the other file says, until somebody decides anew

// What a decision says an image is: its label, or that the one shown is wrong.
const said = (row) => (row.decision === "reject" ? "rejected" : row.label || predicted.get(row.image_id) || "");

// Pairs of decisions on the same images of this page; a skip says nothing.
function pairsWith(rows) {
  const last = new Map(rows.filter((row) => onPage.has(row.image_id) && row.decision !== "skip").map((row) => [row.image_id, row]));
  const pairs = [];
  for (const [id, theirs] of last) {
    const own = verdicts.get(id);
    if (own && own.decision !== "skip") pairs.push({ id, theirs, mine: said({ ...own, image_id: id }), other: said(theirs) });
  }
  return pairs;
}

// How often two readers say the same, in words.
function agreementText(pairs) {
  const value = kappa(pairs);
  return `of ${plural(pairs.length, "image")} that both decided, `
    + `${plural(pairs.filter((pair) => pair.mine === pair.other).length, "answer")} agree`
    + (value === null ? "" : ` (Cohen's kappa ${value.toFixed(2)}: 1 is agreement, 0 is chance)`);
}

let compared = null;

// Nothing that was decided here is replaced unasked.
function compareReaders(rows, name) {
  const pairs = pairsWith(rows);
  const differ = pairs.filter((pair) => pair.mine !== pair.other);
  if (!differ.length) return takeFile(rows);
  compared = { rows, differ };
  find("compare-text").textContent = `${name}: ${agreementText(pairs)}.`;
  find("compare-settle").textContent = `Settle the ${differ.length.toLocaleString("en")} that differ`;
  find("compare").showModal();
  find("compare-settle").focus();
}

function takeFile(rows) {
  // With seats another reader's answers stay that reader's.
  const replaced = take(served ? rows.filter(isMine) : rows, true);
  if (served) {
    for (const row of rows) if (!isMine(row)) seat(row);
    send(rows);
  }
  refresh();
  const here = rows.filter(isHere).length;
  say(`${plural(rows.length, "decision")} read, ${here.toLocaleString("en")} of them about images on this page; `
    + `${replaced.toLocaleString("en")} replaced another decision. Undo takes it back.`);
}

function answerCompared(which) {
  const { rows, differ } = compared;
  compared = null;
  find("compare").close();
  const ids = new Set(differ.map((pair) => pair.id));
  const beside = (row) => which === "settle" && served && !isMine(row);
  takeFile(which === "theirs" ? rows : rows.filter((row) => !ids.has(row.image_id) || beside(row)));
  if (which === "theirs" && served) agreeWith(differ);
  if (which !== "settle") return;
  disagreeing.clear();
  for (const pair of differ) disagreeing.set(pair.id, `${pair.theirs.reviewer || "the other reader"}: ${pair.other}`);
  const unseen = showDiffering();
  say(`${plural(disagreeing.size, "image")} to settle: each next answer is the one that holds.${unseen}`);
}

// The disagreements alone, the first of them at hand; returns which of them have no card, in words.
function showDiffering() {
  find("finish").hidden = true;
  clearFilters();
  find("done").value = "differ";
  show();
  go(0);
  const small = tiles.filter((one) => disagreeing.has(one.image_id));
  const places = [...new Set(small.map((one) => one.cluster))].join(", ");
  return small.length ? ` ${small.length.toLocaleString("en")} of them have no card: they are tiles of cluster ${places}.` : "";
}

// Under the own name too, where the other reader's answer is taken for one's own.
function agreeWith(differ) {
  const rows = differ.filter(({ theirs }) => !isMine(theirs)).map(({ id, theirs }) =>
    [id, verdictFor(theirs.image, theirs.decision, theirs.label, "settled")]);
  remember(rows.map(([id]) => ({ id, before: verdicts.get(id) || null })));
  for (const [id, verdict] of rows) decide(id, verdict, false);
  refresh();
}

function watchCompare() {
  for (const which of ["settle", "mine", "theirs"])
    find(`compare-${which}`).addEventListener("click", () => answerCompared(which));
}
