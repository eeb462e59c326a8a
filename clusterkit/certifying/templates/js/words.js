// The live line, in words and as a bar: valid at every moment, whoever looks and stops.
// Only a full check shows that none is wrong.
const level = data.max_error ? data.confidence : 1;
const plan = { sets: data.sets, units: unitsOfSets(data.images, data.sets), maxError: data.max_error, level,
  whole: data.unit === "image", bet: data.bet };
const count = (number) => number.toLocaleString("en");
const of100 = (share) => `${Number((100 * share).toFixed(2))} of 100`;
const sure = `${Number((100 * level).toFixed(2))}% sure`;
const hundred = of100(data.max_error);

function labelsOf(set) {
  const { labels, units } = data.sets[set];
  return data.unit === "image" ? plural(labels, "label") : `${plural(labels, "label")} of ${plural(units, "patient")}`;
}

const answered = () => data.images.filter((image) => said.standing.has(image.image_id));
const differing = () => [...data.images.keys()].filter((number) => lossOf(number) === 1);
const budgetLeft = () => Math.max(0, data.budget - answered().length);

// Where things stand: which sets are certified, the one that is next, and what it still takes.
function situation() {
  const states = certifyInOrder(plan, lossOf);
  const certified = targetOf(states);
  const all = certified === states.length;
  const more = all ? 0 : answersToCertify(plan, certified, lossOf);
  const within = more !== null && more <= budgetLeft();
  return { states, certified, all, more, within, next: all || !budgetLeft() ? -1 : nextImage(plan, lossOf) };
}

function certifiedText(set) {
  const { labels } = data.sets[set];
  if (data.unit === "group")
    return `Certified: of the ${labelsOf(set)} at most ${hundred} were wrong as set, on average over the patients (${sure})`;
  return `Certified: of ${labelsOf(set)} at most ${count(Math.floor(data.max_error * labels + ROUNDING))} were wrong as set (${sure})`;
}

// The first set's own bound: what can be said where less is wrong than nothing.
function supportedText({ states: [{ losses, population }] }) {
  if (!losses.length) return "Nothing is known of the others yet.";
  const bound = upperBound(losses, population, plan.level, plan.whole, plan.bet);
  if (bound >= population) return "The answers so far support nothing less.";
  if (data.unit === "group")
    return `What is supported: of the ${labelsOf(0)} at most ${of100(Math.ceil(1e4 * bound / population) / 1e4)} were wrong, on average over the patients (${sure}).`;
  return `What is supported: of ${labelsOf(0)} at most ${count(bound)} were wrong as set, ${of100(Math.ceil(1e3 * bound / population) / 1e3)} (${sure}).`;
}

function lineText(state) {
  const { certified, all, more, within } = state;
  if (all) return `${certifiedText(certified - 1)}. No larger set is asked about.`;
  const further = `${plural(more || 0, "more agreeing answer")} would certify ${certified ? count(data.sets[certified].labels) : labelsOf(certified)}`;
  if (certified) return `${certifiedText(certified - 1)}${within ? `; go on: ${further}` : ""}.`;
  if (within) return `Not yet certified. ${further} at ${hundred}.`;
  return `${hundred} cannot be certified within ${plural(Math.min(data.budget, data.images.length), "answer")}. ${supportedText(state)}`;
}

// Of the set that is asked about, or of the last one.
function drawLine(state) {
  // What the first reader or the model said must not be read off the line.
  const blind = now.mode === "ask" && roleOf() === "second" && !now.settling;
  for (const id of ["bar", "bar-ends"]) find(id).hidden = blind;
  if (blind) {
    find("line").textContent = "Second reading: what comes of it is shown at the end.";
    return;
  }
  find("line").textContent = lineText(state);
  const set = Math.min(state.certified, data.sets.length - 1);
  const numbers = data.images.flatMap((image, number) => (image.set <= set && lossOf(number) !== undefined ? [number] : []));
  const different = numbers.filter((number) => lossOf(number)).length;
  const share = numbers.length ? different / numbers.length : 0;
  const most = Math.min(1, 2 * Math.max(data.max_error, 0.005));
  find("bar-fill").style.width = `${(100 * Math.min(share, most)) / most}%`;
  find("bar-mark").style.left = `${(100 * data.max_error) / most}%`;
  find("bar-so-far").textContent = `so far ${count(different)} of ${count(numbers.length)} different`;
  find("bar-asked").textContent = `${hundred} asked`;
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

function minutesText(answers) {
  if (!answers || kept.seconds.length < 5) return "";
  const minutes = (answers * median(kept.seconds)) / 60;
  return minutes < 1 ? "less than a minute" : `about ${count(Math.ceil(minutes))} min`;
}

function drawCounts(state) {
  const done = answered();
  const last = done.map((image) => said.last.get(image.image_id));
  const unsure = last.filter((row) => wordOf(row) === CANNOT_TELL).length;
  const different = differing().length - last.filter((row) => differs(row) && wordOf(row) === CANNOT_TELL).length;
  let parts = [state.within && !state.all ? `${count(done.length)} of about ${count(done.length + state.more)}` : `${count(done.length)} answered`,
    `${count(Math.max(0, different))} different`, `${count(unsure)} can't tell`, minutesText(state.within ? state.more : 0)];
  if (roleOf() === "second") {
    const theirs = toReread();
    const own = theirs.filter((image) => answeredBy(image.image_id, me())).length;
    parts = [`${count(own)} of ${count(theirs.length)} read again`, minutesText(theirs.length - own)];
  }
  find("counts").textContent = parts.filter(Boolean).join(" · ");
}

// How often a reader said the same of the same image.
function consistencyText(seat) {
  const again = [...said.again.values()].filter((one) => one.seat === seat);
  const same = again.filter((one) => one.first === one.again).length;
  return again.length ? `${count(same)} of ${count(again.length)} repeated the same` : "";
}
