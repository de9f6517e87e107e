/** Tables in the documentation that name a test for each line: what they name exists, by that name, and runs. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** What a cell names: `` `test/a.test.ts` › `one name`, `another` ``, of several files with `<br>` between them. */
export interface Proof {
  file: string;
  name: string;
}

const FILE_AND_NAMES = /^`(test\/[^`]+)` › (`[^`]+`(?:, `[^`]+`)*)$/;

/** Undefined for a cell that is not of that form. */
export function proofsIn(cell: string): Proof[] | undefined {
  const proofs: Proof[] = [];
  for (const part of cell.split("<br>")) {
    const [, file, names = ""] = FILE_AND_NAMES.exec(part.trim()) ?? [];
    if (file === undefined) return undefined;
    for (const [, name = ""] of names.matchAll(/`([^`]+)`/g)) proofs.push({ file, name });
  }
  return proofs;
}

/**
 * What is wrong with it, in words; undefined if it names what is there and runs.
 * @param kinds who may have the name: `test`, or `group` for a whole group of tests as well
 */
export function problemWith({ file, name }: Proof, kinds: "test" | "group"): string | undefined {
  if (!existsSync(`${root}${file}`)) return `${file} does not exist`;
  const source = readFileSync(`${root}${file}`, "utf8");
  const off = LEFT_OUT.exec(source);
  if (off !== null) return `${file} leaves tests out: ${off[0]}`;
  return declarationsIn(source, kinds).some((declared) => isNamed(name, declared, source))
    ? undefined
    : `${file} has no "${name}"`;
}

/** Where a requirement is mentioned in the name of a test: `A26`, `T1`. */
export function mentionsInNames(): Array<{
  id: string;
  file: string;
  declared: Declaration;
  source: string;
}> {
  const files = readdirSync(`${root}test`, { recursive: true, encoding: "utf8" })
    .filter((file) => /\.(test|long)\.ts$/.test(file) && !file.includes("node_modules"))
    .map((file) => `test/${file}`);
  return files.flatMap((file) => {
    const source = readFileSync(`${root}${file}`, "utf8");
    return declarationsIn(source, "test").flatMap((declared) =>
      [...declared.join(" ").matchAll(/\b([AT]\d+)\b/g)].map(([, id = ""]) => ({
        id,
        file,
        declared,
        source,
      })),
    );
  });
}

/** Without a condition. What depends on the machine says so by a variable, and is an error with CI=true. */
const LEFT_OUT =
  /\b(?:test|describe|suite|it)\.(?:skip|todo|only)\(|\b(?:skip|todo|only): (?:true|["'`])|\bt\.(?:skip|todo)\(/;

/** The fixed parts of a name, with a hole between each two: one part for a name without `${…}`, two for `test(name, …`. */
export type Declaration = readonly string[];

function declarationsIn(source: string, kinds: "test" | "group"): Declaration[] {
  const calls = source.matchAll(CALLS[kinds]);
  return [...calls].map(([, double, single, template]) => {
    if (double !== undefined) return [JSON.parse(double)];
    if (single !== undefined) return [single];
    return template === undefined ? ["", ""] : template.split(/\$\{(?:[^{}]|\{[^{}]*\})*\}/);
  });
}

const NAME = String.raw`\(\s*(?:("(?:[^"\\]|\\.)*")|'((?:[^'\\]|\\.)*)'|\`((?:[^\`\\]|\\.)*)\`|(?=[\w(]))`;
const CALLS = {
  test: new RegExp(`(?<![.\\w])(?:test|it)${NAME}`, "g"),
  group: new RegExp(`(?<![.\\w])(?:test|it|describe|suite)${NAME}`, "g"),
};

/** The parts fit, and what is in the holes is written in the same file: in quotes, or as a word or a number. */
export function isNamed(name: string, [first = "", ...rest]: Declaration, source: string): boolean {
  if (!name.startsWith(first)) return false;
  const left = name.slice(first.length);
  if (rest.length === 0) return left === "";
  const [next = ""] = rest;
  for (let end = 1; end <= left.length; end++)
    if (
      left.startsWith(next, end) &&
      isWritten(left.slice(0, end), source) &&
      isNamed(left.slice(end), rest, source)
    )
      return true;
  return false;
}

function isWritten(value: string, source: string): boolean {
  if (/^".*"$/.test(value)) return source.includes(value);
  if (source.includes(JSON.stringify(value))) return true;
  if (!/^-?[\w.]+$/.test(value)) return false;
  return new RegExp(`(?<![\\w.])${value.replaceAll(".", "\\.")}(?![\\w.])`).test(source);
}
