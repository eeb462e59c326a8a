// What answers prove so far, as clusterkit's methods/certificate.py has it, and which image is asked next.
const ROUNDING = 1e-9; // on the logarithm of the wealth, and on sums
const wealthNeeded = (level) => -Math.log(1 - level) - ROUNDING;

// Logarithm of the wealth against "all losses sum to at least `total`", before the first unit and after each.
function logWealth(losses, population, total, bet) {
  const wealth = [0];
  let seen = 0, certain = null;
  for (let count = 0; count <= losses.length; count++) {
    const missing = total - seen, left = population - count;
    // The rest cannot make up the sum, or need not.
    if (missing > left + ROUNDING) certain = Infinity;
    else if (missing <= 0) certain = -Infinity;
    if (certain !== null) wealth[count] = certain;
    if (count === losses.length) break;
    const mean = missing / left;
    const factor = mean > 0 && mean < 1 ? 1 + (bet * (mean - losses[count])) / (1 - mean) : 1;
    wealth.push(wealth[count] + Math.log(factor));
    seen += losses[count];
  }
  return wealth;
}

// What was reached before counts for nothing where losses have proved the hypothesis since.
function refuted(losses, population, total, level, bet) {
  if (total > population) return true;
  const wealth = logWealth(losses, population, total, bet);
  return wealth.at(-1) > -Infinity && wealth.some((value) => value >= wealthNeeded(level));
}

// Smallest sum of losses that is more than the part `maxError`; whole where each loss is 0 or 1.
function nullTotal(population, maxError, whole) {
  const most = maxError * population;
  return whole ? Math.floor(most + ROUNDING) + 1 : most;
}

// Bound on the sum of all losses: whatever is larger is refuted.
function upperBound(losses, population, level, whole, bet) {
  const seen = losses.reduce((sum, loss) => sum + loss, 0), left = population - losses.length;
  const unit = whole ? 1 : 1e-4;
  let low = 0, high = left * Math.round(1 / unit);
  while (low < high) {
    const middle = Math.floor((low + high + 1) / 2);
    if (refuted(losses, population, seen + middle * unit, level, bet)) high = middle - 1;
    else low = middle;
  }
  // Of sums that are not whole, those up to the next step may not be refuted either.
  return seen + Math.min((whole ? low : low + 1) * unit, left);
}

// Of each set its units in the drawn order, each as the numbers of its images. The sample holds the first
// `listed` units of a set without a gap; what it holds of later ones was drawn for another set.
function unitsOfSets(images, sets) {
  return sets.map(({ listed }, set) => {
    const units = new Map();
    images.forEach((image, number) => {
      if (image.set > set) return;
      if (!units.has(image.unit)) units.set(image.unit, []);
      units.get(image.unit).push(number);
    });
    return [...units].sort(([a], [b]) => a - b).map(([, numbers]) => numbers).slice(0, listed);
  });
}

// Losses of a set's units up to the first that is not answered whole. `lossOf`: 0, 1, or undefined where not answered.
function lossesSoFar(units, lossOf) {
  const losses = [];
  for (const numbers of units) {
    const own = numbers.map(lossOf);
    if (own.includes(undefined)) break;
    losses.push(own.reduce((sum, loss) => sum + loss, 0) / own.length);
  }
  return losses;
}

// One set after the other, each at the full level, up to the first that fails. `plan`: sets, units (`unitsOfSets`),
// maxError, level, whole, bet.
function certifyInOrder(plan, lossOf) {
  let holds = true;
  return plan.sets.map(({ units: population }, set) => {
    const losses = lossesSoFar(plan.units[set], lossOf);
    const total = nullTotal(population, plan.maxError, plan.whole);
    holds = holds && refuted(losses, population, total, plan.level, plan.bet);
    return { losses, population, certified: holds };
  });
}

// The first set that is not certified yet; as many as there are sets: none.
const targetOf = (states) => states.filter((state) => state.certified).length;

// The image that is asked next: the first of the target set's units that is not answered whole, else of the next set's.
function nextImage(plan, lossOf) {
  for (let set = targetOf(certifyInOrder(plan, lossOf)); set < plan.sets.length; set++) {
    for (const numbers of plan.units[set]) {
      const open = numbers.find((number) => lossOf(number) === undefined);
      if (open !== undefined) return open;
    }
  }
  return -1;
}

// Further answers, all as labelled, after which a set is certified; null: never among those that were drawn.
function answersToCertify(plan, set, lossOf) {
  const units = plan.units[set], population = plan.sets[set].units;
  const total = nullTotal(population, plan.maxError, plan.whole);
  if (total > population) return 0;
  const needed = wealthNeeded(plan.level);
  const wealth = logWealth(lossesSoFar(units, (number) => lossOf(number) ?? 0), population, total, plan.bet);
  let most = -Infinity, given = 0;
  for (let seen = 0; seen <= units.length; seen++) {
    most = Math.max(most, wealth[seen]);
    const open = (units[seen] || []).filter((number) => lossOf(number) === undefined).length;
    // The test stops where an answer is open: what is known further on comes with it.
    if ((open || seen === units.length) && wealth[seen] > -Infinity && most >= needed) return given;
    given += open;
  }
  return null;
}
