/** Everything about the identity providers that can be found out without a user. */
import { scopesToAsk } from "../../identity/asked-scopes.ts";
import { callbackUrl } from "../../identity/oidc/registered-urls.ts";
import { profileOf, profileOfIssuer } from "../../identity/profiles/profiles.ts";
import { ASYMMETRIC_ALGORITHMS } from "../../oauth/jwt.ts";
import { checkCertificateOfClient } from "./client-key.ts";
import { aheadOfDateHeader, clockFinding } from "./clock.ts";
import type { Deployment } from "./deployment.ts";
import { checkOf, type Finding, type Found, findingsIn, notChecked } from "./finding.ts";
import { checkKeysAt } from "./keys.ts";
import { within } from "./limit.ts";
import { checkClient, type Judged, judgeRefresh } from "./provider-client.ts";
import {
  type Asked,
  checkCapabilities,
  checkDiscovery,
  checkScopes,
  type ProviderMetadata,
} from "./provider-discovery.ts";
import { checkExchange } from "./provider-exchange.ts";
import { askForSignIn, clientId, judgeSignIn, type Outcome } from "./provider-sign-in.ts";

/** Of several each by its name. */
export async function checkProviders(deployment: Deployment): Promise<Found> {
  const { identityProviders, baseUrl } = deployment;
  if (identityProviders === undefined) return notChecked("provider", "the settings of the identity provider");
  const found = identityProviders.map((upstream, index) =>
    checkProvider({
      ...deployment,
      upstream,
      callbackUrl: baseUrl && callbackUrl(baseUrl, index === 0 ? undefined : upstream.id),
      timeoutMs: upstream.timeoutSeconds * 1000,
    }),
  );
  if (found.length === 1) return found[0];
  return (await Promise.all(found)).map((each, index) =>
    findingsIn(each).map((finding) => ({
      ...finding,
      says: `“${identityProviders[index]?.id}”: ${finding.says}`,
    })),
  );
}

async function checkProvider(asked: Asked): Promise<Found> {
  const { upstream, timeoutMs, patience, now } = asked;
  const { findings, answer, metadata } = await checkDiscovery(asked);
  const ahead = aheadOfDateHeader(answer.headers.get("date"), now(), answer.tookSeconds);
  const clock = ahead === undefined ? undefined : clockFinding("provider.clock", "the provider's", ahead);
  if (metadata === undefined) return [findings, clock];
  const keys = {
    check: "provider.keys",
    whose: "Its keys",
    algorithms: ASYMMETRIC_ALGORITHMS,
    fix: "Let the provider sign ID tokens with RS256, PS256, ES256 or EdDSA, not with a shared secret (HS256).",
    timeoutMs,
  };
  const asking = await Promise.all([
    within(patience.checkMs, keys.check, () => checkKeysAt(String(metadata.jwks_uri), keys)),
    within(patience.checkMs, "provider.credentials", () => askAsClient(asked, metadata)),
  ]);
  const others = [
    checkScopes(asked, metadata),
    withoutAudience(upstream),
    checkCertificateOfClient(upstream, now()),
  ];
  return [findings, checkCapabilities(metadata), asking, others, clock];
}

/** What the provider says to this server as its client. */
async function askAsClient(asked: Asked, metadata: ProviderMetadata): Promise<Found> {
  const { upstream, toolScopes } = asked;
  const profile = profileOf(upstream);
  const asking = { ...asked, callbackUrl: asked.callbackUrl ?? "https://callback.invalid/auth/callback" };
  const [client, answers] = await Promise.all([
    checkClient(asking, metadata),
    asked.callbackUrl === undefined ? undefined : askForSignIn(asking),
  ]);
  const signIn = { ...asking, audience: upstream.audience, profile };
  const offlineAccess = scopesToAsk(upstream, metadata, toolScopes).includes("offline_access");
  return [
    clientFinding(client, answers?.outcome, asking),
    judgeRefresh(client.refresh, offlineAccess, profile),
    answers && judgeSignIn(answers, client.verdict, signIn),
    client.verdict === "accepted" ? await checkExchange(asking, metadata, client.proof.ours) : undefined,
  ];
}

/** One cause, one finding: where sign-in shows which of the two is wrong, id or secret, it is said here. */
function clientFinding(
  { verdict, finding }: Judged,
  outcome: Outcome | undefined,
  { upstream, callbackUrl }: Asked,
): Finding {
  if (verdict !== "rejected" || finding.status === "ok" || outcome === undefined) return finding;
  const { says, fix } = finding;
  const found = checkOf(finding.check);
  const id = `the client id ${upstream.clientId}`;
  switch (clientId(outcome)) {
    case "unknown":
      return found`✗ The provider does not know ${id}
        → Copy the client id from the application at the provider into ${profileOf(upstream).setup.settings.clientId}; check that it is in this tenant or realm.`;
    case "known":
      return found`✗ ${says}; ${id} and the callback URL are known there
        → ${fix}`;
    case "refused":
      return found`✗ ${says}; ${id} is refused at sign-in as well
        → ${fix} Check that ${callbackUrl ?? ""} is registered there, too.`;
    default:
      return finding;
  }
}

/** With the settings for any provider (`OIDC_…`), nothing else says that this one needs an audience. */
function withoutAudience({ issuer, audience }: Asked["upstream"]): Finding | undefined {
  const lack = profileOfIssuer(issuer).setup.withoutAudience;
  if (audience !== undefined || lack === undefined) return undefined;
  return checkOf("provider.audience")`! ${lack.says}
    → ${lack.remedy}`;
}
