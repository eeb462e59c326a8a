// Under `audit --serve` several people read side by side, each in a seat of their own: the name under Reviewer.
const colleagues = new Map(); // image_id or "cluster:3" → Map of seat → that reader's last row, the last one at the end
const pollEvery = 5000;

const seatOf = (name) => (name || "").trim().replace(/\s+/g, " ").toLowerCase();

// A row without a name is this reader's where it was made in this browser, or where nobody is named here either.
function isMine(row) {
  const seat = seatOf(row.reviewer);
  return seat === seatOf(find("reviewer").value) || (!seat && Boolean(row.here || verdicts.get(row.image_id)?.here));
}

const isKept = (row) => verdicts.has(row.image_id) && rowKey(rowOf(row.image_id, verdicts.get(row.image_id))) === rowKey(row);

// Takes over what reviews.csv says now: the own rows as decisions, those of others beside them.
function adopt(rows) {
  inFile.rows = rows;
  const written = new Set(rows.map(rowKey));
  // And what was decided while the answer was on its way.
  const all = [...rows, ...since.filter((row) => !written.has(rowKey(row)))];
  colleagues.clear();
  for (const row of all) if (!isMine(row)) seat(row);
  const last = new Map([...all, ...waiting].filter(isMine).map((row) => [row.image_id, row]));
  take([...last.values()].filter((row) => !isKept(row)));
  // An answer of another seat stands under that one's name, and is no decision of this one.
  const safe = new Set([...all, ...waiting].map(rowKey));
  for (const [id, verdict] of verdicts)
    if (!isMine(verdict) && safe.has(rowKey(rowOf(id, verdict)))) verdicts.delete(id);
}

function seat(row) {
  const cluster = clusterOf(row);
  const id = cluster ? clusterId(cluster.cluster) : row.image_id;
  if (!colleagues.has(id)) colleagues.set(id, new Map());
  const seats = colleagues.get(id);
  seats.delete(seatOf(row.reviewer));
  if (row.decision !== "skip") seats.set(seatOf(row.reviewer), row);
  if (row.label) addName(row.label);
}

const readerName = (row) => row.reviewer || "somebody without a name";

// What the other readers say of a card: of the image itself, else of its cluster.
function answersOf(card) {
  const named = colleagues.get(clusterOfCard(card)) || [];
  return [...new Map([...named, ...(colleagues.get(card.image_id) || [])]).values()]
    .map((row) => ({ row, said: said({ ...row, image_id: card.image_id }) }));
}

const isSettled = (note) => /(^|; )settled$/.test(note || "");

// The other readers' answers that are not this one's; none before the own answer, or once it is settled.
function differing(card) {
  const own = verdictOf(card);
  if (!colleagues.size || !own || own.decision === "skip") return [];
  const mine = said({ ...own, image_id: card.image_id });
  const answers = answersOf(card);
  const last = [...answers.map(({ row }) => row), own].reduce((a, b) => (b.time >= a.time ? b : a));
  return isSettled(last.note) ? [] : answers.filter((answer) => answer.said !== mine);
}

const sameOrOther = ({ row, said: theirs }, mine) => `${readerName(row)} said ${theirs === mine ? "the same" : theirs}`;

// Blind before the own answer: then what the others said.
function readersText(card) {
  return colleagues.size ? answersText(answersOf(card), verdictOf(card), card.image_id) : "";
}

// The same of the name of a whole cluster.
function namersText(number) {
  const id = clusterId(number);
  const answers = [...(colleagues.get(id) || new Map()).values()].map((row) => ({ row, said: said({ ...row, image_id: id }) }));
  return answersText(answers, verdicts.get(id), id);
}

function answersText(answers, own, id) {
  if (own && own.decision !== "skip") {
    const mine = said({ ...own, image_id: id });
    return answers.map((answer) => sameOrOther(answer, mine)).join(", ");
  }
  const who = new Intl.ListFormat("en").format(answers.map(({ row }) => readerName(row)));
  return who && `${who} ${answers.length === 1 ? "has" : "have"} answered`;
}

// The answer to a disagreement that was in sight is the one that holds, and says so.
function settledNote(card, note) {
  if (!disagreeing.has(card.image_id) && !differing(card).length) return note;
  return isSettled(note) ? note : [note, "settled"].filter(Boolean).join("; ");
}

// For the end of a review: how far each other reader is, and how often both agree.
function readerRows() {
  const names = new Map();
  for (const card of toReview) {
    const own = verdictOf(card);
    for (const { row, said: theirs } of answersOf(card)) {
      const key = seatOf(row.reviewer);
      if (!names.has(key)) names.set(key, { name: readerName(row), count: 0, pairs: [] });
      const reader = names.get(key);
      reader.count++;
      if (own && own.decision !== "skip") reader.pairs.push({ mine: said({ ...own, image_id: card.image_id }), other: theirs });
    }
  }
  return [...names.values()].map(({ name, count, pairs }) => [name, `${plural(count, "image")} answered`
    + (pairs.length ? `; ${agreementText(pairs)}` : "")]);
}

// Asks the server for what others have added; a file that has not changed is not sent again.
async function poll() {
  if (document.hidden || sending || waiting.length || !state.settled) return;
  try {
    const rows = await fetchRows();
    if (rows) {
      warnUnsigned(rows);
      adopt(rows);
      redraw();
    }
  } catch {
    // The next decision says so where the server is gone.
  }
}

// Two people without names would have one seat.
function warnUnsigned(rows) {
  const own = new Set([...inFile.rows, ...since].map(rowKey));
  if (!find("reviewer").value.trim() && rows.some((row) => !seatOf(row.reviewer) && !own.has(rowKey(row))))
    say("Somebody without a name answers here too: write your name under Reviewer, so that each has answers of their own.", true);
}

function changeSeat() {
  // Undo must not take back what somebody else has decided.
  if ([...verdicts.values()].some((verdict) => !isMine(verdict))) steps.length = undone.length = 0;
  if (served) adopt(inFile.rows);
  keep();
  refresh();
}

// Who of those in the file sits here? Asked once in a browser, before the first answer.
function askSeat() {
  if (find("reviewer").value.trim() || store.seated || !inFile.rows.length || verdicts.size) return;
  const counts = tally(inFile.rows.filter((row) => seatOf(row.reviewer)).map((row) => row.reviewer.trim()));
  find("seats").replaceChildren(...counts.map(([name, count]) =>
    button(`${name}: ${plural(count, "answer")}`, () => takeSeat(name))));
  find("seat").showModal();
}

function takeSeat(name) {
  store.seated = true;
  find("reviewer").value = name;
  find("seat").close();
  changeSeat();
  resume();
}

function watchSeats() {
  find("reviewer").addEventListener("change", changeSeat);
  find("seat-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (find("seat-name").value.trim()) takeSeat(find("seat-name").value.trim());
  });
  find("seat-none").addEventListener("click", () => takeSeat(""));
  if (!served) return;
  find("nobody").hidden = false;
  setInterval(poll, pollEvery);
  document.addEventListener("visibilitychange", poll);
}
