/** Measures a JSON text by its bytes, so that too many or too deep values are refused before JSON.parse makes objects of them. */

export interface JsonSize {
  /** At least as many as JSON.parse would make: an empty array or object counts twice. */
  values: number;
  /** Of arrays and objects in each other. */
  depth: number;
}

const [QUOTE, BACKSLASH, COMMA] = [0x22, 0x5c, 0x2c];
const [OPEN_ARRAY, CLOSE_ARRAY, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];

/**
 * In one pass, without recursion. Up to the first error of syntax (RFC 8259) it sees what a parser sees, and beyond that no
 * parser makes anything.
 * @param bytes UTF-8, in which no other character contains one of those that are looked for
 */
export function measureJson(bytes: Uint8Array): JsonSize {
  let values = 1;
  let depth = 0;
  let deepest = 0;
  let isInString = false;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if (isInString) {
      if (byte === BACKSLASH) at++;
      else if (byte === QUOTE) isInString = false;
    } else if (byte === QUOTE) isInString = true;
    else if (byte === COMMA) values++;
    else if (byte === OPEN_ARRAY || byte === OPEN_OBJECT) {
      values++;
      depth++;
      if (depth > deepest) deepest = depth;
    } else if (byte === CLOSE_ARRAY || byte === CLOSE_OBJECT) depth--;
  }
  return { values, depth: deepest };
}
