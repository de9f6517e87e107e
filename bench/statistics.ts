/** Of several rounds: the middle, and how far they were apart. */

export interface Spread {
  median: number;
  least: number;
  most: number;
}

export function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((one, other) => one - other);
  const at = (index: number) => sorted[index] ?? Number.NaN;
  const middle = sorted.length / 2;
  const median = sorted.length % 2 === 1 ? at(Math.floor(middle)) : (at(middle - 1) + at(middle)) / 2;
  return { median, least: at(0), most: at(sorted.length - 1) };
}

/** Round by round, so that what disturbed a round disturbed both. */
export function ratio(values: readonly number[], to: readonly number[]): Spread {
  return spread(values.map((value, round) => value / (to[round] ?? Number.NaN)));
}
