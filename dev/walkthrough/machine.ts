/** `--as machine`: client credentials (RFC 6749 §4.4). */
import { CLIENT_CREDENTIALS_GRANT } from "../../src/oauth/client-metadata.ts";
import type { Walk } from "./discovery.ts";
import { expectRefused } from "./end.ts";
import { expectStatus } from "./http.ts";
import { clientFor, type Settings } from "./settings.ts";
import { expectOAuthError, findServer, readAccessToken, useToken } from "./unattended.ts";

/** No server has it. */
const TOO_MUCH = "walkthrough:everything";

export async function walkAsMachine(walk: Walk, settings: Settings): Promise<void> {
  const { send, trace } = walk;
  trace.show(`A job that nobody signs in to calls the tools of ${walk.url}.`);
  const client = clientFor(settings);
  const server = await findServer(walk, { grantType: CLIENT_CREDENTIALS_GRANT });
  const { resource, metadata } = server;
  const request = { grant_type: CLIENT_CREDENTIALS_GRANT, resource: resource.resource };
  const ask = (form: Readonly<Record<string, string>>, as = client) =>
    send({ method: "POST", url: metadata.token_endpoint, form, client: as });

  trace.step("Ask for a token with our own id and secret");
  const token = readAccessToken(await ask(request), trace);
  await useToken(walk, server, token, { kind: "client", subject: client.id, clientId: client.id });

  trace.step("Ask for more than the operator allowed this client");
  const tooMuch = await ask({ ...request, scope: TOO_MUCH });
  const noCeiling = "A client must not get a scope that is not in its ceiling.";
  trace.learned(`refused as it must be: ${expectOAuthError(tooMuch, 400, "invalid_scope", noCeiling)}`);
  trace.step("Ask with a wrong secret");
  const wrong = await ask(request, { id: client.id, secret: "not-the-secret-of-this-client" });
  const open = "Anybody could come in under this client's name.";
  trace.learned(`refused as it must be: ${expectOAuthError(wrong, 401, "invalid_client", open)}`);

  if (metadata.revocation_endpoint === undefined) return;
  trace.step("Revoke the token, and call once more");
  const form = { token: token.access_token, token_type_hint: "access_token" };
  expectStatus(await send({ method: "POST", url: metadata.revocation_endpoint, form, client }), 200);
  await expectRefused(walk, token.access_token, "A revoked token is still accepted.");
  trace.learned("the token has ended; with its secret the job gets another");
}
