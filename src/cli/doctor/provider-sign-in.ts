/**
 * Would a sign-in reach our callback? The server's own sign-in request is made with `prompt=none` (OpenID Connect Core
 * §3.1.2.1): there is no user, so the provider has to send the browser back with an error, and it does so only to a
 * redirect URI that it knows. The error says what else is wrong: the audience, a scope, the application.
 */
import { createOidcProvider } from "../../identity/oidc/oidc.ts";
import { refusesAudience } from "../../identity/profiles/auth0.ts";
import { PROFILES } from "../../identity/profiles/profiles.ts";
import type { ProviderProfile } from "../../identity/profiles/provider-profile.ts";
import { ask, titleOf } from "./ask.ts";
import { checkOf, type Finding, type Found, type Trouble } from "./finding.ts";
import type { Judged } from "./provider-client.ts";
import type { Asked } from "./provider-discovery.ts";

/** Where a request without a user ended. */
export type Outcome =
  | { kind: "callback"; error: string; description: string }
  | { kind: "page"; status: number; text: string }
  | ({ kind: "silence" } & Trouble);

export interface SignInAnswers {
  outcome: Outcome;
  /** To the same for an API that certainly does not exist, where that can tell anything. */
  madeUpAudience?: Outcome;
}

const redirectUri = checkOf("provider.redirect_uri");
const audienceKnown = checkOf("provider.audience");
const signIn = checkOf("provider.sign_in");
const MAX_HOPS = 5;

export async function askForSignIn(asked: Asked & { callbackUrl: string }): Promise<SignInAnswers> {
  const { upstream, callbackUrl, toolScopes, timeoutMs, randomBytes } = asked;
  const random = () => randomBytes(32).toString("base64url");
  const request = { state: random(), nonce: random(), codeVerifier: random(), scopes: toolScopes };
  const signInUrl = await createOidcProvider(upstream, asked).authorizationUrl({
    redirectUri: callbackUrl,
    ...request,
  });
  const send = (changes: Record<string, string>) => {
    const url = new URL(signInUrl);
    for (const [name, value] of Object.entries(changes)) url.searchParams.set(name, value);
    return follow(url, callbackUrl, timeoutMs);
  };
  const outcome = await send({ prompt: "none" });
  const meaning = meaningOf(outcome);
  // Some providers refuse prompt=none itself: what would a browser be answered?
  if (meaning === "refused" || meaning === "page") return { outcome: await send({}) };
  if (upstream.audience === undefined || meaning !== "waiting") return { outcome };
  const audience = `https://${randomBytes(8).toString("hex")}.invalid/`;
  return { outcome, madeUpAudience: await send({ prompt: "none", audience }) };
}

/** Follows the provider's own redirections; ours is not called, only recognized. */
async function follow(url: URL, callbackUrl: string, timeoutMs: number): Promise<Outcome> {
  let next = url;
  let trail = "";
  for (let step = 0; step < MAX_HOPS; step++) {
    const answer = await ask(next.href, { timeoutMs, headers: { accept: "text/html" } });
    const { status, headers, text, silence } = answer;
    if (silence !== undefined) return { ...silence, kind: "silence" };
    const location = headers.get("location");
    if (status < 300 || status >= 400 || location === null || !URL.canParse(location, next.href))
      return { kind: "page", status, text: `${trail} ${text}` };
    next = new URL(location, next);
    const said = (name: string) => next.searchParams.get(name) ?? "";
    if (next.origin + next.pathname === callbackUrl)
      return { kind: "callback", error: said("error"), description: said("error_description") };
    // Whose page it is, its address need not show: what any provider writes there counts.
    const further = PROFILES.map(({ errorPages }) => errorPages?.ofAddress?.(next.searchParams) ?? "");
    trail += ` ${[said("error"), ...further].join(" ")}`;
  }
  return { kind: "page", status: 302, text: trail };
}

// What a provider says that would now show its login page.
const WAITING = ["login_required", "interaction_required", "consent_required", "account_selection_required"];

/** Error codes that stand on pages, because there is nowhere to send them: in the page, or in the address of it. */
const CODES = {
  callback: ["redirect_uri_mismatch", "invalid_redirect_uri"],
  client: ["invalid_client", "unauthorized_client"],
} as const;

/** Where it came back, `waiting` for a user or with an error; a `page` or silence says nothing; the rest are refusals, some with a reason. */
type Meaning = "waiting" | "error" | "silence" | "page" | "refused" | "unknown_callback" | "unknown_client";

function meaningOf(outcome: Outcome): Meaning {
  if (outcome.kind === "silence") return "silence";
  if (outcome.kind === "callback") return WAITING.includes(outcome.error) ? "waiting" : "error";
  const { status, text } = outcome;
  if (status >= 500) return "page"; // an outage, whatever words its page has
  // A login page has scripts in it, and those any word; what a provider's own codes are, is in none.
  const names = (kind: keyof typeof CODES) => {
    const own = PROFILES.flatMap(({ errorPages }) => errorPages?.codes?.[kind] ?? []);
    return [...own, ...(status < 300 ? [] : CODES[kind])].some((code) => text.includes(code));
  };
  if (names("callback")) return "unknown_callback";
  if (names("client")) return "unknown_client";
  return status >= 400 && status !== 429 ? "refused" : "page";
}

/** What the answer to a sign-in says of the client id: `refused` is perhaps for another reason. */
export function clientId(outcome: Outcome): "known" | "unknown" | "refused" | undefined {
  const meaning = meaningOf(outcome);
  if (meaning === "silence" || meaning === "page") return undefined;
  if (meaning === "unknown_client") return "unknown";
  return meaning === "waiting" || meaning === "error" ? "known" : "refused";
}

interface SignIn {
  callbackUrl: string;
  audience: string | undefined;
  profile: ProviderProfile;
}

/** Pure. Of a client that the token endpoint rejects, a page of error says the same once more. */
export function judgeSignIn(
  { outcome, madeUpAudience }: SignInAnswers,
  client: Judged["verdict"],
  { callbackUrl, audience = "", profile }: SignIn,
): Found {
  const { setup } = profile;
  if (outcome.kind === "callback")
    return [
      redirectUri`✓ The callback URL is registered at the provider`,
      madeUpAudience && judgeAudience(madeUpAudience, audience),
      meaningOf(outcome) === "error" ? judgeError(outcome, setup, audience) : undefined,
    ];
  if (outcome.kind === "silence")
    return redirectUri`? Could not tell whether the callback URL is registered: ${outcome.says}
      → ${outcome.fix}`;
  const title = titleOf(outcome.text);
  const page = `HTTP ${outcome.status}${title === undefined ? "" : `, "${title}"`}`;
  const meaning = meaningOf(outcome);
  if (meaning === "page")
    return redirectUri`? Could not tell whether the callback URL is registered: without a user the provider answers with a page (${page})
      → Make sure that exactly this redirect URI is registered there: ${callbackUrl}`;
  // RFC 6749 §4.1.2.1: for a known client, only a wrong redirect URI is reported on a page.
  if (meaning === "unknown_callback" || (meaning === "refused" && client === "accepted"))
    return redirectUri`✗ The callback URL is not registered at the provider (${page})
      → ${setup.redirectUriPlace}: ${callbackUrl}`;
  if (client === "rejected") return undefined;
  return signIn`✗ The provider answers this server's sign-in with an error page (${page})
    → Check that the client id is right and ${callbackUrl} is registered there; its own log says what it refused.`;
}

const CODE_GRANT =
  "Allow the application the authorization code grant at the provider (it has to be a web application, not a service).";
const REMEDIES: Readonly<Record<string, string>> = {
  invalid_scope:
    "Add the scopes at the provider, or name in OIDC_SCOPES what it knows; SCOPES_FROM says where the tools' scopes come from.",
  unauthorized_client: CODE_GRANT,
  unsupported_response_type: CODE_GRANT,
};

/** What the provider sent to our callback (OpenID Connect Core §3.1.2.6, RFC 6749 §4.1.2.1). */
function judgeError(
  { error, description }: Extract<Outcome, { kind: "callback" }>,
  { audienceRemedy }: ProviderProfile["setup"],
  audience: string,
): Finding {
  const said = description === "" ? error : `${error}: ${description.slice(0, 200)}`;
  if (error === "invalid_target" || refusesAudience(description))
    return audienceKnown`✗ The provider knows no API ${audience} (${error})
      → ${audienceRemedy}`;
  if (["server_error", "temporarily_unavailable", ""].includes(error))
    return signIn`? Could not tell whether sign-ins work: the provider answers ${said || "without an error"}
      → Run the doctor again in a minute, and look at the provider's log.`;
  return signIn`✗ The provider refuses this server's sign-ins (${said})
    → ${REMEDIES[error] ?? "The provider's own log says more about this refusal; correct what it names."}`;
}

/** Known only if one that does not exist is refused. */
function judgeAudience(madeUp: Outcome, audience: string): Finding {
  const isOutage = madeUp.kind === "callback" && madeUp.error === "server_error";
  if (!isOutage && !["waiting", "silence", "page"].includes(meaningOf(madeUp)))
    return audienceKnown`✓ The provider knows the audience ${audience} (and refuses one that does not exist)`;
  return audienceKnown`? Could not tell whether the provider knows the audience ${audience}: before sign-in it answers a made-up one alike
    → Compare it with the API's identifier at the provider, letter by letter; a sign-in then shows it.`;
}
