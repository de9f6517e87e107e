/** `--as foreign-token`: an access token that another issuer signed for this resource (RFC 9068). */
import { decodeJwt } from "jose";
import { z } from "zod";
import { CLIENT_CREDENTIALS_GRANT } from "../../src/oauth/client-metadata.ts";
import { API, JOB } from "../demo/callers.ts";
import type { Walk } from "./discovery.ts";
import { expectRefused } from "./end.ts";
import { expectStatus, readJson } from "./http.ts";
import { demoIssuers, type Settings } from "./settings.ts";
import { askDemo, explain, findServer, useToken } from "./unattended.ts";

const GARBAGE = "garbage";

export async function walkWithForeignToken(walk: Walk, settings: Settings): Promise<void> {
  const { trace } = walk;
  trace.show(`A program calls the tools of ${walk.url} with a token that another issuer gave it.`);
  const server = await findServer(walk, {});
  const { resource: audience, scopes_supported: scopes = [] } = server.resource;
  const scope = scopes.join(" ");
  const isDemo = settings.token === undefined;
  if (isDemo) trace.step("Ask the other issuer for an access token for this resource");
  const accessToken = settings.token ?? (await issued(walk, settings, audience, scope));
  trace.keepSecret(accessToken);
  await useToken(walk, server, { access_token: accessToken, scope }, isDemo ? knownFrom(accessToken) : {});

  if (isDemo) {
    trace.step("Bring a token that the same issuer gave for another API");
    const other = await issued(walk, settings, API, scope);
    await expectRefused(walk, other, "Whoever has a token for any API of this issuer could come in here.");
    trace.learned("refused as it must be: it is for somebody else (aud)");
  }
  trace.step("Bring something that is no token");
  await expectRefused(walk, GARBAGE, "What nobody issued must not be let in.");
  trace.learned("refused as it must be, with 401: a client throws it away and gets another");
}

/** A program's own token: its subject is the client, named by its issuer, so that no client of the server can be meant. */
function knownFrom(accessToken: string): Record<string, string> {
  const { iss = "", sub = "" } = decodeJwt(accessToken);
  return { kind: "client", issuer: iss, clientId: `${iss}#${sub}` };
}

/** Client credentials at the demo's identity provider. */
async function issued(walk: Walk, settings: Settings, resource: string, scope: string): Promise<string> {
  const answer = await askDemo(
    walk,
    {
      method: "POST",
      url: `${demoIssuers(settings).issuer}/token`,
      form: { grant_type: CLIENT_CREDENTIALS_GRANT, resource, scope },
      client: JOB,
    },
    "TOKEN",
  );
  expectStatus(answer, 200);
  const { access_token: accessToken } = readJson(answer, z.object({ access_token: z.string() }));
  explain(
    accessToken,
    { iss: "who signed it", sub: "the program", aud: "what it is good for", scope: "as its issuer names it" },
    walk.trace,
  );
  return accessToken;
}
