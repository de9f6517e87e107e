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

export const ok = (check: string, says: string): Finding => ({ check, status: "ok", says });

export const warning = (check: string, says: string, fix: string): Finding => ({
  check,
  status: "warning",
  says,
  fix,
});

export const failure = (check: string, says: string, fix: string): Finding => ({
  check,
  status: "failure",
  says,
  fix,
});

export const unknown = (check: string, says: string, fix: string): Finding => ({
  check,
  status: "unknown",
  says,
  fix,
});

/** What keeps the server from starting. */
export function settingFailure(check: string, problem: SettingProblem): Finding {
  const { place, remedy } = problem;
  const says = `${place === undefined ? "" : "In "}${whatIsWrong(problem)}`;
  return failure(check, says, `${remedy.charAt(0).toUpperCase()}${remedy.slice(1)}.`);
}
