/** `${NAME}` in a file of settings: the value of an environment variable. */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are the variables of a file of settings
import type { Mistake } from "../yaml/mistakes.ts";
import type { Path } from "../yaml/yaml-text.ts";

// Noncharacters of Unicode, which no text has: in { a: ${NAME} } the braces of a variable would be YAML's own.
const SHIELDED = { opening: "\ufdd0\ufdd1", closing: "\ufdd2" };
// The pattern of an issuer of many tenants has braces of its own: https://login.microsoftonline.com/{tenantid}/v2.0
const TENANT = { written: "{tenantid}", shielded: "\ufdd3tenantid\ufdd4" };

/** With every `${…}` as a word, of the same length, which YAML leaves alone wherever it stands. */
export function shieldVariables(text: string): string {
  return text
    .replaceAll(/\$\{([^{}\r\n]*)\}/g, (_, name) => `${SHIELDED.opening}${name}${SHIELDED.closing}`)
    .replaceAll(TENANT.written, TENANT.shielded);
}

/** What was shielded, as it was written: in texts, and in everything inside, names too. */
export function unshieldVariables(value: unknown): unknown {
  if (typeof value === "string") return unshielded(value);
  if (Array.isArray(value)) return value.map(unshieldVariables);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [unshielded(key), unshieldVariables(each)]),
  );
}

function unshielded(text: string): string {
  return text
    .replaceAll(SHIELDED.opening, "${")
    .replaceAll(SHIELDED.closing, "}")
    .replaceAll(TENANT.shielded, TENANT.written);
}

/** With the values of the variables, which are taken as they are; a variable that is not set is a mistake. */
export function expandVariables(
  content: unknown,
  environment: Readonly<Record<string, string | undefined>>,
): { value: unknown; mistakes: readonly Mistake[] } {
  const mistakes: Mistake[] = [];

  function expandText(text: string, at: Path): string {
    const expanded = text.replaceAll(/\$\{([^{}]*)\}/g, (whole, name: string) => {
      // Every object has a "constructor", which is no variable.
      const value = Object.hasOwn(environment, name) ? (environment[name]?.trim() ?? "") : "";
      if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name))
        mistakes.push({
          at,
          problem: `has ${whole}, which names no environment variable`,
          remedy: "write it like ${NAME}",
        });
      else if (value === "")
        mistakes.push({
          at,
          problem: `has ${whole}, and the environment variable ${name} is not set`,
          remedy: `set ${name}, or write the value here`,
        });
      return value === "" ? whole : value;
    });
    const rest = text.replaceAll(/\$\{[^{}]*\}/g, "");
    if (rest.includes("${"))
      mistakes.push({
        at,
        problem: 'has "${" without the name of an environment variable and "}" after it',
        remedy: "write it like ${NAME}, without another one inside",
      });
    return expanded;
  }

  function expand(value: unknown, at: Path): unknown {
    if (typeof value === "string") return expandText(value, at);
    if (Array.isArray(value)) return value.map((each, index) => expand(each, [...at, index]));
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, expand(each, [...at, key])]));
  }

  return { value: expand(content, []), mistakes };
}
