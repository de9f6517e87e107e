/** Places in a text that is JSON, and changes there: what stays, stays byte for byte. */

/** @param start of a string @returns where what follows it begins; the end of the text if it has none */
export function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at + 1;
}

/** Where the next thing that is no white space is. */
export function skipSpace(text: string, from: number): number {
  let at = from;
  while (at < text.length && " \t\n\r".includes(text[at] as string)) at++;
  return at;
}

/** What is between two places becomes something else. */
export interface Change {
  from: number;
  to: number;
  by: string;
}

export function changed(text: string, changes: readonly Change[]): string {
  const inOrder = [...changes].sort((one, other) => one.from - other.from);
  let at = 0;
  const pieces = inOrder.flatMap(({ from, to, by }) => {
    const piece = text.slice(at, from);
    at = to;
    return [piece, by];
  });
  return [...pieces, text.slice(at)].join("");
}

/** @param path of names, from the text's object on, to a value that is there */
export function withValue(text: string, path: readonly string[], value: string): string {
  const [from, to] = placeOf(text, 0, path);
  return changed(text, [{ from, to, by: value }]);
}

/**
 * Where the value at a path of names begins and ends, from an object on. Of a name that is there twice the last, as for JSON.parse.
 */
export function placeOf(text: string, object: number, path: readonly string[]): [from: number, to: number] {
  let at = object;
  for (const step of path) {
    const named = ([, , name]: Place) => name !== undefined && JSON.parse(name) === step;
    [at] = placesIn(text, at).findLast(named) as Place;
  }
  return [at, endOf(text, at)];
}

export type Place = [from: number, to: number, name: string | undefined];

/** Of everything in an array or object. */
export function placesIn(text: string, open: number): Place[] {
  const isObject = text[open] === "{";
  const places: Place[] = [];
  for (let at = skipSpace(text, open + 1); text[at] !== "]" && text[at] !== "}"; ) {
    let name: string | undefined;
    if (isObject) {
      const end = endOf(text, at);
      name = text.slice(at, end);
      at = skipSpace(text, skipSpace(text, end) + 1);
    }
    const end = endOf(text, at);
    places.push([at, end, name]);
    at = skipSpace(text, end);
    if (text[at] === ",") at = skipSpace(text, at + 1);
  }
  return places;
}

/** Without recursion: what is nested deeply must not overflow the stack. */
function endOf(text: string, from: number): number {
  let depth = 0;
  let at = from;
  do {
    const char = text[at];
    if (char === '"') at = endOfString(text, at);
    else {
      if (char === "{" || char === "[") depth++;
      if (char === "}" || char === "]") depth--;
      at++;
    }
  } while (depth > 0);
  if (/["}\]]/.test(text[at - 1] ?? "")) return at;
  while (at < text.length && !/[\s,\]}]/.test(text[at] ?? "")) at++;
  return at;
}
