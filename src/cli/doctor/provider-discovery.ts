/** The provider's discovery document: can it be read, does the server take it, and does it offer what is needed? */
import { unaskedScopes } from "../../identity/asked-scopes.ts";
import { discover, withoutAuthentication } from "../../identity/oidc/discovery.ts";
import { issuerProblem } from "../../identity/oidc/trusted-metadata.ts";
import { TENANT_ISSUER_REMEDY } from "../../identity/profiles/entra.ts";
import { type NamedProvider, profileOf } from "../../identity/profiles/profiles.ts";
import type { IdentityProviderSettings } from "../../identity/settings.ts";
import { causes } from "../../oauth/errors.ts";
import { isPatternOfTenants, metadataOfTenants } from "../../oauth/tenant-issuer.ts";
import { type Answer, ask, describeOther } from "./ask.ts";
import type { Deployment } from "./deployment.ts";
import { checkOf, type Finding } from "./finding.ts";

export type ProviderMetadata = Readonly<Record<string, unknown>>;

/** One identity provider, and what it is asked with. */
export interface Asked extends Pick<Deployment, "now" | "randomBytes" | "log" | "patience" | "toolScopes"> {
  upstream: IdentityProviderSettings;
  /** Undefined where BASE_URL is wrong. */
  callbackUrl: string | undefined;
  /** For one answer: what the server itself waits. */
  timeoutMs: number;
}

const found = checkOf("provider.discovery");

interface Discovery {
  findings: Finding[];
  /** What came back, whatever it is. */
  answer: Answer;
  /** Only if the server takes the document: nothing is asked, and no secret is sent, where another one leads. */
  metadata?: ProviderMetadata;
}

/** The server's own discovery decides; what is asked beside it is for the words. */
export async function checkDiscovery({ upstream, timeoutMs }: Asked): Promise<Discovery> {
  const { issuer } = upstream;
  const url = isPatternOfTenants(issuer)
    ? metadataOfTenants(issuer).href
    : `${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`;
  const answer = await ask(url, { timeoutMs });
  const { document: metadata } = answer;
  if (typeof metadata?.issuer !== "string")
    return { answer, findings: [await noDocument(url, answer, upstream, timeoutMs)] };
  const identity = checkIssuer(upstream, metadata.issuer);
  if (identity.status === "failure") return { answer, findings: [identity] };
  try {
    await discover({ ...upstream, timeoutSeconds: timeoutMs / 1000 }, withoutAuthentication({}));
    return { answer, metadata, findings: [found`✓ Its discovery document is good (${url})`, identity] };
  } catch (error) {
    const refused = found`✗ The server does not take its discovery document (${url}): ${causes(error)}
      → Correct what it names at the provider. If it is http behind a proxy: the provider's own public URL (Keycloak's hostname and proxy settings).`;
    return { answer, findings: [identity, refused] };
  }
}

async function noDocument(
  url: string,
  answer: Answer,
  upstream: IdentityProviderSettings,
  timeoutMs: number,
): Promise<Finding> {
  const { setup } = profileOf(upstream);
  if (answer.silence !== undefined)
    return found`✗ The identity provider cannot be reached: ${answer.silence.says}
      → ${answer.silence.fix} It is named by ${setup.settings.issuer}.`;
  const what = answer.document ? "it answers a document that names no issuer" : describeOther(answer);
  if (answer.status >= 500 || answer.status === 429)
    return found`✗ The identity provider is not well: ${what} at ${url}
      → Look at the provider's own status and log, and run the doctor again when it is well.`;
  const there = await issuerAt(answer.headers.get("location") ?? "", url, timeoutMs);
  const fix =
    there === undefined
      ? setup.issuerRemedy(upstream.issuer)
      : `Redirections are not followed. If that is your provider: set OIDC_ISSUER=${there}`;
  return found`✗ There is no discovery document at ${url}: ${what}
    → ${fix}`;
}

async function issuerAt(location: string, from: string, timeoutMs: number): Promise<string | undefined> {
  if (location === "" || !URL.canParse(location, from)) return undefined;
  const { href, protocol } = new URL(location, from);
  const issuer = /^https?:$/.test(protocol) && (await ask(href, { timeoutMs })).document?.issuer;
  return typeof issuer === "string" && URL.canParse(issuer) ? issuer : undefined;
}

/** What the server refuses is a failure; one that it takes is better written byte for byte as the provider does. */
export function checkIssuer(upstream: Required<NamedProvider>, theirs: string): Finding {
  const found = checkOf("provider.issuer");
  const { issuer } = upstream;
  if (theirs === issuer) return found`✓ Its issuer is byte for byte what the settings say`;
  const { issuerSetting } = profileOf(upstream).setup;
  const differ = `Its issuer is ${theirs}, and the settings say ${issuer}`;
  const fix = theirs.includes("{") ? TENANT_ISSUER_REMEDY : `Set ${issuerSetting(theirs)}`;
  const problem = issuerProblem(issuer, theirs);
  if (problem !== undefined)
    return found`✗ ${differ}: ${problem}
      → ${fix}`;
  return found`! ${differ}. Both lead to the same provider, so sign-ins work
    → ${fix}`;
}

/** What sign-ins rely on. RFC 8414 §2 says what it means if a list is missing. */
export function checkCapabilities(metadata: ProviderMetadata): Finding[] {
  const { response_types_supported: types, grant_types_supported: grants } = metadata;
  const pkce = metadata.code_challenge_methods_supported;
  const [codeFlow, s256] = [checkOf("provider.code_flow"), checkOf("provider.pkce")];
  const has = (list: unknown, value: string) => Array.isArray(list) && list.includes(value);
  return [
    has(types, "code") && (!Array.isArray(grants) || has(grants, "authorization_code"))
      ? codeFlow`✓ It offers the authorization code flow`
      : codeFlow`✗ It does not offer the authorization code flow (response_types_supported, grant_types_supported)
          → Switch it on at the provider, or use a provider, or a tenant of it, that offers it.`,
    has(pkce, "S256")
      ? s256`✓ It offers PKCE with S256 (code_challenge_methods_supported)`
      : s256`${pkce === undefined ? "?" : "!"} It does not say in code_challenge_methods_supported that it offers PKCE with S256
          → Nothing to do if sign-ins work (Entra ID keeps silent and supports it). Otherwise switch on PKCE with S256 there.`,
  ];
}

/** Scopes that nobody is asked for, so that nobody is given them: decided as a sign-in does. */
export function checkScopes(
  { upstream, toolScopes }: Asked,
  metadata: ProviderMetadata,
): Finding | undefined {
  const found = checkOf("provider.scopes");
  const unasked = unaskedScopes(upstream, metadata, toolScopes);
  if (unasked.length === 0) return undefined;
  return found`! It does not list these scopes of the tools, and OIDC_SCOPES does not name them: ${unasked.join(" ")}. No sign-in asks for them
    → Add them to the API or the application at the provider; if it knows them without listing them, name them in OIDC_SCOPES; or say with SCOPES_FROM where scopes come from.`;
}
