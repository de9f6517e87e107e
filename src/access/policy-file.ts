/** Parses a policy file into the rules that policy.ts evaluates, or refuses it with every mistake and its line. */
import { inOneLine, type SettingProblem } from "../runtime/setting-problem.ts";
import { type Mistake, mistakesIn, problemsByLine } from "../yaml/mistakes.ts";
import { type Path, readYaml, type YamlText } from "../yaml/yaml-text.ts";
import type { PolicyDocument } from "./policy.ts";
import { type KnownNames, type PolicyFile, policySchema } from "./policy-schema.ts";

export type { PolicyDocument } from "./policy.ts";
export type { KnownNames } from "./policy-schema.ts";

/** Everything that is wrong with the policy, each line with its remedy. */
export class PolicyError extends Error {
  override readonly name = "PolicyError";
  readonly problems: readonly SettingProblem[];

  constructor(problems: readonly SettingProblem[], options?: ErrorOptions) {
    const count = `${problems.length} problem${problems.length === 1 ? "" : "s"}`;
    super(
      [`The policy has ${count} to fix.`, ...problems.map((problem) => `  - ${inOneLine(problem)}`)].join(
        "\n",
      ),
      options,
    );
    this.problems = problems;
  }
}

/**
 * An empty file is refused: a write that failed would allow everything.
 * @param file what the messages call it
 * @throws PolicyError listing every mistake as `policy.yaml:12: …`
 */
export function parsePolicy(text: string, file: string, known: KnownNames): PolicyDocument {
  const yaml = readYaml(text);
  const refusal = (mistakes: readonly Mistake[]) =>
    new PolicyError(problemsByLine(mistakes, yaml, file, nameOf));
  if (yaml.value === undefined) throw refusal([]);
  const content = yaml.value ?? {};
  if (yaml.value === null && yaml.problems.length === 0)
    throw refusal([{ at: [], problem: "is empty", remedy: "write rules: [] if nothing is to be denied" }]);
  const schema = policySchema(known);
  const mistakes = [...mistakesIn(content, schema), ...ruleMistakes(content, known)];
  if (mistakes.length > 0 || yaml.problems.length > 0) throw refusal(mistakes);
  return ready(schema.parse(content), yaml);
}

/** Mistakes that concern several keys or rules; reported also where these have other mistakes. */
function ruleMistakes(content: unknown, { userIssuers = [] }: KnownNames): Mistake[] {
  const rules = isRecord(content) && Array.isArray(content.rules) ? content.rules : [];
  const names = new Set<unknown>();
  return rules.flatMap((rule: unknown, index) => {
    if (!isRecord(rule)) return [];
    const at = ["rules", index];
    const effects = ["allow", "deny"].filter((effect) => Object.hasOwn(rule, effect));
    const mistakes: Mistake[] = [];
    if (effects.length === 0)
      mistakes.push({ at, problem: "has neither allow nor deny", remedy: "add one of them" });
    if (effects.length === 2)
      mistakes.push({ at, problem: "has both allow and deny", remedy: "make two rules of it" });
    if (typeof rule.name === "string" && names.has(rule.name))
      mistakes.push({
        at: [...at, "name"],
        problem: `"${rule.name}" is the name of an earlier rule`,
        remedy: "use another one",
      });
    names.add(rule.name);
    // Whose sub it is would be left to chance: a rule for one person would be one for another as well.
    const isForAnybodys = isRecord(rule.for) && "users" in rule.for && !("issuers" in rule.for);
    if (userIssuers.length > 1 && isForAnybodys)
      mistakes.push({
        at: [...at, "for", "users"],
        problem:
          "has no issuers beside it, and several issuers have users here: the same sub may be somebody else's",
        remedy: `add issuers, such as ["${userIssuers[0]}"]`,
      });
    return mistakes;
  });
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What a message calls what is at a path; a rule has a line to be found by. */
function nameOf(path: Path): string {
  const keys = (path[0] === "rules" ? path.slice(2) : path).filter((step) => typeof step === "string");
  return keys.join(".") || (path.length === 0 ? "the file" : path.length === 1 ? "rules" : "the rule");
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
