/** What a check found. The type makes every finding that is not in order carry a remedy. */

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

/** Checks of one kind, under one heading. */
export interface Section {
  title: string;
  findings: readonly Finding[];
}

/** What the check of this name may find. */
export function checkOf(check: string) {
  return {
    ok: (says: string): Finding => ({ check, status: "ok", says }),
    warning: (says: string, fix: string): Finding => ({ check, status: "warning", says, fix }),
    failure: (says: string, fix: string): Finding => ({ check, status: "failure", says, fix }),
    unknown: (says: string, fix: string): Finding => ({ check, status: "unknown", says, fix }),
  };
}

export const plural = (count: number, what: string): string => `${count} ${what}${count === 1 ? "" : "s"}`;

/** What keeps the server from starting. */
export function settingFailure(check: string, problem: SettingProblem): Finding {
  const { place, remedy } = problem;
  const says = `${place === undefined ? "" : "In "}${whatIsWrong(problem)}`;
  return checkOf(check).failure(says, `${remedy.charAt(0).toUpperCase()}${remedy.slice(1)}.`);
}
