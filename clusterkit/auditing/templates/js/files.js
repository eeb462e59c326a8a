// reviews.csv in and out: what of a file is about this page.

// What is refused beside what no page takes.
function checkRow(row, number) {
  if (isOfLess(row)) return;
  if (row.image_id.startsWith("cluster:") && isForeign(row))
    throw new Error(`row ${number}: ${row.image_id.slice(0, 40)} is of the assignments ${row.assignments.slice(0, 40)}, and this page is of ${data.fingerprint}`);
  if (isForeign(row) && row.decision === "accept" && !row.label)
    throw new Error(`row ${number}: it accepts what the assignments ${row.assignments.slice(0, 40)} predicted, and this page is of ${data.fingerprint}: write the label`);
  const cluster = clusterOf(row);
  if (!cluster || !row.image || row.image === cluster.medoid) return;
  const own = members.get(cluster.cluster) || [];
  // A number means something in one batch only; an image of the cluster tells.
  if (!cluster.labelled && own.length === cluster.size && !own.some((card) => card.image === row.image))
    throw new Error(`row ${number}: cluster ${cluster.cluster} does not hold ${row.image}: it is of another batch`);
}

const isHere = (row) => onPage.has(row.image_id) || Boolean(clusterOf(row));
const isForeign = (row) => row.assignments && ![data.fingerprint, data.fingerprint_before, ...data.grown_from].includes(row.assignments);
// It names a cluster as it was before the table grew: kept as it is, and no answer to what is shown here.
const isOfLess = (row) => row.image_id.startsWith("cluster:") && data.grown_from.includes(row.assignments);

// A file of another run, of which no image is here, is one that was mixed up.
function checkForeign(rows) {
  const foreign = rows.find(isForeign);
  if (!foreign || rows.some(isHere)) return;
  throw new Error(`it is of the assignments ${foreign.assignments.slice(0, 40)}, this page is of ${data.fingerprint}, and none of its images is here. Import it into the page of its own run`);
}

function clusterOf(row) {
  if (isOfLess(row)) return undefined;
  const number = /^cluster:(\d+)$/.exec(row.image_id);
  return number ? clusters.get(Number(number[1])) : undefined;
}

const predicted = new Map([...tiles, ...data.cards].map((one) => [one.image_id, one.predicted_label]));
const onPage = new Set([...tiles, ...data.cards].filter(reviewable).map((one) => one.image_id));

// Later rows win; what is not on this page is kept and exported again. One step to undo.
function take(rows, undoable = false) {
  const step = [], changed = new Set();
  let replaced = 0;
  for (const row of rows) {
    const cluster = clusterOf(row);
    if (!onPage.has(row.image_id) && !cluster) {
      others.delete(row.image_id);
      others.set(row.image_id, row);
      continue;
    }
    const { image_id: written, ...verdict } = row;
    const id = cluster ? clusterId(cluster.cluster) : written;
    const before = verdicts.get(id) || null;
    if (before && (before.decision !== verdict.decision || before.label !== verdict.label)) replaced++;
    if (!changed.has(id)) step.push({ id, before });
    changed.add(id);
    verdicts.set(id, verdict);
    if (verdict.decision === "accept" && !verdict.label) verdict.label = predicted.get(id) || "";
    if (verdict.label) addName(verdict.label);
  }
  if (undoable && step.length) remember(step);
  keep();
  return replaced;
}

function exportReviews() {
  const rows = allRows();
  downloadReviews(rows);
  store.exported = true;
  say(`${plural(rows.length, "decision")} exported. Put reviews.csv beside the assignments.csv of this run.`);
}

async function importReviews(file) {
  try {
    if (file.size > 50e6) throw new Error("it is larger than 50 MB");
    const rows = fromCsv(textOf(await file.arrayBuffer()));
    checkForeign(rows);
    compareReaders(rows, file.name);
  } catch (error) {
    say(`${file.name} was not read: ${error.message}. Nothing was changed.`, true);
  }
}
