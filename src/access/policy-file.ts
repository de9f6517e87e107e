/** Parses a policy file into the rules that policy.ts evaluates, or refuses it with every mistake and its line. */
import type { z } from "zod";
import type { PolicyDocument } from "./policy.ts";
import { type KnownNames, type PolicyFile, plainWords, policySchema } from "./policy-schema.ts";
import { type Path, type Problem, readYaml, type YamlText } from "./yaml-text.ts";

export type { PolicyDocument } from "./policy.ts";
export type { KnownNames } from "./policy-schema.ts";

/** Everything that is wrong with the policy, each line with its remedy. */
export class PolicyError extends Error {
  override readonly name = "PolicyError";
  readonly problems: readonly string[];

  constructor(problems: readonly string[], options?: ErrorOptions) {
    const count = `${problems.length} problem${problems.length === 1 ? "" : "s"}`;
    super(
      [`The policy has ${count} to fix.`, ...problems.map((problem) => `  - ${problem}`)].join("\n"),
      options,
    );
    this.problems = problems;
  }
}

// A file that is no policy at all may have a mistake in every line.
const MAX_PROBLEMS = 100;

/**
 * An empty file is refused: a write that failed would allow everything.
 * @param file what the messages call it
 * @throws PolicyError listing every mistake as `policy.yaml:12: …`
 */
export function parsePolicy(text: string, file: string, known: KnownNames): PolicyDocument {
  const yaml = readYaml(text);
  if (yaml.value === undefined) throw refusal(yaml.problems, file);
  const content = yaml.value ?? {};
  if (yaml.value === null && yaml.problems.length === 0)
    throw refusal([{ line: 1, text: "the file is empty: write rules: [] if nothing is to be denied" }], file);
  const parsed = policySchema(known).safeParse(content, { error: plainWords });
  const mistakes = [...(parsed.error?.issues.flatMap(mistakesOf) ?? []), ...ruleMistakes(content)];
  const problems = [
    ...yaml.problems,
    ...mistakes.slice(0, MAX_PROBLEMS + 1).map((mistake) => located(mistake, yaml)),
  ];
  if (!parsed.success || problems.length > 0) throw refusal(problems, file);
  return ready(parsed.data, yaml);
}

function refusal(problems: readonly Problem[], file: string): PolicyError {
  const lines = problems
    .toSorted((one, other) => one.line - other.line)
    .map(({ line, text }) => `${file}:${line}: ${text}`);
  return new PolicyError(
    lines.length > MAX_PROBLEMS ? [...lines.slice(0, MAX_PROBLEMS), `${file}: and more`] : lines,
  );
}

interface Mistake {
  /** Where it is … */
  readonly at: Path;
  /** … and what has it, if that is something around it. */
  readonly in?: Path;
  readonly text: string;
}

function mistakesOf(issue: z.core.$ZodIssue): Mistake[] {
  const at = issue.path;
  if (issue.code === "unrecognized_keys")
    return issue.keys.map((key) => ({
      at: [...at, key],
      in: at,
      text: `has an unknown key "${key}"; ${issue.message}`,
    }));
  if (issue.code !== "invalid_union") return [{ at, text: issue.message }];
  // "everything", or an object: of which only what is wrong inside it says more than that.
  const inside = issue.errors
    .flat()
    .filter(({ code, path }) => path.length > 0 || !/^invalid_(type|value)$/.test(code));
  if (inside.length === 0)
    return [{ at, text: 'must be "everything", or keys with values such as { tools: [a, b] }' }];
  return inside.flatMap((each) => mistakesOf({ ...each, path: [...at, ...each.path] }));
}

/** Mistakes that concern several keys or rules; reported also where these have other mistakes. */
function ruleMistakes(content: unknown): Mistake[] {
  const rules = isRecord(content) && Array.isArray(content.rules) ? content.rules : [];
  const names = new Set<unknown>();
  return rules.flatMap((rule: unknown, index) => {
    if (!isRecord(rule)) return [];
    const at = ["rules", index];
    const effects = ["allow", "deny"].filter((effect) => Object.hasOwn(rule, effect));
    const mistakes: Mistake[] = [];
    if (effects.length === 0) mistakes.push({ at, text: "has neither allow nor deny: add one of them" });
    if (effects.length === 2) mistakes.push({ at, text: "has both allow and deny: make two rules of it" });
    if (typeof rule.name === "string" && names.has(rule.name))
      mistakes.push({
        at: [...at, "name"],
        text: `"${rule.name}" is the name of an earlier rule: use another one`,
      });
    names.add(rule.name);
    return mistakes;
  });
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function located({ at, in: around = at, text }: Mistake, yaml: YamlText): Problem {
  const keys = (around[0] === "rules" ? around.slice(2) : around).filter((step) => typeof step === "string");
  const name =
    keys.join(".") || (around.length === 0 ? "the file" : around.length === 1 ? "rules" : "the rule");
  return { line: yaml.lineOf(at), text: `${name} ${text}` };
}

function ready(
  { default: byDefault, claims, rules }: PolicyFile,
  { value, lineOf }: YamlText,
): PolicyDocument {
  return {
    default: byDefault,
    ...(isRecord(value) && Object.hasOwn(value, "default") && { defaultLine: lineOf(["default"]) }),
    claims,
    rules: rules.map(({ name, for: conditions = {}, allow, deny }, index) => {
      const line = lineOf(["rules", index]);
      return deny !== undefined
        ? { name, line, effect: "deny", for: conditions, about: deny }
        : { name, line, effect: "allow", for: conditions, about: allow ?? {} };
    }),
  };
}
