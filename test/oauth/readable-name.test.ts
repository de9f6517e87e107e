/** Names that clients give themselves: what hides is gone, what is only hidden is no name, scripts and emoji stay. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { readableName } from "../../src/oauth/readable-name.ts";

const NOTHING = [
  "",
  "   ",
  "\u3164", // Hangul filler
  "\u115f\u1160\uffa0",
  "\u2800\u2800", // Braille pattern blank
  "\u200b\u200c\u200d\u2060\ufeff",
  "\u00ad\u034f\u061c\u180e",
  "\ufe0f\u{e0100}",
  "\u{e0041}\u{e007f}", // tags
  "\u00a0\u2003\u3000",
  "\u0301\u0302", // marks without anything to mark
  "\u{1d159}",
  "\ue000\ud800",
  "\u3164 \u2800\t\u202e",
];
describe("a name that nobody sees", () => {
  for (const name of NOTHING)
    test(`${JSON.stringify(name)} is no name`, () => assert.equal(readableName(name), undefined));
});

const SHOWN: Array<[string, string]> = [
  ["Clau\u200bde", "Claude"],
  ["Clau\u200dde", "Claude"],
  ["Clau\u3164de\ufe0f", "Claude"],
  ["Good\u202eevil\u0007", "Goodevil"],
  ["  My\u2800\u2800app\u00a0 2 ", "My app 2"],
  ["one\nline", "one line"],
  ["Clau\ufeffde", "Claude"],
  ["A\u{e0041}B", "AB"],
];
for (const [sent, shown] of SHOWN)
  test(`${JSON.stringify(sent)} is shown as ${shown}`, () => assert.equal(readableName(sent), shown));

const KEPT = [
  "Tom & <Jerry>",
  "Ünïcödé 日本語 한국어",
  "👩‍💻 Coder",
  "👩🏽‍🚀",
  "❤️‍🔥",
  "1️⃣ first",
  "🇩🇪",
  "می‌خواهم", // Persian, with a ZWNJ
  "क्‍ष", // Devanagari, with a ZWJ
  "ශ්‍රී", // Sinhala, with a ZWJ
  "!",
];
for (const name of KEPT) test(`${name} stays as it is`, () => assert.equal(readableName(name), name));
