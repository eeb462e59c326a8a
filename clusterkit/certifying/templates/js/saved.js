// Under `clusterkit certify --serve` every answer goes straight to reviews.csv, and others' answers come from there.
const saving = { ready: false };

function send(rows) {
  waiting.push(...rows);
  showSaved();
  flush();
}

function showSaved(failed = "") {
  const kept = store.works ? "Kept in this browser; go on." : "Export reviews.csv now.";
  let text = store.works ? "kept in this browser" : "not kept: export it";
  if (served) text = !saving.ready ? "connecting…" : waiting.length ? "saving…" : "saved";
  if (failed) text = `NOT saved yet: ${failed}. ${kept}`;
  else if (refused.length) text = `${plural(refused.length, "answer")} NOT saved: ${refused.at(-1)}. ${kept}`;
  find("saved").textContent = text;
  find("saved").classList.toggle("alarm", Boolean(failed) || refused.length > 0);
}

// What the file says, and what this browser has that the file lacks: a server that was gone, a tab that was closed.
async function loadServed() {
  try {
    takeTable(await fetchRows());
    const written = new Set([...inFile.rows, ...waiting].map(sameRow));
    const missing = [...local].filter(([key]) => !written.has(key)).map(([, row]) => row);
    saving.ready = true;
    if (missing.length) send(missing);
    else showSaved();
    redraw();
  } catch (error) {
    showSaved(error.message);
    setTimeout(loadServed, 5000);
  }
}

function takeTable(rows) {
  inFile.rows = rows;
  derive();
}

// A file that has not changed is not sent again.
async function poll() {
  if (document.hidden || sending || waiting.length || !saving.ready) return;
  try {
    const rows = await fetchRows();
    if (!rows) return;
    takeTable(rows);
    redraw();
  } catch {
    // The next answer says so where the server is gone.
  }
}

// Another reader's file, or one's own of another machine. Nothing that was answered here is replaced.
function takeRows(rows) {
  const known = new Set(allRows().map(sameRow));
  const fresh = rows.filter((row) => !known.has(sameRow(row)));
  for (const row of fresh) local.set(sameRow(row), row);
  derive();
  keep();
  if (served && fresh.length) send(fresh);
  return fresh;
}

// A page takes rows about any image of its batch; about clusters it says nothing.
function checkRow(row, number) {
  if (row.decision === "accept" && !row.label && row.assignments && row.assignments !== data.fingerprint)
    throw new Error(`row ${number}: it accepts what the assignments ${row.assignments.slice(0, 40)} predicted, and this page is of ${data.fingerprint}: write the label`);
}

async function importReviews(file) {
  try {
    if (file.size > 50e6) throw new Error("it is larger than 50 MB");
    const rows = fromCsv(textOf(await file.arrayBuffer()));
    const here = rows.filter((row) => imagesById.has(row.image_id));
    if (rows.length && !here.length) throw new Error("none of its images is among those that are asked here. Load it into the page of its own batch");
    const fresh = takeRows(here);
    redraw();
    say(`${file.name}: ${plural(here.length, "row")} about images of this page, ${fresh.length.toLocaleString("en")} of them new.`);
  } catch (error) {
    say(`${file.name} was not read: ${error.message}. Nothing was changed.`, true);
  }
}

function exportReviews() {
  const rows = allRows().filter((row) => imagesById.has(row.image_id));
  downloadReviews(rows);
  store.exported = true;
  say(`${plural(rows.length, "row")} exported as reviews.csv.`);
}

function watchSaving() {
  find("saved").hidden = false;
  showSaved();
  if (!served) return;
  loadServed();
  setInterval(poll, 5000);
  document.addEventListener("visibilitychange", poll);
}

// Another tab with the same page has answered something.
window.addEventListener("storage", (event) => {
  if (event.key !== place) return;
  join(event.newValue);
  if (now.mode === "intro" && !find("reader").value) find("reader").value = kept.reader;
  redraw();
});
