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

// Cohen's kappa (1960): agreement beyond what the two readers' own frequencies give by chance.
function kappa(pairs) {
  const share = (key) => tally(pairs.map((pair) => pair[key])).map(([name, count]) => [name, count / pairs.length]);
  const mine = new Map(share("mine"));
  const chance = share("other").reduce((sum, [name, part]) => sum + part * (mine.get(name) || 0), 0);
  const agreed = pairs.filter((pair) => pair.mine === pair.other).length / pairs.length;
  return chance < 1 ? (agreed - chance) / (1 - chance) : null;
}

let compared = null;

// Nothing that was decided here is replaced unasked.
function compareReaders(rows, name) {
  const pairs = pairsWith(rows);
  const differ = pairs.filter((pair) => pair.mine !== pair.other);
  if (!differ.length) return takeFile(rows);
  compared = { rows, differ };
  const value = kappa(pairs);
  find("compare-text").textContent = `${name}: of ${plural(pairs.length, "image")} that both decided, `
    + `${plural(pairs.length - differ.length, "answer")} agree`
    + (value === null ? "." : ` (Cohen's kappa ${value.toFixed(2)}: 1 is agreement, 0 is chance).`);
  find("compare-settle").textContent = `Settle the ${differ.length.toLocaleString("en")} that differ`;
  find("compare").showModal();
  find("compare-settle").focus();
}

function takeFile(rows) {
  const { here, replaced } = take(rows, true);
  if (served) send(rows);
  refresh();
  say(`${plural(rows.length, "decision")} read, ${here.toLocaleString("en")} of them about images on this page; `
    + `${replaced.toLocaleString("en")} replaced another decision. Undo takes it back.`);
}

function answerCompared(which) {
  const { rows, differ } = compared;
  compared = null;
  find("compare").close();
  const ids = new Set(differ.map((pair) => pair.id));
  takeFile(which === "theirs" ? rows : rows.filter((row) => !ids.has(row.image_id)));
  if (which !== "settle") return;
  disagreeing.clear();
  for (const pair of differ) disagreeing.set(pair.id, `${pair.theirs.reviewer || "the other reader"}: ${pair.other}`);
  clearFilters();
  find("done").value = "differ";
  show();
  const small = tiles.filter((one) => disagreeing.has(one.image_id));
  const places = [...new Set(small.map((one) => one.cluster))].join(", ");
  say(`${plural(disagreeing.size, "image")} to settle: each next answer is the one that holds.`
    + (small.length ? ` ${small.length.toLocaleString("en")} of them have no card: they are tiles of cluster ${places}.` : ""));
}

function watchCompare() {
  for (const which of ["settle", "mine", "theirs"])
    find(`compare-${which}`).addEventListener("click", () => answerCompared(which));
}
