// What was decided last: taken back, done again, and looked at again.
const undone = []; // steps that were taken back, the last of them at the end
const recentCount = 10;

// A new step makes what was taken back before it unreachable.
function remember(step) {
  steps.push(step);
  if (steps.length > 1000) steps.shift();
  undone.length = 0;
}

// Of one reader's rows in reviews.csv the latest holds: what is put back is said anew.
const saidAnew = (row) => (served ? { ...row, time: now() } : row);

// Puts back what one part of a step says was before, and returns what undoes that.
function swap(part) {
  if (part.known) {
    const before = [...known];
    known.splice(0, known.length, ...part.known);
    return { known: before };
  }
  if (part.row) {
    const before = others.get(part.id);
    const row = saidAnew(part.row);
    others.set(part.id, row);
    if (served) send([row]);
    return { id: part.id, row: before };
  }
  const before = verdicts.get(part.id) || null;
  decide(part.id, part.before && saidAnew(part.before), false);
  return { id: part.id, before };
}

function move(from, to, word, done) {
  const step = from.pop();
  if (!step) return say(`There is nothing to ${word}.`);
  to.push(step.map(swap));
  keep();
  refresh();
  const parts = step.filter((part) => !part.known);
  const [first] = parts;
  const text = first?.before ? first.before.decision : "not decided";
  say(parts.length === 1 ? `${done}: ${text} again` : `${done}: ${plural(parts.length, "decision")}`);
  if (first) returnTo(first.id);
}

const undo = () => move(steps, undone, "undo", "Undone");
const redo = () => move(undone, steps, "do again", "Done again");

// The images that were decided last, each once, the last first.
function recentCards() {
  const found = [];
  for (let at = steps.length - 1; at >= 0 && found.length < recentCount; at--) {
    const [{ id }] = steps[at];
    const card = steps[at].length === 1 && verdicts.has(id) && cardsById.get(id);
    if (card && !found.includes(card)) found.push(card);
  }
  return found;
}

// Ctrl+Z, Shift+Ctrl+Z and Ctrl+Y; in a field they are the browser's.
function historyKey(event) {
  if (!(event.ctrlKey || event.metaKey) || event.altKey) return false;
  const key = event.key.toLowerCase();
  if (key !== "z" && key !== "y") return false;
  if (event.target.closest("input:not([type=range]), textarea, #label-dialog, #near, #own-names")) return false;
  event.preventDefault();
  // Held down it must not take back what nobody has seen.
  if (event.repeat) return true;
  if (key === "y" || event.shiftKey) redo();
  else undo();
  return true;
}
