// Under `clusterkit audit --serve` every decision goes straight to reviews.csv in the run.
const since = []; // all rows of this visit
const sameRow = null; // times to the second: two rows may be alike

function send(rows) {
  waiting.push(...rows);
  since.push(...rows);
  flush();
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
