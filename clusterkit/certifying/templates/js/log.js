// What was answered: rows of reviews.csv, of which none is ever changed or taken out. All else is read off them.
const place = "clusterkit " + data.key;
const imagesById = new Map(data.images.map((image, number) => [image.image_id, { ...image, number }]));
const local = new Map(); // sameRow → row: made or loaded in this browser
// What this browser keeps beside the rows.
const kept = { reader: "", roles: {}, practised: false, shown: [], seconds: [], past: false, beyond: false, finished: false };
const store = { text: null, works: true, exported: true };
// What the rows say. By image_id: each reader's last word (standing), the last that was given without the other's in
// sight (blind), and the last of all. By reader: images in the order answered, answers undone. And what was asked again.
const said = { standing: new Map(), blind: new Map(), last: new Map(), order: new Map(), again: new Map(), undone: new Map() };

// Rows that are made here differ in their times; a name may come back from the file with its blanks set right.
const sameRow = (row) => (/\.\d{3}Z$/.test(row.time) ? JSON.stringify([row.image_id, row.time, row.decision, seatOf(row.reviewer)]) : rowKey(row));
const seatOf = (name) => (name || "").trim().replace(/\s+/g, " ").toLowerCase();
const me = () => seatOf(kept.reader);
const isSettled = (note) => /(^|; )settled$/.test(note || "");
const againIn = (note) => /^asked again: ([^;]*)/.exec(note || "")?.[1];
const CANNOT_TELL = "can't tell", NONE_OF_THESE = "none of these";

// Times to the millisecond, each later than all before it: the order of rows is never in doubt.
let lastTime = 0;
function stamp(imageId) {
  const known = allRows().filter((row) => row.image_id === imageId).map((row) => Date.parse(row.time))
    .filter((time) => time < Date.now() + 86400000);
  lastTime = Math.max(Date.now(), lastTime + 1, ...known.map((time) => time + 1));
  return new Date(lastTime).toISOString();
}

function rowFor(image, decision, label, note) {
  return { image_id: image.image_id, image: image.image, label, decision, reviewer: kept.reader.trim(), time: stamp(image.image_id),
    note, assignments: data.fingerprint };
}

function allRows() {
  const rows = new Map(inFile.rows.map((row) => [sameRow(row), row]));
  for (const [key, row] of local) if (!rows.has(key)) rows.set(key, row);
  return [...rows.values()];
}

function add(row) {
  local.set(sameRow(row), row);
  store.exported = false;
  derive();
  keep();
  if (served) send([row]);
}

// Answers of before the images were drawn are about something else.
const isHere = (row) => imagesById.has(row.image_id) && !(data.since && Date.parse(row.time) < Date.parse(data.since));

function rowsByImage() {
  const found = new Map();
  for (const row of allRows()) {
    if (!isHere(row)) continue;
    if (!found.has(row.image_id)) found.set(row.image_id, []);
    found.get(row.image_id).push(row);
  }
  // As clusterkit has it: where all times can be compared they order the rows, else the file does.
  for (const rows of found.values())
    if (rows.every((row) => Date.parse(row.time))) rows.sort((a, b) => Date.parse(a.time) - Date.parse(b.time));
  return found;
}

function derive() {
  for (const part of Object.values(said)) part.clear();
  const counts = (seat) => said.undone.set(seat, (said.undone.get(seat) || 0) + 1);
  const order = [];
  for (const [id, rows] of rowsByImage()) {
    const standing = new Map(), blind = new Map();
    for (const row of rows) {
      const seat = seatOf(row.reviewer);
      if (row.decision === "skip") {
        if (row.note.startsWith("undone")) counts(seat);
        // A skip without a name may be anybody's.
        for (const seats of [standing, blind]) for (const one of seat ? [seat, ""] : [...seats.keys()]) seats.delete(one);
        continue;
      }
      if (againIn(row.note) !== undefined) {
        said.again.set(`${seat} ${id}`, { seat, id, first: wordOf(row), again: againIn(row.note) });
        if (standing.has(seat)) continue;
      }
      standing.delete(seat);
      standing.set(seat, row);
      if (!isSettled(row.note)) blind.set(seat, row);
    }
    if (!standing.size) continue;
    said.standing.set(id, standing);
    said.blind.set(id, blind);
    said.last.set(id, [...standing.values()].at(-1));
    for (const [seat, row] of standing) order.push({ seat, id, time: Date.parse(row.time) || 0, settled: isSettled(row.note) });
  }
  for (const one of order.sort((a, b) => a.time - b.time)) {
    if (!said.order.has(one.seat)) said.order.set(one.seat, []);
    said.order.get(one.seat).push(one);
  }
}

// What a row says that its image is, in words.
function wordOf(row) {
  if (row.decision === "reject") return (row.note || "").startsWith(CANNOT_TELL) ? CANNOT_TELL : NONE_OF_THESE;
  return row.label || (row.decision === "accept" ? imagesById.get(row.image_id).predicted_label : "");
}

const ownOrder = () => said.order.get(me()) || [];
const answeredBy = (id, seat) => Boolean(said.standing.get(id)?.has(seat));
const differs = (row) => wordOf(row) !== imagesById.get(row.image_id).predicted_label;

// 1: at least one reader says otherwise, until it is settled; undefined: nobody has answered.
function lossOf(number) {
  const { image_id: id } = data.images[number];
  const last = said.last.get(id);
  if (!last) return undefined;
  const rows = isSettled(last.note) ? [last] : [...said.standing.get(id).values()];
  return rows.some(differs) ? 1 : 0;
}

// Whoever has opened the page in another tab has answered too.
function keep() {
  join(stored());
  try {
    const text = JSON.stringify({ rows: [...local.values()], kept });
    localStorage.setItem(place, text);
    Object.assign(store, { text, works: true });
  } catch {
    // Full, or forbidden by the browser's settings.
    store.works = false;
  }
  find("unkept").hidden = store.works || served;
}

function stored() {
  try {
    return localStorage.getItem(place);
  } catch {
    store.works = false;
    return null;
  }
}

function join(text) {
  if (!text || text === store.text) return;
  try {
    const theirs = JSON.parse(text);
    for (const row of theirs.rows) local.set(sameRow(row), row);
    if (!kept.reader) Object.assign(kept, theirs.kept);
    kept.shown = [...new Set([...kept.shown, ...theirs.kept.shown])];
    derive();
  } catch {
    setAside(text);
  }
}

function load() {
  store.text = stored();
  try {
    const found = store.text ? JSON.parse(store.text) : { rows: [], kept: {} };
    for (const row of found.rows) local.set(sameRow(row), row);
    Object.assign(kept, found.kept);
    store.exported = !local.size;
  } catch {
    setAside(store.text);
  }
  derive();
}

// What cannot be read is not written over: somebody may still get it out.
function setAside(text) {
  say("What this browser had stored cannot be read. It is set aside; load a reviews.csv if you have one.", true);
  try {
    localStorage.setItem(`${place} damaged ${new Date().toISOString()}`, text);
  } catch {
    store.works = false;
  }
}

window.addEventListener("beforeunload", (event) => {
  if (!store.works && (served ? waiting.length > 0 : !store.exported)) event.preventDefault();
});
