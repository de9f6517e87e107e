/**
 * `--as enterprise`: a person signs in at their company's identity provider, which says that they may use this application
 * here (ID-JAG, MCP Enterprise-Managed Authorization). They see no page of the server.
 */
import { z } from "zod";
import { JWT_BEARER_GRANT } from "../../src/oauth/client-metadata.ts";
import { codeParameters, ID_JAG, idJagParameters, TOKEN_EXCHANGE_GRANT } from "../client/oauth-client.ts";
import { APPLICATION } from "../demo/callers.ts";
import type { Walk } from "./discovery.ts";
import { expectStatus, readJson } from "./http.ts";
import { listenOnLoopback } from "./loopback.ts";
import { clientFor, demoIssuers, type Settings } from "./settings.ts";
import { checkRedirect, newAuthorization, signIn } from "./sign-in.ts";
import { expect } from "./trace.ts";
import {
  askDemo,
  expectUsedOnce,
  explain,
  type FoundServer,
  findServer,
  presentAssertion,
  readAccessToken,
  useToken,
} from "./unattended.ts";

const PROFILE = "urn:ietf:params:oauth:grant-profile:id-jag";

export async function walkAsEnterprise(walk: Walk, settings: Settings): Promise<void> {
  const { trace } = walk;
  trace.show(`A company's application calls the tools of ${walk.url} in the name of a person.`);
  const client = clientFor(settings);
  const server = await findServer(walk, { grantType: JWT_BEARER_GRANT, profile: PROFILE });
  const assertion = settings.assertion ?? (await askCompany(walk, server, settings));
  trace.keepSecret(assertion);
  trace.step("Present the assertion, as the client that it names");
  const { sub } = explain(assertion, CLAIMS, trace);
  const token = readAccessToken(await presentAssertion(walk, server, assertion, client), trace);
  // Elsewhere the operator may have chosen another claim for whom it names.
  const subject = settings.assertion === undefined && { subject: String(sub) };
  await useToken(walk, server, token, { kind: "user", clientId: client.id, ...subject });
  trace.step("Present the same assertion once more, as a thief would");
  await expectUsedOnce(walk, server, assertion, client);
}

const CLAIMS = {
  iss: "the company's identity provider signed it",
  sub: "the person",
  aud: "for this authorization server alone",
  client_id: "only this client may present it",
  resource: "what it is good for",
  scope: "what the company permits",
  jti: "used once",
};

const Metadata = z.object({
  issuer: z.string(),
  authorization_endpoint: z.string(),
  token_endpoint: z.string(),
  grant_types_supported: z.array(z.string()).default([]),
});
type Metadata = z.infer<typeof Metadata>;

/** Sign-in, ID token, assertion. */
async function askCompany(walk: Walk, server: FoundServer, settings: Settings): Promise<string> {
  const { trace } = walk;
  const { issuer } = demoIssuers(settings);
  trace.step("Ask the company's identity provider what it offers");
  const url = `${issuer}/.well-known/openid-configuration`;
  const answer = await askDemo(walk, { method: "GET", url }, "ASSERTION");
  expectStatus(answer, 200);
  const company = readJson(answer, Metadata);
  expect(company.grant_types_supported.includes(TOKEN_EXCHANGE_GRANT), {
    expected: `grant_types_supported with ${TOKEN_EXCHANGE_GRANT}`,
    came: company.grant_types_supported.join(" ") || "none",
    hint: "This identity provider gives no assertions.",
  });
  trace.learned("it exchanges tokens (RFC 8693)");
  const idToken = await signInAtCompany(walk, company, settings);

  trace.step("Exchange the ID token for an assertion (ID-JAG)");
  const { resource, issuer: audience } = server;
  const scope = resource.scopes_supported?.join(" ") || undefined;
  const exchange = idJagParameters({ idToken, audience, resource: resource.resource, scope });
  const exchanged = await walk.send({
    method: "POST",
    url: company.token_endpoint,
    form: exchange,
    client: APPLICATION,
  });
  expectStatus(exchanged, 200);
  const Exchanged = z.object({ access_token: z.string(), issued_token_type: z.literal(ID_JAG) });
  const { access_token: assertion } = readJson(exchanged, Exchanged);
  trace.learned("the company agrees; the assertion is no access token, whatever its field is called");
  return assertion;
}

/** @returns the ID token */
async function signInAtCompany(walk: Walk, company: Metadata, settings: Settings): Promise<string> {
  const { trace } = walk;
  trace.step("Send the browser: the person signs in at the company");
  const loopback = await listenOnLoopback();
  try {
    const { redirectUri } = loopback;
    const authorization = newAuthorization({ clientId: APPLICATION.id, redirectUri, scope: "openid" });
    const came = await signIn(walk, company, authorization, loopback, settings);
    trace.step("Read the answer the browser brought");
    const code = checkRedirect(walk, company.issuer, authorization, came);
    trace.step("Exchange the code for an ID token");
    const form = codeParameters(authorization, code);
    const answer = await walk.send({
      method: "POST",
      url: company.token_endpoint,
      form,
      client: APPLICATION,
    });
    expectStatus(answer, 200);
    const { id_token: idToken } = readJson(answer, z.object({ id_token: z.string() }));
    explain(
      idToken,
      { iss: "who says so", sub: "the person", aud: "for the application, not for the server" },
      trace,
    );
    return idToken;
  } finally {
    loopback.close();
  }
}
