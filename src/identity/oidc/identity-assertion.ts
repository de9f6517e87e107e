/**
 * The user's ID token for an assertion that another authorization server believes: RFC 8693,
 * draft-ietf-oauth-identity-assertion-authz-grant §4.3. The draft lets a provider take a refresh token in its place; this server
 * sends none, because the refresh token is spent by one process at a time, and a provider that rotates could take it for a theft.
 */
import { decodeProtectedHeader } from "jose";
import * as oidc from "openid-client";
import { parseJsonObject } from "../../oauth/json.ts";
import type { ApiRequest } from "../../oauth/other-api.ts";
import { UnacceptableAnswer } from "../identity-provider.ts";
import { TOKEN_EXCHANGE_GRANT } from "../profiles/token-exchange.ts";
import { answer } from "./answers.ts";
import type { Discovered } from "./discovery.ts";
import { definite } from "./token-exchange.ts";
import { decodedClaims } from "./token-verification.ts";

const ID_JAG = "urn:ietf:params:oauth:token-type:id-jag";
const ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token";

export async function identityAssertion(
  found: Discovered,
  idToken: string,
  { authorizationServer, resource, scopes }: ApiRequest & { authorizationServer: string },
): Promise<string> {
  const asking = found.as(found.metadata.issuer, async (url, options) =>
    asBearer(await found.send(url, options)),
  );
  const response = await definite(
    answer(
      oidc.genericGrantRequest(asking, TOKEN_EXCHANGE_GRANT, {
        requested_token_type: ID_JAG,
        audience: authorizationServer,
        ...(resource !== undefined && { resource }),
        ...(scopes.length > 0 && { scope: scopes.join(" ") }),
        subject_token: idToken,
        subject_token_type: ID_TOKEN,
      }),
    ),
  );
  const { issued_token_type: issued, access_token: assertion } = response;
  // It says who the user is: what it is, and for whom, is looked at before it is sent there.
  if (issued !== ID_JAG) throw unacceptable(`its issued_token_type is ${String(issued).slice(0, 100)}`);
  if (typeOf(assertion) !== "oauth-id-jag+jwt") throw unacceptable("its typ is another");
  const named = [decodedClaims(assertion)?.aud].flat();
  if (named.length !== 1 || !isSame(named[0], authorizationServer)) throw unacceptable("its aud is another");
  return assertion;
}

/** Its `token_type` is `N_A`, because it is no access token (§4.3.4). openid-client takes none but those of access tokens. */
async function asBearer(response: Response): Promise<Response> {
  const text = await response.text();
  const body = response.ok ? parseJsonObject(text) : undefined;
  const { status, headers } = response;
  if (String(body?.token_type).toLowerCase() !== "n_a") return new Response(text, { status, headers });
  return Response.json({ ...body, token_type: "bearer" }, { status });
}

function typeOf(jwt: string): string | undefined {
  try {
    return decodeProtectedHeader(jwt).typ;
  } catch {
    return undefined;
  }
}

/** With or without a slash at its end. */
function isSame(named: string | undefined, issuer: string): boolean {
  return named?.replace(/\/$/, "") === issuer.replace(/\/$/, "");
}

function unacceptable(found: string): UnacceptableAnswer {
  return new UnacceptableAnswer("exchanged_token_type", { cause: new Error(found) });
}
