/** Reading what the compiler emits as declarations (.d.ts): regular enough to be read by its lines. */

export interface Declaration {
  name: string;
  /** Its doc comment, without the stars. */
  doc: string;
  /** Without `export declare`; the comments inside stay. */
  code: string;
  /** Every identifier in it. */
  mentions: ReadonlySet<string>;
}

export interface Module {
  /** Overloads are several of one name. */
  declarations: readonly Declaration[];
  /** What is imported from, or passed on from, our own files, by the name it has here. */
  imports: ReadonlyMap<string, { name: string; from: string }>;
}

const START = /^(?:export )?(?:declare )?(?:abstract )?(interface|type|function|class|const) (\w+)/;

export function parseModule(text: string): Module {
  const declarations: Declaration[] = [];
  const imports = new Map<string, { name: string; from: string }>();
  for (const [, names = "", from = ""] of text.matchAll(
    /^(?:import|export)[^"]*?\{([^}]*)\} from "(\.[^"]+)\.ts";$/gm,
  ))
    for (const each of names.split(",")) {
      const [name = "", here = name] = each
        .trim()
        .replace(/^type /, "")
        .split(" as ");
      if (name !== "") imports.set(here, { name, from: `${from}.d.ts` });
    }

  const lines = text.split("\n");
  let comment: string[] = [];
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] ?? "";
    if (line.startsWith("/**"))
      comment = takeUntil(lines, at, (taken) => taken.at(-1)?.endsWith("*/") === true);
    const [, kind, name] = START.exec(line) ?? [];
    if (line.startsWith("/**")) at += comment.length - 1;
    else if (name === undefined) comment = [];
    else {
      const taken = takeUntil(lines, at, (some) =>
        isComplete(some, kind === "interface" || kind === "class" ? "}" : ";"),
      );
      at += taken.length - 1;
      const code = taken.join("\n").replace(/^(?:export )?(?:declare )?/, "");
      declarations.push({ name, doc: wordsOf(comment), code, mentions: mentionsOf(code, name) });
      comment = [];
    }
  }
  return { declarations, imports };
}

function takeUntil(
  lines: readonly string[],
  start: number,
  isEnough: (taken: string[]) => boolean,
): string[] {
  const taken: string[] = [];
  for (let at = start; at < lines.length; at++) {
    taken.push(lines[at] ?? "");
    if (isEnough(taken)) break;
  }
  return taken;
}

function isComplete(taken: readonly string[], end: "}" | ";"): boolean {
  const code = withoutComments(taken.join("\n")).trimEnd();
  const depth = (code.match(/[{([]/g) ?? []).length - (code.match(/[})\]]/g) ?? []).length;
  return depth === 0 && code.endsWith(end);
}

function mentionsOf(code: string, name: string): ReadonlySet<string> {
  const found = new Set(withoutComments(code).match(/\b[A-Za-z_]\w*\b/g) ?? []);
  found.delete(name);
  return found;
}

function withoutComments(code: string): string {
  return code.replaceAll(/\/\*.*?\*\//gs, "").replaceAll(/"[^"\n]*"|`[^`\n]*`/g, '""');
}

function wordsOf(comment: readonly string[]): string {
  return comment
    .join("\n")
    .replace(/^\/\*\*\s?/, "")
    .replace(/\s*\*\/$/, "")
    .replaceAll(/^ \* ?/gm, "")
    .trim();
}
