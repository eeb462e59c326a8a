// Under `clusterkit audit --serve` every decision goes straight to reviews.csv in the run.
const waiting = []; // rows that the server does not have yet
const since = []; // all rows of this visit
const refused = []; // why it would not take some
let sending = false;
let retry = 0;
let most = 500; // rows of one request; one by one after a refusal

function send(rows) {
  waiting.push(...rows);
  since.push(...rows);
  flush();
}

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
  const part = nextRows();
  try {
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
    showSaved(error.message);
    clearTimeout(retry);
    retry = setTimeout(flush, 5000);
    return false;
  }
}

async function reason(answer) {
  if (answer.status === 404) return "the server was started anew, open its new address";
  return (await answer.json().catch(() => ({}))).error || `the server answered ${answer.status}`;
}

function showSaved(failed = "") {
  const kept = store.kept ? "Kept in this browser." : "Export reviews.csv now.";
  let text = waiting.length ? "saving…" : "saved to reviews.csv";
  if (failed) text = `NOT saved to reviews.csv: ${failed}. ${kept}`;
  else if (refused.length) text = `${plural(refused.length, "decision")} NOT saved: ${refused.at(-1)}. ${kept}`;
  find("saved").textContent = text;
  find("saved").classList.toggle("alarm", Boolean(failed) || refused.length > 0);
}

// What the file says goes before what this browser remembers, but for what was decided since.
async function loadServed() {
  await flush();
  try {
    inFile.version = "";
    const rows = await fetchRows();
    state.settled = false;
    adopt(rows);
    const written = new Set(rows.filter(isMine).map((row) => row.image_id));
    const missing = allRows().filter((row) => !written.has(row.image_id) && row.decision !== "skip").length;
    find("resend").hidden = !missing;
    find("resend").textContent = `Send ${plural(missing, "decision")} of this browser that reviews.csv lacks`;
    state.reviews = await whereReviews();
    if (!waiting.length && !refused.length) find("saved").textContent = "every decision is saved to reviews.csv";
    refresh();
    resume();
    state.settled = true;
    askSeat();
  } catch (error) {
    showSaved(error.message);
  }
}

// Where the file lies, for the command that comes next.
async function whereReviews() {
  const answer = await fetch("place");
  return answer.ok ? (await answer.json()).reviews : "";
}

function resend() {
  find("resend").hidden = true;
  send(allRows());
}
