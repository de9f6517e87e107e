/** Text of strangers, as it may stand in a terminal. Pure. */

export const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/**
 * Names come from clients and users: what moves the cursor, colours, hides or reorders text in a terminal is shown as its
 * code instead.
 */
export function harmless(text: string): string {
  return text.replace(UNPRINTABLE, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
}
