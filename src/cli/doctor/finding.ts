/** What a check found. A finding is written as it is printed: a mark, a sentence and, on the next line, what to do. */
import { type SettingProblem, whatIsWrong } from "../../runtime/setting-problem.ts";

export type Finding = {
  /** A stable name for programs, such as `provider.issuer`. */
  check: string;
  /** One sentence for people. */
  says: string;
} & (
  | { status: "ok" }
  /**
   * `failure`: it cannot serve like this. `warning`: it can, and should not stay so. `unknown`: the check could not be
   * made, or its outcome means nothing; never a success.
   */
  | { status: "warning" | "failure" | "unknown"; fix: string }
);

/** What a check gives back, which may be made of several. */
export type Found = Finding | undefined | readonly Found[];

export function findingsIn(found: Found): Finding[] {
  if (found === undefined) return [];
  return "check" in found ? [found] : found.flatMap(findingsIn);
}

/** What is wrong, and what to do about it. */
export interface Trouble {
  says: string;
  fix: string;
}

type Words = [words: TemplateStringsArray, ...values: ReadonlyArray<string | number>];

/** `what is wrong`, and behind an arrow on the next line the remedy. Values are never split. */
export function trouble(...[words, ...values]: Words): Trouble {
  const parts = words.join("\0").split(/\n\s*→ /);
  const [says = "", fix = ""] = parts.map((part) => part.replaceAll("\0", () => String(values.shift())));
  return { says, fix };
}

const STATUS = { "✓": "ok", "!": "warning", "?": "unknown", "✗": "failure" } as const;

/** The check of this name finds: `✓ …`, or one of `!` (warning), `?` (unknown) and `✗` with `→ …` on the next line. */
export function checkOf(check: string): (...words: Words) => Finding {
  return (...words) => {
    const { says: marked, fix } = trouble(...words);
    const status = STATUS[marked.charAt(0) as keyof typeof STATUS];
    const says = marked.slice(2);
    if (status === "ok") return { check, status, says };
    if (status === undefined || fix === "") throw new Error(`No finding, without mark or remedy: ${marked}`);
    return { check, status, says, fix };
  };
}

/** What keeps the server from starting. */
export function settingFailure(check: string, problem: SettingProblem): Finding {
  const { place, remedy } = problem;
  return checkOf(check)`✗ ${place === undefined ? "" : "In "}${whatIsWrong(problem)}
    → ${remedy.charAt(0).toUpperCase()}${remedy.slice(1)}.`;
}

/** @param what it needs, which is wrong */
export function notChecked(check: string, what: string): Finding {
  return checkOf(check)`? Not checked: ${what} must be right first
    → Correct what is said under Settings.`;
}
