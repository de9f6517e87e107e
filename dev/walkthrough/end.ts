/** Steps 12 to 14: renewing what was granted, and giving it back (RFC 6749 §6, RFC 7009). */

import type { Answer } from "../client/http.ts";
import { type Authorization, refreshParameters } from "../client/oauth-client.ts";
import { readChallenge } from "./challenge.ts";
import type { ServerMetadata, Walk } from "./discovery.ts";
import { describe, expectStatus } from "./http.ts";
import { createMcpClient, firstRequest } from "./mcp.ts";
import { readTokens, type TokenResponse } from "./sign-in.ts";
import { whoami } from "./tools.ts";
import { expect } from "./trace.ts";

function sendRefresh(
  { send }: Walk,
  server: ServerMetadata,
  authorization: Authorization,
  refreshToken: string,
): Promise<Answer> {
  const form = refreshParameters(authorization, refreshToken);
  return send({ method: "POST", url: server.token_endpoint, form });
}

/** @param canAsk whether there is a tool to try the new token with */
export async function refresh(
  walk: Walk,
  server: ServerMetadata,
  authorization: Authorization,
  old: TokenResponse,
  canAsk: boolean,
): Promise<TokenResponse> {
  const tokens = readTokens(await sendRefresh(walk, server, authorization, old.refresh_token));
  expect(tokens.access_token !== old.access_token, {
    expected: "a new access token",
    came: "the old one",
    hint: "A refresh that renews nothing leaves the client with a token about to expire.",
  });
  // OAuth 2.1 §4.3.1: a public client's refresh tokens rotate.
  expect(tokens.refresh_token !== old.refresh_token, {
    expected: "a new refresh token: those of public clients are replaced at every use",
    came: "the old one",
    hint: "A stolen refresh token would go unnoticed.",
  });
  walk.trace.learned(`new access token ${tokens.access_token}, for ${tokens.expires_in} s`);
  walk.trace.learned(`new refresh token ${tokens.refresh_token}; the old one is replaced`);
  const client = createMcpClient(walk.send, walk.url, tokens.access_token);
  if (canAsk) await whoami(client, { clientId: authorization.clientId }, walk.trace);
  else await client.initialize();
  walk.trace.learned("the new access token works");
  return tokens;
}

/** A client whose answer was lost tries again. Some servers allow it for a moment; no specification asks them to. */
export async function refreshAgain(
  walk: Walk,
  server: ServerMetadata,
  authorization: Authorization,
  old: TokenResponse,
  current: TokenResponse,
): Promise<void> {
  const { trace } = walk;
  const answer = await sendRefresh(walk, server, authorization, old.refresh_token);
  if (answer.status !== 200)
    return trace.learned(`refused, as a server without a grace period does: ${describe(answer)}`);
  const again = readTokens(answer);
  const same = again.access_token === current.access_token && again.refresh_token === current.refresh_token;
  if (same) trace.learned("the same answer again: a lost answer costs nobody the session");
  else trace.remark("other tokens than before: two valid families from one refresh token");
}

export async function revoke(
  { send, trace, url }: Walk,
  server: ServerMetadata,
  { clientId }: Authorization,
  tokens: TokenResponse,
): Promise<void> {
  const revoked = await send({
    method: "POST",
    url: server.revocation_endpoint,
    form: { token: tokens.refresh_token, token_type_hint: "refresh_token", client_id: clientId },
  });
  expectStatus(revoked, 200);
  trace.learned("revoked; is the access token refused?");
  await expectRefused(
    { send, trace, url },
    tokens.access_token,
    "A revoked grant is still accepted: signing out does not work on this server.",
  );
  trace.learned("it is: the whole grant has ended");
}

/** @throws StepFailure unless the server wants another token than this one */
export async function expectRefused({ send, url }: Walk, accessToken: string, hint: string): Promise<void> {
  const answer = await send(firstRequest(url, accessToken));
  expectStatus(answer, 401, hint);
  const { error } = readChallenge(answer);
  expect(error === "invalid_token", {
    expected: 'error="invalid_token" (RFC 6750 §3.1)',
    came: answer.headers.get("www-authenticate") ?? "none",
    hint: "Clients tell by it that they have to sign in again.",
  });
}
