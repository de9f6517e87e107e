/**
 * Would the provider give tools tokens for other APIs? Asked with a made-up token, and told by what it refuses: the grant type, or
 * the token. Whether any tool wants one, nobody knows before it asks; so neither answer is a problem.
 */
import type { Way } from "../../identity/oidc/ways-to-authenticate.ts";
import { profileOf } from "../../identity/profiles/profiles.ts";
import { checkOf, type Finding } from "./finding.ts";
import { askTokenEndpoint, type Refusal } from "./provider-client.ts";
import type { Asked, ProviderMetadata } from "./provider-discovery.ts";
import { proofsOf } from "./provider-proofs.ts";

/** @param way of the client by which people sign in, unless another one exchanges; known to be accepted */
export async function checkExchange(
  asked: Asked,
  metadata: ProviderMetadata,
  way: Way,
): Promise<Finding | undefined> {
  const { upstream, randomBytes, timeoutMs } = asked;
  const { exchangeClient } = upstream;
  const { tokenExchange: dialect } = profileOf(upstream);
  const problem = dialect.problem?.(upstream);
  if (problem !== undefined) return judgeExchange({ kind: "not_set", said: problem }, upstream, metadata);
  const as = exchangeClient && { ...asked, upstream: { ...upstream, ...exchangeClient } };
  const exchangesBy = as === undefined ? way : (await proofsOf(as, metadata))[0].ours;
  const api = { audience: "https://api.invalid", scopes: [] };
  const madeUp = randomBytes(32).toString("base64url");
  const parameters = { grant_type: dialect.grantType, ...dialect.parameters(madeUp, api, upstream) };
  return judgeExchange(
    await askTokenEndpoint(metadata, parameters, exchangesBy, timeoutMs),
    upstream,
    metadata,
  );
}

/** Pure. */
export function judgeExchange(
  { kind, said }: { kind: Refusal["kind"] | "not_set"; said: string },
  upstream: Asked["upstream"],
  { grant_types_supported: listed }: ProviderMetadata,
): Finding | undefined {
  const found = checkOf("provider.exchange");
  const { tokenExchange: dialect, setup } = profileOf(upstream);
  const ifNeeded = `Nothing to do unless a tool calls getAccessTokenFor(). Then: ${setup.exchangeRemedy}`;
  const lists = Array.isArray(listed) && listed.includes(dialect.grantType);
  const discovery = Array.isArray(listed) ? `${lists ? "lists" : "does not list"} that` : "does not say";
  const answer = `${said}; its discovery document ${discovery}`;
  if (kind === "not_set") return found`✓ Tokens for other APIs, by ${dialect.name}: ${said}. ${ifNeeded}`;
  if (kind === "grant_type")
    return found`✓ It gives this application no tokens for other APIs, by ${dialect.name} (${answer}). ${ifNeeded}`;
  if (kind === "other")
    return found`✓ It takes requests for tokens for other APIs, by ${dialect.name}, as far as a made-up token shows (${answer}). Each API has to be allowed there`;
  // Of the client by which people sign in it is said elsewhere.
  if (kind === "none" || upstream.exchangeClient === undefined) return undefined;
  return found`✗ The provider does not accept the client that exchanges tokens for other APIs (${said})
    → Copy both anew from that client at the provider into OIDC_EXCHANGE_CLIENT_ID and OIDC_EXCHANGE_CLIENT_SECRET.`;
}
