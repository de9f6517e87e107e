/** What is encrypted under SECRET_KEY: the two formats, and what each is bound to. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { memoryStore } from "../../src/storage/memory.ts";
import { reencrypt } from "../../src/storage/reencrypt.ts";
import { createSealer } from "../../src/storage/sealer.ts";

const KEY = "known-answer-key-0123456789-abcdefgh";
const OTHER_KEY = "another-secret-key-of-at-least-32-bytes";
const TEXT = '{"amount":1}';
const CONTEXT = "client:known";
/** Written by the version before the one that had two formats. */
const LANDED = "1.c20SwIK5.KbYCxq0H8DhXlamfYIKh8UdmpE4HWjIuEQhg7nxPr9Q2Rsx4U_n8fg";
/** Key and IV by HKDF-SHA-256 of KEY with the salt 00 01 … 1f and the purpose that sealer.ts names. */
const OF_STRANGER =
  "2.c20SwIK5.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9LWwFO5OlFTBKKBU-lcO2ATv2DCyOqZ_JSLlRw";

const PACKED_TEXT = `{"id":"ag7rb3odwOboh7RCRzR-eg","scopes":["weather:read"],"version":1,"clientName":"Zürich 🌍"}`;
const PACKED =
  "3.c20SwIK5.QuaNNcD5IK0qtAecqtgsICtSI5i1gRcvEKfrBIFE3skuUPL7_du86O-KDy1SdDIIDcANct5SpMK1duL0uXlIU3kBrKUYnUm9PhUXTofwzIBPsaLkiAysPp6_";
/** Texts that are, or look like, what is packed as bytes: with another last letter, as words, beside each other, very long. */
const RECORDS = [
  PACKED_TEXT,
  '""',
  JSON.stringify({
    almost: "ag7rb3odwOboh7RCRzR-eh",
    word: "a".repeat(23),
    jwt: `${"A".repeat(40)}.${"e".repeat(43)}.`,
  }),
  JSON.stringify({ long: "A".repeat(100_000), control: "\u0001\u0000", of: "+/=_-".repeat(20) }),
];

describe("what is sealed", () => {
  const sealer = createSealer([KEY]);
  const bodyOf = (sealed: string) => Buffer.from(sealed.split(".")[2] ?? "", "base64url");
  const withBody = (sealed: string, body: Buffer) =>
    [...sealed.split(".").slice(0, 2), body.toString("base64url")].join(".");

  test("known answers of both formats open, the landed one among them", () => {
    assert.equal(sealer.open(LANDED, CONTEXT), TEXT);
    assert.equal(sealer.open(OF_STRANGER, CONTEXT), TEXT);
  });

  test("what is stored has the format that replicas of an earlier version read", () => {
    assert.match(sealer.seal(TEXT, CONTEXT), /^1\.c20SwIK5\./);
  });

  test("what is packed is what it was, in the same form after a rotation, and is no other format's", () => {
    for (const text of RECORDS) {
      const sealed = sealer.sealCompact(text, CONTEXT);
      assert.match(sealed, /^3\./);
      assert.equal(sealer.open(sealed, CONTEXT), text);
      const rotated = createSealer([OTHER_KEY, KEY]).reseal(sealed, CONTEXT) ?? "";
      assert.match(rotated, /^3\./);
      assert.equal(createSealer([OTHER_KEY]).open(rotated, CONTEXT), text);
    }
    assert.equal(sealer.open(sealer.seal(TEXT, CONTEXT).replace(/^1/, "3"), CONTEXT), undefined);
  });

  test("a packed record of this version opens in every later one", () => {
    assert.equal(sealer.open(PACKED, CONTEXT), PACKED_TEXT);
  });

  test("what a stranger can have sealed has a key of its own: no two salts are equal", () => {
    const salts = Array.from({ length: 1_000 }, () =>
      bodyOf(sealer.sealForStranger(TEXT, CONTEXT)).subarray(0, 32).toString("hex"),
    );
    assert.equal(new Set(salts).size, salts.length);
  });

  for (const seal of ["seal", "sealForStranger", "sealCompact"] as const)
    describe(seal, () => {
      test("opens in its own context only", () => {
        const sealed = sealer[seal](TEXT, CONTEXT);
        assert.equal(sealer.open(sealed, CONTEXT), TEXT);
        for (const context of ["client:other", "grant:known", ""])
          assert.equal(sealer.open(sealed, context), undefined);
      });

      test("with any byte changed, salt or IV, ciphertext or tag, does not open", () => {
        const sealed = sealer[seal](TEXT, CONTEXT);
        for (let at = 0; at < bodyOf(sealed).length; at++) {
          const body = bodyOf(sealed);
          body[at] = (body[at] ?? 0) ^ 1;
          assert.equal(sealer.open(withBody(sealed, body), CONTEXT), undefined, `byte ${at}`);
        }
      });

      test("cut short at any byte does not open", () => {
        const sealed = sealer[seal](TEXT, CONTEXT);
        for (let length = 0; length < bodyOf(sealed).length; length++)
          assert.equal(sealer.open(withBody(sealed, bodyOf(sealed).subarray(0, length)), CONTEXT), undefined);
      });

      test("under the name of the other format, or none, does not open", () => {
        const sealed = sealer[seal](TEXT, CONTEXT);
        for (const name of ["0", "1", "2", "3", "", "01", "constructor", "__proto__"])
          if (!sealed.startsWith(`${name}.`))
            assert.equal(sealer.open(`${name}${sealed.slice(1)}`, CONTEXT), undefined, name);
      });

      test("opens after a rotation, is not current then, and is brought under the new key", async () => {
        const rotated = createSealer([OTHER_KEY, KEY]);
        const sealed = sealer[seal](TEXT, CONTEXT);
        assert.equal(sealer.isCurrent(sealed), true);
        assert.equal(rotated.isCurrent(sealed), false);
        assert.equal(rotated.open(sealed, CONTEXT), TEXT);
        assert.equal(createSealer([OTHER_KEY]).open(sealed, CONTEXT), undefined);

        const records = memoryStore();
        await records.put(CONTEXT, sealed, 60);
        assert.deepEqual(await reencrypt(records, rotated), { reencrypted: 1, unreadable: 0 });
        assert.equal(createSealer([OTHER_KEY]).open((await records.get(CONTEXT)) ?? "", CONTEXT), TEXT);
        assert.deepEqual(await reencrypt(records, rotated), { reencrypted: 0, unreadable: 0 });
        await records.close();
      });
    });
});
