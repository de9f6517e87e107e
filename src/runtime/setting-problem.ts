/** Problems of settings, from where they are found to where they are shown. */

/** What is wrong with a setting, and what to do about it. */
export interface SettingProblem {
  /** Where it is written, unless that is the environment: `policy.yaml:12`. */
  readonly place?: string;
  /** Its name, such as `BASE_URL` or `for.groups`. */
  readonly setting: string;
  /** Continues a sentence that begins with the name: "must be https". */
  readonly problem: string;
  /** What to do, without a capital and a full stop: "write it on one line". */
  readonly remedy: string;
}

/** Thrown by what parses a value, for whoever knows the name of its setting. */
export class InvalidValue extends Error {
  override readonly name = "InvalidValue";
  readonly problem: string;
  readonly remedy: string;

  constructor(problem: string, remedy: string) {
    super(`${problem}: ${remedy}`);
    this.problem = problem;
    this.remedy = remedy;
  }
}

/** Without its remedy. */
export function whatIsWrong({ place, setting, problem }: SettingProblem): string {
  return `${place === undefined ? "" : `${place}: `}${setting} ${problem}`;
}

/** On one line, with its remedy. */
export function inOneLine(problem: SettingProblem): string {
  return `${whatIsWrong(problem)}: ${problem.remedy}`;
}
