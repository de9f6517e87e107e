/**
 * `npm run api` writes docs/api.md from the doc comments of everything that src/index.ts exports; with `--check` it fails
 * if the file says something else. A type that users meet and cannot import is a mistake as well.
 *
 * TypeDoc 0.28 with typedoc-plugin-markdown was tried: twice as long, `defineTool(tool)` without the types of its parameters, `{}`
 * for types of other packages, fields apart from methods. What a library's user reads best is its declarations, in order.
 */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Declaration, type Module, parseModule } from "./declarations.ts";

const FILE = "docs/api.md";
const INDEX = "src/index.ts";
/** What users' compilers read. */
const DECLARATIONS = "dist/src";
/** Made by loadConfig() and handed on, and a list that docs/runbook.md explains: their parts need no names of their own. */
const WHOLE = ["Config", "ReasonCode"];

const HEAD = `# API

Every function and type that the package exports; [library.md](library.md) shows how to use them. Made by \`npm run api\` from the doc
comments: do not edit.
Times are in seconds unless a name says otherwise; a time of day is in seconds since the epoch.
`;

buildDeclarations();
const reference = describeEverything();
if (process.argv.includes("--check")) {
  if (readFileSync(FILE, "utf8") !== reference) {
    console.error(`${FILE} and the code disagree. If the code is right: npm run api`);
    process.exitCode = 1;
  } else console.log(`${FILE} says what ${INDEX} exports.`);
} else {
  writeFileSync(FILE, reference);
  console.log(`${FILE} is written.`);
}

function buildDeclarations(): void {
  execFileSync(process.execPath, ["scripts/build.js"], { stdio: "inherit" });
}

interface Export {
  section: string;
  name: string;
  file: string;
}

function describeEverything(): string {
  const exported = readIndex();
  const modules = new Map<string, Module>();
  const moduleOf = (file: string): Module => {
    const found = modules.get(file) ?? parseModule(readFileSync(join(DECLARATIONS, file), "utf8"));
    modules.set(file, found);
    return found;
  };
  const declared = (name: string, file: string) =>
    moduleOf(file).declarations.filter((declaration) => declaration.name === name);

  /** Our own declaration that a name means in a file. */
  const meaning = (name: string, file: string): { name: string; file: string } | undefined => {
    if (declared(name, file).length > 0) return { name, file };
    const imported = moduleOf(file).imports.get(name);
    return imported && meaning(imported.name, join(dirname(file), imported.from));
  };
  const key = ({ name, file }: { name: string; file: string }) => `${file} ${name}`;
  const known = new Set(exported.map(key));
  const problems: string[] = [];

  for (const each of exported) {
    const found = declared(each.name, each.file);
    if (found.length === 0) problems.push(`${each.name} was not found in ${each.file}`);
    else if (!found.some(({ doc }) => doc !== "")) problems.push(`${each.name} has no doc comment`);
    if (WHOLE.includes(each.name)) continue;
    for (const mentioned of found.flatMap(({ mentions }) => [...mentions])) {
      const unknown = meaning(mentioned, each.file);
      if (unknown !== undefined && !known.has(key(unknown)))
        problems.push(`${each.name} speaks of ${unknown.name} (${unknown.file}), which nobody can import`);
    }
  }
  if (problems.length > 0) throw new Error(problems.join("\n"));

  const sections = [...new Set(exported.map(({ section }) => section))];
  return [
    HEAD,
    ...sections.flatMap((section) => [
      `## ${section}\n`,
      ...exported
        .filter((each) => each.section === section)
        .sort((one, other) => Number(isType(one)) - Number(isType(other)))
        .map(({ name, file }) => inWords(name, declared(name, file))),
    ]),
  ].join("\n");
}

/** Functions begin with a small letter, and come first. */
function isType({ name }: Export): boolean {
  return /^[A-Z]/.test(name);
}

/** Its sections are comments on lines of their own. */
function readIndex(): Export[] {
  let section = "";
  const exported: Export[] = [];
  const source = readFileSync(INDEX, "utf8");
  for (const [, title, names = "", file = ""] of source.matchAll(
    /^\/\/ (.+)$|^export (?:type )?\{([^}]+)\} from "\.\/(.+?)\.ts";$/gm,
  ))
    if (title !== undefined) section = title;
    else
      for (const name of names.split(",").map((each) => each.trim().replace(/^type /, "")))
        if (name !== "") exported.push({ section, name, file: `${file}.d.ts` });
  return exported;
}

function inWords(name: string, found: readonly Declaration[]): string {
  const doc = found.map((each) => each.doc).find((each) => each !== "") ?? "";
  const code = found.map((each) => each.code.replaceAll(/\{@link ([\w.]+)\}/g, "$1")).join("\n");
  return `### ${name}\n\n${doc === "" ? "" : `${markdown(doc)}\n\n`}\`\`\`ts\n${code}\n\`\`\`\n`;
}

/** Tags become paragraphs, links point to the heading of what they name. */
function markdown(doc: string): string {
  return doc
    .replaceAll(
      /\{@link (\w+)(\.\w+)?\}/g,
      (_, name: string, member = "") => `[\`${name}${member}\`](#${name.toLowerCase()})`,
    )
    .replaceAll(/^@throws /gm, "\nThrows ")
    .replaceAll(/^@param (\w+) /gm, "\n`$1`: ")
    .trim();
}
