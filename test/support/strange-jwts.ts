/** JWTs as no issuer would make them, for property-based tests: from nearly good to no JWT at all, and signed in every wrong way. */
import { createHmac, webcrypto } from "node:crypto";
import { fc } from "./property.ts";
import type { Key } from "./token-issuer.ts";

/** What is put together to a token: changes of a good one. */
export interface Recipe {
  header: readonly Change[];
  claims: readonly Change[];
  /** Instead of the claims. */
  payload: string | undefined;
  signature: "right" | "another-key" | "public-key-as-secret" | "zeros" | "none" | "random";
  /** Of the text, once it is signed. */
  text: ReadonlyArray<readonly [where: number, what: string, remove: number]>;
}

type Change = readonly [name: string, how: "set" | "again" | "delete", value: string];

/** A JSON text. */
const value = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }).map((each) => JSON.stringify(each)),
  fc.constantFrom(
    ...["1e999", "-1e999", "1e308", "9007199254740993", "-0", "0.1", "1e-7", "253402300800"],
    ...[
      "null",
      "true",
      "[]",
      "[[]]",
      "{}",
      '""',
      '" "',
      '"\\u0000"',
      '"\\ud800"',
      '"__proto__"',
      '"é\\u202e"',
    ],
    ...[
      '{"__proto__":{"admin":true}}',
      '{"toString":1}',
      '["a","a"]',
      '"none"',
      '"HS256"',
      '"ES256"',
      '"jwt"',
    ],
    ...[`"${"x".repeat(3_000)}"`, `${"[".repeat(400)}${"]".repeat(400)}`, '"https://evil.example"'],
  ),
);

const changes = (names: readonly string[]) =>
  fc.array(fc.tuple(fc.constantFrom(...names), fc.constantFrom("set", "again", "delete"), value), {
    maxLength: 2,
  }) as fc.Arbitrary<Change[]>;

const HEADER = "alg kid typ crit b64 jwk jku x5c x5u x5t zip enc cty epk p2c __proto__ constructor".split(
  " ",
);
const CLAIMS = [
  ..."iss sub aud exp nbf iat jti client_id azp resource scope scp permissions cnf act may_act".split(" "),
  ..."authorization_details nonce at_hash email email_verified sid groups __proto__ constructor".split(" "),
];

/** Several strange things at once hide each other, so most have one or two. */
export const recipes: fc.Arbitrary<Recipe> = fc.record({
  header: fc.oneof(fc.constant([]), changes(HEADER)),
  claims: fc.oneof(fc.constant([]), changes(CLAIMS)),
  payload: fc.oneof(
    { weight: 12, arbitrary: fc.constant(undefined) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        "",
        "null",
        "[]",
        '"a"',
        "1",
        "{",
        "\ufeff{}",
        "{}{}",
        `${"[".repeat(5_000)}`,
      ),
    },
  ),
  signature: fc.constantFrom(
    ...["right", "right", "another-key", "public-key-as-secret", "zeros", "none", "random"],
  ) as fc.Arbitrary<Recipe["signature"]>,
  text: fc.oneof(
    { weight: 3, arbitrary: fc.constant([]) },
    {
      weight: 1,
      arbitrary: fc.array(
        fc.tuple(
          fc.nat(4_000),
          fc.oneof(
            fc.constantFrom("", ".", "..", "=", "==", "+", "/", "~", "A", ".e30", "e30.e30."),
            fc.integer({ min: 1, max: 12_000 }).map((length) => "A".repeat(length)),
          ),
          fc.nat(3),
        ),
        { minLength: 1, maxLength: 2 },
      ),
    },
  ),
});

export interface StrangeJwt {
  text: string;
  /** Undefined unless the key of the issuer signed exactly this. */
  genuine: { header: Record<string, unknown>; claims: Record<string, unknown> } | undefined;
}

/** @param good of a token that is accepted */
export async function strangeJwt(
  { header, claims, payload, signature, text }: Recipe,
  good: { header: object; claims: object; key: Key; anotherKey: Key },
): Promise<StrangeJwt> {
  const headerText = changed(good.header, header);
  const payloadText = payload ?? changed(good.claims, claims);
  const input = `${base64url(headerText)}.${base64url(payloadText)}`;
  const signed = `${input}.${(await signatureOf(input, signature, good)).toString("base64url")}`;
  let changedText = signed;
  for (const [where, what, remove] of text) {
    const at = where % (changedText.length + 1);
    changedText = changedText.slice(0, at) + what + changedText.slice(at + remove);
  }
  const isGenuine = signature === "right" && sameSignature(changedText, signed);
  const parts = isGenuine ? { header: object(headerText), claims: object(payloadText) } : undefined;
  return {
    text: changedText,
    genuine: parts?.header && parts.claims ? { header: parts.header, claims: parts.claims } : undefined,
  };
}

/** An object's JSON with members replaced, added a second time, or left out. */
function changed(object: object, changes: readonly Change[]): string {
  let members = Object.entries(object).map(([name, each]) => [name, JSON.stringify(each)] as const);
  for (const [name, how, json] of changes) {
    if (how !== "again") members = members.filter(([each]) => each !== name);
    if (how !== "delete") members = [...members, [name, json]];
  }
  return `{${members.map(([name, json]) => `${JSON.stringify(name)}:${json}`).join(",")}}`;
}

async function signatureOf(
  input: string,
  how: Recipe["signature"],
  { key, anotherKey }: { key: Key; anotherKey: Key },
): Promise<Buffer> {
  const byKey = async ({ privateKey }: Key) =>
    Buffer.from(
      await webcrypto.subtle.sign(
        { name: "ECDSA", hash: "SHA-256" },
        privateKey as webcrypto.CryptoKey,
        Buffer.from(input),
      ),
    );
  switch (how) {
    case "right":
      return byKey(key);
    case "another-key":
      return byKey(anotherKey);
    case "public-key-as-secret": {
      const { d: _private, ...jwk } = key.jwk;
      return createHmac("sha256", JSON.stringify(jwk)).update(input).digest();
    }
    case "zeros":
      return Buffer.alloc(64);
    case "none":
      return Buffer.alloc(0);
    default:
      return webcrypto.getRandomValues(Buffer.alloc(64));
  }
}

/** Not every bit of the last character of a signature counts, nor does what is no character of it. */
function sameSignature(text: string, signed: string): boolean {
  const [header, payload, signature = "", ...more] = text.split(".");
  const parts = signed.split(".");
  const bytes = (each: string) => Buffer.from(each, "base64url").toString("hex");
  return (
    more.length === 0 &&
    header === parts[0] &&
    payload === parts[1] &&
    bytes(signature) === bytes(parts[2] ?? "")
  );
}

function object(text: string): Record<string, unknown> | undefined {
  try {
    const found: unknown = JSON.parse(text);
    return typeof found === "object" && found !== null ? (found as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function base64url(text: string): string {
  return Buffer.from(text).toString("base64url");
}
