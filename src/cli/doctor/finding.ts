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

type Say = (check: string, says: string) => Finding;
type SayWithRemedy = (check: string, says: string, fix: string) => Finding;
export const ok: Say = (check, ...rest) => checkOf(check).ok(...rest);
export const warning: SayWithRemedy = (check, ...rest) => checkOf(check).warning(...rest);
export const failure: SayWithRemedy = (check, ...rest) => checkOf(check).failure(...rest);
export const unknown: SayWithRemedy = (check, ...rest) => checkOf(check).unknown(...rest);

/** What keeps the server from starting. */
export function settingFailure(check: string, problem: SettingProblem): Finding {
  const { place, remedy } = problem;
  const says = `${place === undefined ? "" : "In "}${whatIsWrong(problem)}`;
  return failure(check, says, `${remedy.charAt(0).toUpperCase()}${remedy.slice(1)}.`);
}
