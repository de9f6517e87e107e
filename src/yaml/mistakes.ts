/** What is wrong with the content of a YAML file, by its schema, each mistake with its line. */
import type { z } from "zod";
import type { SettingProblem } from "../runtime/setting-problem.ts";
import type { Path, YamlText } from "./yaml-text.ts";

export interface Mistake {
  /** Where it is … */
  readonly at: Path;
  /** … and what has it, if that is something around it. */
  readonly in?: Path;
  readonly problem: string;
  readonly remedy: string;
}

// A file that is something else may have a mistake in every line.
const MAX_PROBLEMS = 100;

/** The mistakes in a content. The message of an issue is its remedy; one of our own has its problem in `params`. */
export function mistakesIn(content: unknown, schema: z.ZodType): Mistake[] {
  const { error } = schema.safeParse(content, { error: usualRemedy, reportInput: true });
  return error?.issues.flatMap(mistakesOf) ?? [];
}

function mistakesOf(issue: z.core.$ZodIssue): Mistake[] {
  const at = issue.path;
  if (issue.code === "unrecognized_keys")
    return issue.keys.map((key) => ({
      at: [...at, key],
      in: at,
      problem: `has an unknown key "${key}"`,
      remedy: issue.message,
    }));
  // What is wrong with a name is said of what it names.
  if (issue.code === "invalid_key") return issue.issues.flatMap((each) => mistakesOf({ ...each, path: at }));
  if (issue.code !== "invalid_union") return [{ at, problem: problemOf(issue), remedy: issue.message }];
  // A word, or an object: of which only what is wrong inside it says more than that.
  const inside = issue.errors
    .flat()
    .filter(({ code, path }) => path.length > 0 || !/^invalid_(type|value)$/.test(code));
  if (inside.length === 0) return [{ at, problem: "is none of what it can be", remedy: issue.message }];
  return inside.flatMap((each) => mistakesOf({ ...each, path: [...at, ...each.path] }));
}

function problemOf(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case "custom":
      return String(issue.params?.problem);
    case "invalid_type":
      return issue.input === undefined
        ? "is missing"
        : `must be ${KINDS[issue.expected]?.is ?? issue.expected}`;
    case "invalid_value":
      return issue.input === undefined ? "is missing" : `must be one of ${issue.values.join(", ")}`;
    case "too_small":
      return "is empty";
    default:
      return "is not valid";
  }
}

/** The remedies where a schema has none of its own. */
function usualRemedy(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case "invalid_type":
      return issue.input === undefined ? "add it" : (KINDS[issue.expected]?.remedy ?? "correct it");
    case "invalid_value":
      return issue.input === undefined ? `write one of ${issue.values.join(", ")}` : "write one of them";
    case "too_small":
      return "fill it or leave it out";
    default:
      return "correct it";
  }
}

const MAP = {
  is: "keys with values",
  remedy: "write key: value in lines of their own, or { key: value }",
};
const LIST = { is: "a list", remedy: 'write [a, b], or lines that begin with "- "' };
const KINDS: Record<string, { is: string; remedy: string }> = {
  string: { is: "text", remedy: "put it in quotes" },
  array: LIST,
  tuple: LIST,
  boolean: { is: "true or false", remedy: "write one of them, without quotes" },
  number: { is: "a number", remedy: "write digits without quotes" },
  record: MAP,
  object: MAP,
};

/**
 * Every problem of a file by its line, those of the syntax too.
 * @param file what the messages call it
 * @param nameOf what they call what is at a path
 */
export function problemsByLine(
  mistakes: readonly Mistake[],
  yaml: YamlText,
  file: string,
  nameOf: (path: Path) => string,
): SettingProblem[] {
  const syntax = yaml.problems.map(({ line, ...rest }) => ({ line, setting: "the file", ...rest }));
  const content = mistakes.slice(0, MAX_PROBLEMS + 1).map(({ at, in: around = at, problem, remedy }) => ({
    line: yaml.lineOf(at),
    setting: nameOf(around),
    problem,
    remedy,
  }));
  const problems = [...syntax, ...content]
    .sort((one, other) => one.line - other.line)
    .map(({ line, ...rest }) => ({ place: `${file}:${line}`, ...rest }));
  if (problems.length <= MAX_PROBLEMS) return problems;
  const more = {
    place: file,
    setting: "the file",
    problem: "has more problems",
    remedy: "correct these first",
  };
  return [...problems.slice(0, MAX_PROBLEMS), more];
}
