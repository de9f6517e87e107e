/** The known name that a misspelt one is likely to mean. */

// Two mistakes in a shorter one make another word of it.
const LEAST_LENGTH = 4;
const MOST_MISTAKES = 2;

export function nearestName(name: string, known: readonly string[]): string | undefined {
  if (name.length < LEAST_LENGTH || name.length > 100) return undefined;
  const [best] = known
    .map((candidate) => ({ candidate, distance: editDistance(name, candidate) }))
    .sort((one, other) => one.distance - other.distance);
  return best !== undefined && best.distance <= MOST_MISTAKES ? best.candidate : undefined;
}

/** Levenshtein's. */
function editDistance(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (const [i, character] of [...one].entries()) {
    const next = [i + 1];
    for (let j = 0; j < other.length; j++) {
      const replaced = (row[j] ?? 0) + (character === other[j] ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
