// The keyboard: one key an answer; a key that is held down answers once.
const workKeys = {
  " ": cannotTell, x: noneOfThese, u: undo, Backspace: undo, c: openTypical, m: openNote, p: pause, s: showLabel,
  l: () => searched && find("label-text").focus(), "?": () => find("help").showModal(),
};

function answerKey(key) {
  const name = key.length === 1 ? key.toLowerCase() : key;
  if (data.show_label && !now.naming) {
    if (name === "y" || name === ARROWS[1]) return answerYes;
    if (name === "n" || name === ARROWS[0]) return answerNo;
    return null;
  }
  const found = choices.find(({ label, keys }) => keys.includes(name) && !(now.naming && label === current().predicted_label));
  return found ? () => answerLabel(found.label) : null;
}

document.addEventListener("keydown", (event) => {
  const shortcut = (event.ctrlKey || event.altKey || event.metaKey) && !event.getModifierState("AltGraph");
  if (shortcut || event.isComposing || document.querySelector("dialog:modal")) return;
  const typing = event.target.closest("input, textarea, select");
  if (typing) {
    if (event.key === "Escape" && typing.id === "label-text") find("work").focus();
    return;
  }
  if (now.mode === "paused" && event.key === "p" && !event.repeat) return goOn();
  if (!inFocus()) return;
  const { key } = event;
  if (Object.hasOwn(lookKeys, key)) {
    event.preventDefault();
    return lookKeys[key]();
  }
  // Enter presses what has the focus; a blank presses nothing: it means “can't tell”.
  if (key === "Enter") {
    // Held down it must not answer image after image.
    if (event.repeat) event.preventDefault();
    return;
  }
  if (now.feedback && now.mode === "practice") {
    if (event.target.closest("button")) return;
    if (answerKey(key) || key === " ") event.preventDefault();
    return;
  }
  const work = answerKey(key) || (Object.hasOwn(workKeys, key) ? workKeys[key] : null);
  if (!work) return;
  event.preventDefault();
  if (event.repeat) return;
  work();
});
// A blank that was pressed on a button must not press it when it is let go.
document.addEventListener("keyup", (event) => {
  if (event.key === " " && inFocus() && !event.target.closest("input, textarea, dialog") && !now.feedback) event.preventDefault();
});
