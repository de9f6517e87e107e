/** The authenticator that claims a token decides about it alone (invariant 4). */
import assert from "node:assert/strict";
import { test } from "node:test";
import { mintRefreshToken, mintToken } from "../../src/grants/opaque-token.ts";
import { ownTokenAuthenticator } from "../../src/resource/authenticators/own-token.ts";
import type { AccessTokenRefusal } from "../../src/resource/caller.ts";
import { authenticateToken, type TokenAuthenticator } from "../../src/resource/token-authenticator.ts";

/** Refuses with this reason what it claims. */
function claiming(
  refused: AccessTokenRefusal,
  claims: (token: string) => boolean,
): TokenAuthenticator & { asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    claims,
    async verify(token) {
      asked.push(token);
      return { refused };
    },
  };
}

test("a token that one authenticator refused is not tried against the next one, though that would claim it", async () => {
  const jwts = claiming("expired_access_token", (token) => token.split(".").length === 3);
  const everything = claiming("unknown_access_token", () => true);
  assert.deepEqual(await authenticateToken("a.b.c", [jwts, everything]), { refused: "expired_access_token" });
  assert.deepEqual(everything.asked, []);
  assert.deepEqual(await authenticateToken("opaque", [jwts, everything]), {
    refused: "unknown_access_token",
  });
  assert.deepEqual(jwts.asked, ["a.b.c"]);
});

test("an outage of the authenticator that claims a token is no reason to ask another one", async () => {
  const down: TokenAuthenticator = {
    claims: () => true,
    verify: async () => {
      throw new Error("out of reach");
    },
  };
  const other = claiming("grant_ended", () => true);
  await assert.rejects(authenticateToken("token", [down, other]), /out of reach/);
  assert.deepEqual(other.asked, []);
});

test("what nobody claims is refused without asking anybody", async () => {
  const nobody = claiming("grant_ended", () => false);
  assert.deepEqual(await authenticateToken("token", [nobody]), { refused: "malformed_access_token" });
  assert.deepEqual(await authenticateToken("token", []), { refused: "malformed_access_token" });
  assert.deepEqual(nobody.asked, []);
});

const GRANT_ID = "A".repeat(22);
const SECRET = Buffer.alloc(32);

test("tokens and codes of ours are claimed, whole or not; JWTs and what only contains one are not", () => {
  const { claims } = ownTokenAuthenticator({} as Parameters<typeof ownTokenAuthenticator>[0]);
  const accessToken = mintToken("access", GRANT_ID, SECRET);
  // As opaque tokens of somebody else's they would be sent to an issuer.
  const ours = [
    accessToken,
    accessToken.slice(0, -1),
    mintToken("code", GRANT_ID, SECRET),
    mintRefreshToken(GRANT_ID, SECRET, "key"),
  ];
  assert.deepEqual(ours.filter(claims), ours);
  const others = [`eyJhbGciOiJub25lIn0.${accessToken}.`, accessToken.toUpperCase(), "mcp_at"];
  assert.deepEqual(others.filter(claims), []);
});
