// What is decided on a served page goes straight to reviews.csv; what the server does not have yet waits here.
const waiting = []; // rows that the server does not have yet
const refused = []; // why it would not take some
let sending = false;
let retry = 0;
let unsure = false; // whether the server may hold rows of which it could not say so
let most = 500; // rows of one request; one by one after a refusal

async function flush() {
  if (sending) return;
  sending = true;
  try {
    while (waiting.length && await sendSome());
  } finally {
    sending = false;
  }
}

// As many rows as are sent at once: a request has a size.
function nextRows() {
  let size = 0;
  const count = waiting.findIndex((row) => {
    size += JSON.stringify(row).length;
    return size > 1e6;
  });
  return waiting.slice(0, Math.max(1, Math.min(most, count < 0 ? waiting.length : count)));
}

// Sends the next rows; returns whether to go on.
async function sendSome() {
  try {
    if (unsure && sameRow) await dropWritten();
    const part = nextRows();
    if (!part.length) return false;
    const answer = await fetch("reviews", { method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify(part) });
    const never = answer.status === 422 || answer.status === 413;
    if (never && part.length > 1) {
      // One bad row must not hold the others back.
      most = 1;
      return true;
    }
    if (never) refused.push((await answer.json().catch(() => ({}))).error || "it is too long");
    else if (!answer.ok) throw new Error(await reason(answer));
    waiting.splice(0, part.length);
    keep();
    showSaved();
    return true;
  } catch (error) {
    unsure = true;
    showSaved(error.message);
    clearTimeout(retry);
    retry = setTimeout(flush, 5000);
    return false;
  }
}

// An answer that got lost on its way back must not be written twice. Only where no two rows of a page are alike
// does a row in the file tell that it has come: `sameRow`, which the page has or not, names a row.
async function dropWritten() {
  const answer = await fetch("reviews");
  if (!answer.ok) throw new Error(await reason(answer));
  const written = new Set((await answer.json()).rows.map(sameRow));
  waiting.splice(0, waiting.length, ...waiting.filter((row) => !written.has(sameRow(row))));
  unsure = false;
  keep();
  showSaved();
}

async function reason(answer) {
  if (answer.status === 404) return "the server was started anew, open its new address";
  return (await answer.json().catch(() => ({}))).error || `the server answered ${answer.status}`;
}

const inFile = { rows: [], version: "" };
const rowKey = (row) => JSON.stringify(columns.map((name) => row[name]));

// The rows of reviews.csv; null: they are those of the last time.
async function fetchRows() {
  const answer = await fetch("reviews", { headers: inFile.version ? { "If-None-Match": inFile.version } : {} });
  if (answer.status === 304) return null;
  if (!answer.ok) throw new Error(await reason(answer));
  inFile.version = answer.headers.get("ETag") || "";
  return (await answer.json()).rows;
}
