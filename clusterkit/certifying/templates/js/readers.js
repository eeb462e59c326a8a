// A second reader answers the same images in another order, without the first one's answers; then both are compared.
const roleOf = () => kept.roles[me()] || "first";

// A number that nobody chose, from 0 on (FNV-1a).
function hashOf(text) {
  let hash = 2166136261;
  for (const letter of text) hash = Math.imul(hash ^ letter.codePointAt(0), 16777619) >>> 0;
  return hash;
}

// What others have answered, in this reader's own order.
function toReread() {
  const seat = me();
  return data.images.filter((image) => [...(said.blind.get(image.image_id)?.keys() || [])].some((other) => other !== seat))
    .map((image) => ({ image, place: hashOf(`${seat} ${image.image_id}`) }))
    .sort((a, b) => a.place - b.place).map(({ image }) => image);
}

const nextToReread = () => {
  const image = toReread().find((one) => !answeredBy(one.image_id, me()));
  return image ? imagesById.get(image.image_id).number : -1;
};

// What both said of an image before either saw the other's answer.
function pairsOf(first, second) {
  return data.images.flatMap((image) => {
    const seats = said.blind.get(image.image_id);
    const [mine, other] = [seats?.get(first), seats?.get(second)];
    return mine && other ? [{ id: image.image_id, mine: wordOf(mine), other: wordOf(other) }] : [];
  });
}

const readers = () => [...said.order.keys()].map((seat) => ({ seat, name: said.order.get(seat).map(({ id }) => said.standing.get(id).get(seat)).at(-1).reviewer || "somebody without a name",
  answers: [...said.blind.values()].filter((seats) => seats.has(seat)).length }));

function readerPairs() {
  const found = readers();
  return found.flatMap((first, at) => found.slice(at + 1).map((second) => ({ first, second, pairs: pairsOf(first.seat, second.seat) })))
    .filter(({ pairs }) => pairs.length);
}

// Images of which two readers say two things, until an answer given with both in sight settles it.
function unsettled() {
  return data.images.flatMap((image, number) => {
    const last = said.last.get(image.image_id);
    if (!last || isSettled(last.note)) return [];
    return new Set([...said.standing.get(image.image_id).values()].map(wordOf)).size > 1 ? [number] : [];
  });
}

// How a disagreement reads: who said what.
const saidText = (number) => [...said.blind.get(data.images[number].image_id).values()]
  .map((row) => `${row.reviewer || "somebody without a name"} said ${wordOf(row)}`).join(", ");

const kappaText = (pairs) => {
  const value = kappa(pairs);
  return value === null ? "–" : value.toFixed(2);
};

// Agreement in all and by class: one class against all others.
function agreementTable({ first, second, pairs }) {
  const box = make("table", "agreement");
  box.append(make("caption", "", `${first.name} and ${second.name}: Cohen's kappa of ${plural(pairs.length, "image")} that both read (1 is agreement, 0 is chance)`));
  const line = (tag, cells) => {
    const row = make("tr");
    row.append(...cells.map((text) => make(tag, "", text)));
    return row;
  };
  box.append(line("th", ["", "agree", "kappa"]));
  const row = (name, some) => line("td", [name, `${count(some.filter((pair) => pair.mine === pair.other).length)} of ${count(some.length)}`, kappaText(some)]);
  box.append(row("all answers", pairs));
  for (const name of new Set(pairs.flatMap((pair) => [pair.mine, pair.other]))) {
    box.append(row(name, pairs.map(({ mine, other }) => ({ mine: mine === name, other: other === name }))));
  }
  return box;
}
