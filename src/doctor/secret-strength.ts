/** How hard SECRET_KEY is to guess. Pure. It is the key to every stored session, and nothing stretches it. */
import { type Finding, failure, ok, warning } from "./finding.ts";

const MAKE = "Make one with: openssl rand -base64 48, and rotate to it (docs/runbook.md: NEW,OLD at first).";
// The estimate says too little of short random text: what is random and long enough must always come out above.
const ENOUGH_BITS = 96;

/** One finding for each weakness; the keys themselves are in none. */
export function secretStrength(secretKeys: readonly string[]): Finding[] {
  const check = "settings.secret_key";
  const findings = secretKeys.flatMap((key, index) => {
    const name = secretKeys.length > 1 ? `SECRET_KEY: key ${index + 1}` : "SECRET_KEY";
    const problem = weakness(key);
    if (problem === undefined) return [];
    const says = `${name} ${problem.says}`;
    return [problem.isKnown ? failure(check, says, MAKE) : warning(check, says, MAKE)];
  });
  if (findings.length > 0 || secretKeys.length === 0) return findings;
  return [ok(check, `SECRET_KEY looks random${secretKeys.length > 1 ? ` (${secretKeys.length} keys)` : ""}`)];
}

interface Weakness {
  says: string;
  /** Anybody can look it up, or would try it at first. */
  isKnown?: boolean;
}

function weakness(key: string): Weakness | undefined {
  if (PLACEHOLDER.test(key) || PUBLISHED.some((known) => key.includes(known)))
    return { says: "is an example or a placeholder that anybody knows", isKnown: true };
  const period = repetition(key);
  if (period !== undefined) return { says: `repeats the same ${period} characters`, isKnown: period < 16 };
  const decoded = decodedText(key);
  if (decoded !== undefined) return { says: "is readable text in base64 or hex: that hides it from nobody" };
  const bits = estimatedBits(key);
  if (bits < ENOUGH_BITS)
    return { says: `looks made by a person, not by chance (worth about ${Math.round(bits)} bits)` };
  return undefined;
}

// What people leave in a file that they copied, and what this repository shows or tests with.
const PLACEHOLDER =
  /change[-_ ]?(me|this|it)|your[-_ ]|replace[-_ ]?(me|this|with)|example|placeholder|secret[-_ ]?key|password|passw0rd|test[-_ ]|dummy|openssl|lorem/i;
const PUBLISHED = ["fRZ3yk0Hr1hVQ8m5uM4p9c2oXwTe7SjL"];

/** The length of the shortest beginning of which the whole is made, if that is at most half of it. */
function repetition(key: string): number | undefined {
  const period = `${key}${key}`.indexOf(key, 1);
  return period <= key.length / 2 ? period : undefined;
}

/** Text that somebody encoded; random bytes are hardly ever printable to the end. */
function decodedText(key: string): string | undefined {
  const encoding = /^([0-9a-f]{2})+$/i.test(key)
    ? "hex"
    : /^[A-Za-z0-9+/_-]+=*$/.test(key)
      ? "base64"
      : undefined;
  if (encoding === undefined) return undefined;
  const text = Buffer.from(key, encoding).toString("latin1");
  return text.length >= 12 && /^[\x20-\x7e\r\n\t]+$/.test(text) ? text : undefined;
}

/**
 * What somebody has to try who knows how people choose: a character that continues what was before it (a sequence, a
 * repetition, a run of letters that looks like a word) adds little, any other what its alphabet gives.
 */
function estimatedBits(key: string): number {
  const alphabet = alphabetSize(key);
  // Of only 32 characters their frequencies say too little.
  const perCharacter = HEX.test(key) ? 4 : Math.min(Math.log2(alphabet), shannonBits(key));
  let bits = 0;
  for (let at = 0; at < key.length; ) {
    const run = predictableRun(key, at);
    bits += run > 2 ? Math.log2(alphabet) + RUN_BITS : perCharacter * run;
    at += run;
  }
  return bits;
}

const HEX = /^[0-9a-f]+$/i;
// A word, or where a sequence begins and how far it goes, out of some thousands.
const RUN_BITS = 11;

function alphabetSize(key: string): number {
  const kinds: Array<[RegExp, number]> = [
    [/[a-f]/, 6],
    [/[g-z]/, 20],
    [/[A-F]/, 6],
    [/[G-Z]/, 20],
    [/[0-9]/, 10],
    [/[^A-Za-z0-9]/, 6],
  ];
  return kinds.reduce((size, [kind, count]) => size + (kind.test(key) ? count : 0), 0);
}

/** Of its characters as they occur; of short random text it says somewhat too little. */
function shannonBits(key: string): number {
  const counts = new Map<string, number>();
  for (const character of key) counts.set(character, (counts.get(character) ?? 0) + 1);
  const shares = [...counts.values()].map((count) => count / key.length);
  return -shares.reduce((sum, share) => sum + share * Math.log2(share), 0);
}

/** How many characters from `at` on belong to one thing that is guessed at once. */
function predictableRun(key: string, at: number): number {
  const rest = key.slice(at);
  const word = /^[A-Z]?[a-z]{4,}|^[A-Z]{5,}/.exec(rest)?.[0];
  const wordRun = word !== undefined && /[aeiouy]/i.test(word) && !HEX.test(key) ? word.length : 1;
  let sequence = 1;
  const step = rest.charCodeAt(1) - rest.charCodeAt(0);
  if (Math.abs(step) <= 1)
    while (rest.charCodeAt(sequence) - rest.charCodeAt(sequence - 1) === step) sequence++;
  const seenBefore = longestSeenBefore(key, at);
  return Math.max(1, wordRun, sequence, seenBefore);
}

function longestSeenBefore(key: string, at: number): number {
  let length = 0;
  while (at + length < key.length && key.slice(0, at).includes(key.slice(at, at + length + 1))) length++;
  return length >= 3 ? length : 1;
}
