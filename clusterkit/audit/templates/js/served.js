// Under `clusterkit audit --serve` every decision goes straight to reviews.csv in the run.
const waiting = []; // rows that the server does not have yet
let sending = false;

function send(rows) {
  waiting.push(...rows);
  flush();
}

async function flush() {
  if (sending || !waiting.length) return;
  sending = true;
  const part = waiting.slice(0, 500);
  try {
    const answer = await fetch("reviews", { method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify(part) });
    const said = await answer.json().catch(() => ({}));
    if (!answer.ok) {
      // Refused for what it says: sending it again would not help.
      if (answer.status === 422) waiting.splice(0, part.length);
      throw new Error(said.error || `the server answered ${answer.status}`);
    }
    waiting.splice(0, part.length);
    keep();
    find("saved").textContent = waiting.length ? "saving…" : "saved to reviews.csv";
    find("saved").classList.remove("alarm");
  } catch (error) {
    find("saved").textContent = `NOT saved to reviews.csv: ${error.message}. `
      + (store.kept ? "Kept in this browser." : "Export reviews.csv now.");
    find("saved").classList.add("alarm");
    setTimeout(flush, 5000);
    return;
  } finally {
    sending = false;
  }
  flush();
}

// The file is what counts: what it says replaces what this browser remembers.
async function loadServed() {
  await flush();
  if (waiting.length) return;
  try {
    const answer = await fetch("reviews");
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    const { rows } = await answer.json();
    verdicts.clear();
    others.length = 0;
    take(rows);
    find("saved").textContent = "every decision is saved to reviews.csv";
    refresh();
  } catch (error) {
    find("saved").textContent = `reviews.csv cannot be read: ${error.message}`;
    find("saved").classList.add("alarm");
  }
}
