// With more classes than keys 1 to 9, a label is found by typing parts of it.
const searched = data.classes.length > 9;
let search = null;

// First the labels that the card asks about.
function labelOptions(text) {
  const asks = new Set([...labelling.words.candidates, ...labelling.matches.map((match) => match.label)]);
  const options = namesLike(text, known, (name) => asks.has(name));
  if (text && !known.includes(text)) options.push({ name: text, words: `New label: ${text}` });
  return options;
}

// What Enter sets: the label that is marked in the list, else what was typed.
const typedLabel = () => search?.marked() || find("label-text").value;

function saySearch() {
  say(`There are ${data.classes.length} labels: press l, and type a part of one.`);
}

function watchSearch() {
  if (!searched) return;
  find("label-text").removeAttribute("list");
  find("digits-help").hidden = true;
  search = combobox(find("label-text"), find("label-found"), labelOptions, () => find("label-form").requestSubmit());
}
