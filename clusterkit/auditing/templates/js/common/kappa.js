// How often two readers say the same.
const tally = (values) => [...values.reduce((counts, value) => counts.set(value, (counts.get(value) || 0) + 1), new Map())]
  .sort((a, b) => b[1] - a[1]);

// Cohen's kappa (1960): agreement beyond what the two readers' own frequencies give by chance.
function kappa(pairs) {
  const share = (key) => tally(pairs.map((pair) => pair[key])).map(([name, count]) => [name, count / pairs.length]);
  const mine = new Map(share("mine"));
  const chance = share("other").reduce((sum, [name, part]) => sum + part * (mine.get(name) || 0), 0);
  const agreed = pairs.filter((pair) => pair.mine === pair.other).length / pairs.length;
  return chance < 1 ? (agreed - chance) / (1 - chance) : null;
}
