/** Whether SECRET_KEY is one that somebody else knows. Pure. What the server refuses (too short, too plain) it says itself. */
import { checkOf, type Finding } from "./finding.ts";

// What people leave in a file that they copied, and what this repository tests with. Long enough not to come by chance.
const PUBLISHED =
  /change[-_]?me|replace|example|placeholder|openssl|password|secret[-_]?key|fRZ3yk0Hr1hVQ8m5uM4p9c2oXwTe7SjL/i;

/** One finding for each weakness; the keys themselves are in none. */
export function secretStrength(secretKeys: readonly string[]): Finding[] {
  const found = checkOf("settings.secret_key");
  const findings = secretKeys.flatMap((key, index) => {
    const problem = weakness(key);
    const name = secretKeys.length > 1 ? `SECRET_KEY: key ${index + 1}` : "SECRET_KEY";
    if (problem === undefined) return [];
    return found`✗ ${name} ${problem}
      → Make one with: openssl rand -base64 48, and rotate to it (docs/runbook.md: NEW,OLD at first).`;
  });
  if (findings.length > 0 || secretKeys.length === 0) return findings;
  return [found`✓ SECRET_KEY is none of those that anybody would try first`];
}

function weakness(key: string): string | undefined {
  if (PUBLISHED.test(key)) return "is an example or a placeholder that anybody knows";
  // The shortest beginning of which the whole is made.
  const period = `${key}${key}`.indexOf(key, 1);
  return period < 16 && period <= key.length / 2 ? `repeats the same ${period} characters` : undefined;
}
