/** The patterns in an operator's settings and policy: texts with `*`, e-mail addresses, clients and redirect URIs. */
import { parseRedirectUriPattern } from "../oauth/redirect-uri-pattern.ts";

export interface Pattern {
  /** As it was written. */
  readonly text: string;
  matches(value: string): boolean;
}

/** `*` stands for any characters, none and `/` among them; everything else for itself. The whole value is compared. */
export function wildcard(text: string): Pattern {
  const [start = "", ...pieces] = text.split("*");
  const end = pieces.pop();
  return {
    text,
    matches: (value) =>
      end === undefined ? value === start : value.startsWith(start) && endsInOrder(value, start, pieces, end),
  };
}

/** Matched from left to right without backtracking: a regular expression would take very long for some values. */
function endsInOrder(value: string, start: string, pieces: readonly string[], end: string): boolean {
  let position = start.length;
  for (const piece of pieces) {
    const found = value.indexOf(piece, position);
    if (found === -1) return false;
    position = found + piece.length;
  }
  return value.length - end.length >= position && value.endsWith(end);
}

/** A wildcard that does not look at case. */
export function emailPattern(text: string): Pattern {
  const { matches } = wildcard(lowerCase(text));
  return { text, matches: (email) => matches(lowerCase(email)) };
}

/** Not the Kelvin sign: it would become a "k", and its address that of somebody else. */
function lowerCase(text: string): string {
  return text.replace(/[^\u212a]/gu, (letter) => letter.toLowerCase());
}

/**
 * A redirect URI, compared part by part: `https://claude.ai/*` is not `https://claude.ai.evil.example/`.
 * @returns undefined if the text is not a pattern, or is one that no URI can match: a rule that denies nothing
 */
export function uriPattern(text: string): Pattern | undefined {
  const matches = parseRedirectUriPattern(text);
  const example = text.replaceAll("*", "x");
  if (matches === undefined || !URL.canParse(example) || !matches(example)) return undefined;
  return { text, matches: (uri) => URL.canParse(uri) && matches(uri) };
}

/**
 * A client_id. Those that are URLs (Client ID Metadata Documents) are compared like redirect URIs where there is a
 * `*`: as mere text, `https://*.example.com/*` would be anybody's `https://evil.example/.example.com/`. Another issuer's client is
 * named `<issuer>#<id>`, and the `*` may be in its id only: a pattern for documents does not mean it.
 * @returns undefined if the text has a `*` and is a URL, but not a pattern for one
 */
export function clientPattern(text: string): Pattern | undefined {
  const isText = !text.includes("://") || !text.includes("*") || /^[^*#]+#/.test(text);
  if (isText) return wildcard(text);
  const ofDocuments = uriPattern(text);
  return ofDocuments && { text, matches: (id) => !id.includes("#") && ofDocuments.matches(id) };
}
