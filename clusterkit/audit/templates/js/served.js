// Under `clusterkit audit --serve` every decision goes straight to reviews.csv in the run.
const waiting = []; // rows that the server does not have yet
const refused = []; // why it would not take some
let sending = false;
let most = 500; // rows of one request; one by one after a refusal

function send(rows) {
  waiting.push(...rows);
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

// Sends the next rows; returns whether to go on.
async function sendSome() {
  const part = waiting.slice(0, most);
  try {
    const answer = await fetch("reviews", { method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify(part) });
    if (answer.status === 422 && part.length > 1) {
      // One bad row must not hold the others back.
      most = 1;
      return true;
    }
    if (answer.status === 422) refused.push((await answer.json()).error);
    else if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    waiting.splice(0, part.length);
    keep();
    showSaved();
    return true;
  } catch (error) {
    showSaved(error.message);
    setTimeout(flush, 5000);
    return false;
  }
}

function showSaved(failed = "") {
  const kept = store.kept ? "Kept in this browser." : "Export reviews.csv now.";
  let text = waiting.length ? "saving…" : "saved to reviews.csv";
  if (failed) text = `NOT saved to reviews.csv: ${failed}. ${kept}`;
  else if (refused.length) text = `${plural(refused.length, "decision")} NOT saved: ${refused.at(-1)}. ${kept}`;
  find("saved").textContent = text;
  find("saved").classList.toggle("alarm", Boolean(failed) || refused.length > 0);
}

// What the file says goes before what this browser remembers.
async function loadServed() {
  await flush();
  try {
    const answer = await fetch("reviews");
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    const { rows } = await answer.json();
    take([...rows, ...waiting]);
    if (!waiting.length && !refused.length) find("saved").textContent = "every decision is saved to reviews.csv";
    refresh();
  } catch (error) {
    showSaved(error.message);
  }
}
