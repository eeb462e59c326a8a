// The end of a review: what was decided, by whom, where the file goes; on paper, a report of it.
const refusedCards = toReview.filter((card) => card.status === "review" || card.status === "novel");
// Where nothing was refused, a review is of all.
const wantedCards = refusedCards.length ? refusedCards : toReview.filter((card) => card.status !== "reviewed");

// At every key: `verdictOf` would make an object for each of thousands of cards.
function progress() {
  let decided = 0, skipped = 0;
  const named = new Map(data.clusters.map(({ cluster }) => [clusterId(cluster), verdicts.get(clusterId(cluster))?.decision]));
  for (const card of wantedCards) {
    const own = verdicts.get(card.image_id)?.decision;
    const decision = own && own !== "skip" ? own : named.get(clusterOfCard(card)) || own;
    if (decision === "skip") skipped++;
    else if (decision) decided++;
  }
  return { decided, skipped, total: wantedCards.length, open: wantedCards.length - decided - skipped };
}

// Refused images that the page does not show.
const beyond = Math.max(0, (data.counts.review || 0) + (data.counts.novel || 0) - refusedCards.length);

function showBeyond() {
  const hidden = data.total - data.cards.length;
  const text = hidden > 0 ? `${hidden.toLocaleString("en")} more of the ${plural(data.total, "image")} ${hidden === 1 ? "is" : "are"} not on this page`
    + (beyond ? `, ${beyond.toLocaleString("en")} of them to decide` : "") + ": clusterkit audit --limit "
    + `${data.total} shows all.` : "";
  find("beyond").textContent = text;
  return text;
}

let finished = false;

// Once, when the last one is decided.
function checkFinished({ open, total } = progress()) {
  const now = total > 0 && open === 0;
  if (now && !finished && state.settled) {
    if (inFocus()) find("focus").close();
    openFinish();
  }
  if (!now) find("finish").hidden = true;
  else if (!find("finish").hidden) drawFinish();
  finished = now;
}

function openFinish() {
  drawFinish();
  find("finish").hidden = false;
}

// Decided images of the page, whether by themselves or with their cluster; those without a card by themselves.
function decidedCards() {
  return [...toReview, ...tiles.filter((one) => verdicts.has(one.image_id))].map((card) => ({ card, verdict: verdictOf(card) })).filter(({ verdict }) => verdict);
}

function facts(rows) {
  const list = make("dl", "facts");
  for (const [name, value] of rows) {
    const part = make("div");
    part.append(make("dt", "", name), make("dd", "", value));
    list.append(part);
  }
  return list;
}

const listed = (pairs) => pairs.map(([name, count]) => `${name}: ${count.toLocaleString("en")}`).join(" · ");

function summaryRows() {
  const decided = decidedCards();
  const { open } = progress();
  const changes = tally(decided.filter(({ card, verdict }) => verdict.label && verdict.label !== card.predicted_label)
    .map(({ card, verdict }) => `${novel(card) || !card.predicted_label ? "no label" : card.predicted_label} → ${verdict.label}`));
  return [
    ["Decided", [listed(tally(decided.map(({ verdict }) => decisionWords[verdict.decision]))), `open: ${open.toLocaleString("en")}`].filter(Boolean).join(" · ")],
    ["Labels changed", changes.length ? listed(changes) : "none"],
    ["By", listed(tally(decided.map(({ verdict }) => verdict.reviewer || "nobody named")))],
    ...readerRows(),
  ];
}

function drawFinish() {
  const { decided, skipped, total, open } = progress();
  find("finish-title").textContent = open ? `${decided.toLocaleString("en")} of ${total.toLocaleString("en")} decided`
    : total ? `All ${total.toLocaleString("en")} on this page are done` : "Nothing on this page needs an answer";
  const rows = summaryRows();
  find("finish-text").replaceChildren(facts(rows));
  if (unsigned().length) find("finish-text").append(signing());
  const differ = toReview.filter((card) => differing(card).length).length;
  if (differ) find("finish-text").append(button(`Settle the ${differ.toLocaleString("en")} that differ`, showDiffering));
  if (skipped) find("finish-text").append(make("p", "soft", `${plural(skipped, "image")} skipped: nothing is said of ${skipped === 1 ? "it" : "them"}.`));
  if (beyond) find("finish-text").append(make("p", "warning", showBeyond()));
  find("finish-on").textContent = open ? "Go on with the next open one" : "Close";
  find("finish-export").disabled = find("export").disabled;
  find("finish-next").replaceChildren(...nextSteps());
}

// Decisions of this browser under which nobody's name stands; those of a file are somebody else's.
const unsigned = () => [...verdicts].filter(([, verdict]) => verdict.here && !verdict.reviewer);

function signing() {
  const form = make("form", "naming");
  const field = make("input");
  field.maxLength = 100;
  field.placeholder = "your name";
  field.setAttribute("aria-label", "Your name");
  form.append(field, make("button", "", `Sign ${plural(unsigned().length, "decision")}`));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (field.value.trim()) sign(field.value.trim());
  });
  return form;
}

function sign(name) {
  find("reviewer").value = name;
  for (const [id, verdict] of unsigned()) decide(id, { ...verdict, reviewer: name }, false);
  refresh();
  drawFinish();
  find("finish-title").focus();
}

// Where reviews.csv belongs: beside the assignments. From disk the address of the page tells.
function reviewsPath() {
  if (served) return state.reviews || "";
  if (!data.assignments) return "";
  try {
    const path = decodeURIComponent(new URL("reviews.csv", new URL(data.assignments, location.href)).pathname);
    return /^\/[A-Za-z]:\//.test(path) ? path.slice(1) : path;
  } catch {
    return "";
  }
}

const shellText = (path) => (/^[\w./:-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`);

function nextSteps() {
  const path = reviewsPath();
  const command = make("pre", "", `clusterkit fit LABELS --reviews ${shellText(path || "reviews.csv")}`);
  const where = served ? `Every decision is in ${path || "reviews.csv"} already.` : path ? `Put reviews.csv there: ${path}` : "Put reviews.csv beside the assignments.csv of the run.";
  const steps = [make("p", "", where), make("p", "", "Then learn from it; LABELS is what the run was fitted to:"), command];
  return served ? steps : [...steps, make("p", "soft", "If the page was sent to you, send reviews.csv to the person who made it.")];
}

const shortTime = (verdict) => verdict.time.slice(0, 16).replace("T", " ");

// On paper: the promise and the counts of the page, then every decision.
function drawReport() {
  const box = find("report");
  const table = make("table");
  const row = (cell, texts) => {
    const line = make("tr");
    for (const text of texts) line.append(make(cell, "", text));
    return line;
  };
  table.append(make("thead"), make("tbody"));
  table.tHead.append(row("th", ["Image", "Was", "Is", "Decision", "Reviewer", "Time (UTC)", "Note"]));
  for (const { card, verdict } of decidedCards()) {
    const guess = novel(card) ? "" : card.predicted_label;
    table.tBodies[0].append(row("td", [card.image, `${data.status_words[card.status]}${guess ? `: ${guess}` : ""}`, verdict.label,
      decisionWords[verdict.decision] + (verdict.from === "cluster" ? ` as cluster ${card.cluster}` : ""),
      verdict.reviewer, shortTime(verdict), verdict.note || ""]));
  }
  for (const cluster of data.clusters) {
    const named = verdicts.get(clusterId(cluster.cluster));
    if (named) table.tBodies[0].append(row("td", [`cluster ${cluster.cluster}: ${plural(cluster.size, "image")}`, "", named.label, decisionWords[named.decision], named.reviewer, shortTime(named), named.note || ""]));
  }
  box.replaceChildren(make("h2", "", "Review"), facts(summaryRows()));
  if (showBeyond()) box.append(make("p", "", showBeyond()));
  if (table.tBodies[0].rows.length) box.append(table);
  else box.append(make("p", "", "Nothing is decided yet."));
  box.append(make("p", "sign", "Date, name, signature"));
}

function watchFinish() {
  find("end").addEventListener("click", () => {
    openFinish();
    find("finish-title").focus();
  });
  find("finish-export").addEventListener("click", exportReviews);
  find("finish-on").addEventListener("click", () => {
    find("finish").hidden = true;
    if (progress().open) nextOpen();
    else go(state.at);
  });
  addEventListener("beforeprint", drawReport);
  matchMedia("print").addEventListener("change", (event) => { if (event.matches) drawReport(); });
  showBeyond();
}

// Reopened: where it was left.
function resume() {
  const { decided, skipped, open, total } = progress();
  find("start").textContent = !total ? "Look at the images" : !decided && !skipped ? `Start: ${plural(total, "image")} to decide`
    : open ? `Continue: ${open.toLocaleString("en")} of ${plural(total, "image")} to decide` : "Look again";
  checkFinished();
  if (!decided && !skipped) return;
  say(open ? `Welcome back: ${decided.toLocaleString("en")} done, ${open.toLocaleString("en")} open.`
    : `Welcome back: all ${total.toLocaleString("en")} are done.`);
  const row = state.rows.findIndex(isOpen);
  if (row > 0) go(row);
  else if (row < 0) openFinish();
}

// From the first screen: the first open image, large.
function start() {
  if (state.tab === "clusters") state.tab = refusedCards.length ? "refused" : "all";
  show();
  const row = state.rows.findIndex(isOpen);
  if (row >= 0) go(row, false);
  openFocus(state.rows[state.at]);
}
