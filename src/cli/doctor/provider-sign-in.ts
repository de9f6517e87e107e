/**
 * Would a sign-in reach our callback? The server's own sign-in request is made with `prompt=none` (OpenID Connect Core
 * §3.1.2.1): there is no user, so the provider has to send the browser back with an error, and it does so only to a
 * redirect URI that it knows. The error says what else is wrong: the audience, a scope, the application.
 */
import { refusesAudience } from "../../identity/profiles/auth0.ts";
import { PROFILES } from "../../identity/profiles/profiles.ts";
import type { ProviderProfile } from "../../identity/profiles/provider-profile.ts";
import { ask, titleOf } from "./ask.ts";
import { checkOf, type Finding, type Found } from "./finding.ts";
import type { Verdict } from "./provider-client.ts";

export interface SignInOptions {
  /** The server's own sign-in request. */
  signInUrl: URL;
  callbackUrl: string;
  audience: string | undefined;
  profile: ProviderProfile;
  timeoutMs: number;
  randomBytes(size: number): Buffer;
}

/** Where a request without a user ended. */
export type Outcome =
  | { kind: "callback"; error: string; description: string }
  | { kind: "page"; status: number; text: string }
  | { kind: "no_answer"; says: string; fix: string };

export interface SignInAnswers {
  outcome: Outcome;
  /** To the same for an API that certainly does not exist, where that can tell anything. */
  madeUpAudience?: Outcome;
}

const redirectUri = checkOf("provider.redirect_uri");
const audienceKnown = checkOf("provider.audience");
const signIn = checkOf("provider.sign_in");
const MAX_HOPS = 5;

export async function askForSignIn(options: SignInOptions): Promise<SignInAnswers> {
  const { signInUrl, audience, randomBytes } = options;
  const outcome = await send(withParameter(signInUrl, "prompt", "none"), options);
  // Some providers refuse prompt=none itself: what would a browser be answered?
  if (outcome.kind === "page" && !namesCode(outcome)) return { outcome: await send(signInUrl, options) };
  if (audience === undefined || !isWaiting(outcome)) return { outcome };
  const other = withParameter(signInUrl, "audience", `https://${randomBytes(8).toString("hex")}.invalid/`);
  return { outcome, madeUpAudience: await send(withParameter(other, "prompt", "none"), options) };
}

function withParameter(url: URL, name: string, value: string): URL {
  const changed = new URL(url);
  changed.searchParams.set(name, value);
  return changed;
}

/** Follows the provider's own redirections; ours is not called, only recognized. */
async function send(url: URL, { callbackUrl, timeoutMs }: SignInOptions): Promise<Outcome> {
  let next = url;
  let trail = "";
  for (let step = 0; step < MAX_HOPS; step++) {
    const asked = await ask(next.href, { timeoutMs, headers: { accept: "text/html" } });
    if ("kind" in asked) return { ...asked, kind: "no_answer" };
    const { status, headers, text } = asked;
    const location = headers.get("location");
    if (status < 300 || status >= 400 || location === null || !URL.canParse(location, next.href))
      return { kind: "page", status, text: `${trail} ${text}` };
    next = new URL(location, next);
    const said = (name: string) => next.searchParams.get(name) ?? "";
    if (next.origin + next.pathname === callbackUrl)
      return { kind: "callback", error: said("error"), description: said("error_description") };
    trail += ` ${readable(next.searchParams)}`;
  }
  return { kind: "page", status: 302, text: trail };
}

/** Whose page it is, its address need not show: what any provider writes there counts. */
function readable(parameters: URLSearchParams): string {
  const further = PROFILES.map(({ errorPages }) => errorPages?.ofAddress?.(parameters) ?? "");
  return [parameters.get("error") ?? "", ...further].join(" ");
}

// What a provider says that would now show its login page.
const WAITING = ["login_required", "interaction_required", "consent_required", "account_selection_required"];

const isWaiting = (outcome: Outcome): boolean =>
  outcome.kind === "callback" && WAITING.includes(outcome.error);

/** Error codes that stand on pages, because there is nowhere to send them: in the page, or in the address of it. */
const CODES = {
  callback: ["redirect_uri_mismatch", "invalid_redirect_uri"],
  client: ["invalid_client", "unauthorized_client"],
} as const;

/** A login page has scripts in it, and those any word; what a provider's own codes are, is in none. */
function namesCode({ status, text }: Extract<Outcome, { kind: "page" }>): keyof typeof CODES | undefined {
  const isLogin = status < 300;
  const names = (kind: keyof typeof CODES) => {
    const own = PROFILES.flatMap(({ errorPages }) => errorPages?.codes?.[kind] ?? []);
    return [...own, ...(isLogin ? [] : CODES[kind])].some((code) => text.includes(code));
  };
  if (status >= 500) return undefined; // an outage, whatever words its page has
  return names("callback") ? "callback" : names("client") ? "client" : undefined;
}

/** An outage says nothing of our request. */
function isRefusalPage(outcome: Outcome): boolean {
  return outcome.kind === "page" && outcome.status >= 400 && outcome.status < 500 && outcome.status !== 429;
}

/** What the answer to a sign-in says of the client id: `known`, or `refused`, perhaps for another reason. */
export function clientId(outcome: Outcome): "known" | "unknown" | "refused" | undefined {
  if (outcome.kind === "callback") return "known";
  if (outcome.kind === "page" && namesCode(outcome) === "client") return "unknown";
  return isRefusalPage(outcome) ? "refused" : undefined;
}

/** Pure. Of a client that the token endpoint rejects, a page of error says the same once more. */
export function judgeSignIn(
  { outcome, madeUpAudience }: SignInAnswers,
  client: Verdict,
  options: Pick<SignInOptions, "callbackUrl" | "audience" | "profile">,
): Found {
  const { callbackUrl, profile, audience } = options;
  if (outcome.kind === "callback")
    return [
      redirectUri`✓ The callback URL is registered at the provider`,
      madeUpAudience && audience !== undefined ? judgeAudience(madeUpAudience, audience) : undefined,
      isWaiting(outcome) ? undefined : judgeError(outcome, profile, audience),
    ];
  if (outcome.kind === "no_answer")
    return redirectUri`? Could not tell whether the callback URL is registered: ${outcome.says}
      → ${outcome.fix}`;
  const title = titleOf(outcome.text);
  const page = `HTTP ${outcome.status}${title === undefined ? "" : `, "${title}"`}`;
  const code = namesCode(outcome);
  const isRefused = code !== undefined || isRefusalPage(outcome);
  if (code === "callback" || (isRefused && code === undefined && client === "accepted"))
    // RFC 6749 §4.1.2.1: for a known client, only a wrong redirect URI is reported on a page.
    return redirectUri`✗ The callback URL is not registered at the provider (${page})
      → ${profile.setup.redirectUriPlace}: ${callbackUrl}`;
  if (isRefused && client === "rejected") return undefined;
  if (isRefused)
    return signIn`✗ The provider answers this server's sign-in with an error page (${page})
      → Check that the client id is right and ${callbackUrl} is registered there; its own log says what it refused.`;
  return redirectUri`? Could not tell whether the callback URL is registered: without a user the provider answers with a page (${page})
    → Make sure that exactly this redirect URI is registered there: ${callbackUrl}`;
}

/** What the provider sent to our callback (OpenID Connect Core §3.1.2.6, RFC 6749 §4.1.2.1). */
function judgeError(
  { error, description }: Extract<Outcome, { kind: "callback" }>,
  { setup }: ProviderProfile,
  audience = "",
): Finding {
  const said = description === "" ? error : `${error}: ${description.slice(0, 200)}`;
  if (error === "invalid_target" || refusesAudience(description))
    return audienceKnown`✗ The provider knows no API ${audience} (${error})
      → ${setup.audienceRemedy}`;
  if (["server_error", "temporarily_unavailable", ""].includes(error))
    return signIn`? Could not tell whether sign-ins work: the provider answers ${said || "without an error"}
      → Run the doctor again in a minute, and look at the provider's log.`;
  const fix =
    REMEDIES[error] ?? "The provider's own log says more about this refusal; correct what it names.";
  return signIn`✗ The provider refuses this server's sign-ins (${said})
    → ${fix}`;
}

const CODE_GRANT =
  "Allow the application the authorization code grant at the provider (it has to be a web application, not a service).";
const REMEDIES: Readonly<Record<string, string>> = {
  invalid_scope:
    "Add the scopes at the provider, or name in OIDC_SCOPES what it knows; SCOPES_FROM says where the tools' scopes come from.",
  unauthorized_client: CODE_GRANT,
  unsupported_response_type: CODE_GRANT,
};

/** Known only if one that does not exist is refused. */
function judgeAudience(madeUp: Outcome, audience: string): Finding {
  const isRefused = madeUp.kind === "callback" && !isWaiting(madeUp) && madeUp.error !== "server_error";
  if (isRefused || isRefusalPage(madeUp))
    return audienceKnown`✓ The provider knows the audience ${audience} (and refuses one that does not exist)`;
  return audienceKnown`? Could not tell whether the provider knows the audience ${audience}: before sign-in it answers a made-up one alike
    → Compare it with the API's identifier at the provider, letter by letter; a sign-in then shows it.`;
}
