/** Parses YAML within bounds: its value, its syntax errors, and the line of everything in it. */
import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  Parser,
  parseDocument,
  Scalar,
  visit,
  type YAMLError,
  type YAMLMap,
} from "yaml";

/** Of the syntax: what the file has there, and what to do. */
export interface SyntaxProblem {
  readonly line: number;
  readonly problem: string;
  readonly remedy: string;
}

export type Path = readonly PropertyKey[];

export interface YamlText {
  /** Undefined if the text is no YAML at all; null if it is empty. */
  readonly value: unknown;
  readonly problems: readonly SyntaxProblem[];
  /** The line of what is at a path, or of the nearest thing around it. */
  lineOf(path: Path): number;
}

// No file of ours needs more than eight. The parser recurses: a file of thousands would take minutes, or the whole process with it.
const MAX_DEPTH = 32;
// The library's own default; no real file has more aliases.
const MAX_ALIASES = 100;
// Errors after which the rest still means what it says; an alias without a name is explained where it stands.
const HARMLESS: ReadonlySet<string> = new Set(["MULTIPLE_DOCS", "BAD_ALIAS"]);

/** Goes on after a mistake where it can, so that a person fixes everything in one go. */
export function readYaml(text: string): YamlText {
  const lines = new LineCounter();
  const lineAt = (offset = 0) => lines.linePos(offset).line || 1;
  const tooDeep = depthProblem(text);
  if (tooDeep !== undefined) return { value: undefined, problems: [tooDeep], lineOf: () => 1 };
  // Keys given twice are found below: the library compares every key of a map with every other.
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    stringKeys: true,
    resolveKnownTags: false,
    uniqueKeys: false,
  });
  const problems = [...document.errors, ...document.warnings]
    .filter(({ code, pos }) => code !== "BAD_ALIAS" || text[pos[0]] !== "*") // explained below
    .map((error) => ({ line: lineAt(error.pos[0]), ...explained(error) }));
  const anchors = new Set<unknown>();
  visit(document, {
    Node(_, node, around) {
      if (isAlias(node)) {
        if (around.some((outer) => isNode(outer) && !isAlias(outer) && outer.anchor === node.source)) {
          problems.push({
            line: lineAt(node.range?.[0]),
            problem: `repeats itself without end by *${node.source}`,
            remedy: "write out what is meant",
          });
          return new Scalar(null);
        }
        if (anchors.has(node.source)) return undefined;
        const meant = new Scalar(`*${node.source}`);
        meant.range = node.range ?? null;
        problems.push({ line: lineAt(node.range?.[0]), ...unquoted(meant.value) });
        return meant;
      }
      anchors.add(node.anchor);
      for (const { range, value } of isMap(node) ? keysGivenTwice(node) : [])
        problems.push({
          line: lineAt(range?.[0]),
          problem: `has the key "${value}" twice`,
          remedy: "keep one of them",
        });
      return undefined;
    },
  });
  const lineOf = (path: Path) => lineAt(offsetOf(document, path));
  if (document.errors.some(({ code }) => !HARMLESS.has(code))) return { value: undefined, problems, lineOf };
  try {
    return { value: document.toJS({ maxAliasCount: MAX_ALIASES }), problems, lineOf };
  } catch {
    const unfolds = {
      line: 1,
      problem: "repeats too much by aliases (*name)",
      remedy: `write it out, or repeat at most ${MAX_ALIASES} times`,
    };
    return { value: undefined, problems: [...problems, unfolds], lineOf };
  }
}

/** The first step of parsing does not recurse, so here it is safe to stop. */
function depthProblem(text: string): SyntaxProblem | undefined {
  const parser = new Parser();
  let line = 1;
  for (const lexeme of new Lexer().lex(text)) {
    for (const _ of parser.next(lexeme));
    if (parser.stack.length > MAX_DEPTH)
      return { line, problem: "is nested far too deep", remedy: "make sure that this is the right file" };
    line += lexeme.split("\n").length - 1;
  }
  return undefined;
}

function explained({ code, message }: YAMLError): Omit<SyntaxProblem, "line"> {
  if (code === "MULTIPLE_DOCS")
    return {
      problem: "begins a second document, of which nothing would be read",
      remedy: "keep one of the two",
    };
  if (code === "TAG_RESOLVE_FAILED")
    return { problem: `has a tag, which means nothing here (${message})`, remedy: "remove it" };
  return {
    problem: `is not YAML, here or just above (${message})`,
    remedy: message.startsWith("Tabs") ? "indent with spaces" : "correct the line",
  };
}

/** By far the likeliest reason for an alias without an anchor, in a file full of wildcards. */
function unquoted(text: string): Omit<SyntaxProblem, "line"> {
  return {
    problem: `has ${text} without quotes, which YAML needs around what begins with *`,
    remedy: `write "${text}"`,
  };
}

function keysGivenTwice({ items }: YAMLMap): Scalar[] {
  const seen = new Set<unknown>();
  const keys = items.map(({ key }) => key).filter(isScalar);
  return keys.filter(({ value }) => seen.size === seen.add(value).size);
}

function offsetOf(document: Document, path: Path): number {
  let node: unknown = document.contents;
  let offset = 0;
  for (const step of path) {
    const collection = isAlias(node) ? node.resolve(document) : node;
    if (isMap(collection)) {
      const pair = collection.items.findLast(({ key }) => isScalar(key) && key.value === step);
      if (!isScalar(pair?.key)) return offset;
      offset = pair.key.range?.[0] ?? offset;
      node = pair.value;
    } else if (isSeq(collection)) {
      node = collection.items[Number(step)];
      offset = (isNode(node) && node.range?.[0]) || offset;
    } else return offset;
  }
  return offset;
}
