/**
 * Would a sign-in reach our callback? The server's own sign-in request is made with `prompt=none` (OpenID Connect Core
 * §3.1.2.1): there is no user, so the provider has to send the browser back with an error, and it does so only to a
 * redirect URI that it knows. The error says what else is wrong: the audience, a scope, the application.
 */
import { ask } from "./ask.ts";
import { type Finding, failure, ok, unknown } from "./finding.ts";

export interface SignInOptions {
  /** The server's own sign-in request. */
  signInUrl: URL;
  callbackUrl: string;
  clientId: string;
  audience: string | undefined;
  isAuth0: boolean;
  timeoutMs: number;
  randomBytes(size: number): Buffer;
}

/** Where a request without a user ended. */
export type Outcome =
  | { kind: "callback"; error: string; description: string }
  | { kind: "page"; status: number; text: string }
  | { kind: "no_answer"; says: string; fix: string };

const REDIRECT_URI = "provider.redirect_uri";
const AUDIENCE = "provider.audience";
const MAX_HOPS = 5;

export async function checkSignIn(options: SignInOptions): Promise<Finding[]> {
  const { signInUrl, audience } = options;
  const outcome = await send(withPrompt(signInUrl, "none"), options);
  const findings = judgeSignIn(outcome, options);
  if (outcome.kind === "page" && findings.length === 0) {
    // Some providers refuse prompt=none itself: what would a browser be answered?
    const plain = await send(signInUrl, options);
    return judgePage(plain, options);
  }
  if (audience === undefined || outcome.kind !== "callback" || !IS_WAITING.has(outcome.error))
    return findings;
  const other = new URL(signInUrl);
  other.searchParams.set("audience", `https://${options.randomBytes(8).toString("hex")}.invalid/`);
  return [...findings, judgeAudience(await send(withPrompt(other, "none"), options), audience)];
}

function withPrompt(url: URL, prompt: string): URL {
  const changed = new URL(url);
  changed.searchParams.set("prompt", prompt);
  return changed;
}

/** Follows the provider's own redirections; ours is not called, only recognized. */
async function send(url: URL, { callbackUrl, timeoutMs }: SignInOptions): Promise<Outcome> {
  let next = url;
  let trail = "";
  for (let hop = 0; hop < MAX_HOPS; hop++) {
    const asked = await ask(next.href, { timeoutMs, headers: { accept: "text/html" } });
    if ("none" in asked) return { ...asked.none, kind: "no_answer" };
    const { status, headers, text } = asked.answer;
    const location = headers.get("location");
    if (status < 300 || status >= 400 || location === null || !URL.canParse(location, next.href))
      return { kind: "page", status, text: `${trail} ${text}` };
    next = new URL(location, next);
    if (isCallback(next, callbackUrl))
      return {
        kind: "callback",
        error: next.searchParams.get("error") ?? "",
        description: next.searchParams.get("error_description") ?? "",
      };
    trail += ` ${next.pathname} ${readable(next.searchParams)}`;
  }
  return { kind: "page", status: 302, text: trail };
}

function isCallback({ origin, pathname }: URL, callbackUrl: string): boolean {
  return origin + pathname === callbackUrl;
}

/** Google puts what is wrong into a parameter, in base64. */
function readable(parameters: URLSearchParams): string {
  const encoded = parameters.get("authError") ?? "";
  return `${parameters.get("error") ?? ""} ${Buffer.from(encoded, "base64").toString("latin1")}`;
}

// What a provider says that would now show its login page.
const IS_WAITING = new Set([
  "login_required",
  "interaction_required",
  "consent_required",
  "account_selection_required",
]);

/** Pure. No finding for a page that says nothing of what is wrong. */
export function judgeSignIn(outcome: Outcome, options: Omit<SignInOptions, "signInUrl">): Finding[] {
  const { callbackUrl, clientId } = options;
  if (outcome.kind === "no_answer")
    return [
      unknown(
        REDIRECT_URI,
        `Could not tell whether the callback URL is registered: ${outcome.says}`,
        outcome.fix,
      ),
    ];
  if (outcome.kind === "callback") return judgeCallback(outcome, options);
  // An outage says nothing of our request, whatever words its page has.
  if (outcome.status >= 500 || outcome.status === 429) return [];
  const refused = outcome.status >= 400;
  if (CALLBACK_MISMATCH.test(outcome.text) || (refused && /redirect[_ ]?ur[il]|callback/i.test(outcome.text)))
    return [
      failure(
        REDIRECT_URI,
        "The callback URL is not registered at the provider",
        `${options.isAuth0 ? "Auth0: the application's Settings → Allowed Callback URLs" : "Register this redirect URI at the provider"}: ${callbackUrl}`,
      ),
    ];
  if (UNKNOWN_CLIENT.test(outcome.text))
    return [
      failure(
        REDIRECT_URI,
        `The provider does not know the client id ${clientId}`,
        `Copy the client id from the application at the provider into ${options.isAuth0 ? "AUTH0_CLIENT_ID" : "OIDC_CLIENT_ID"}; check that it is in this tenant or realm.`,
      ),
    ];
  return [];
}

const CALLBACK_MISMATCH = /redirect_uri_mismatch|invalid_redirect_uri|AADSTS50011|callback url mismatch/i;
const UNKNOWN_CLIENT =
  /unknown client|client not found|client was not found|AADSTS700016|client is invalid|invalid_client|client_id.{0,40}(invalid|unknown)/i;

function judgeCallback(
  { error, description }: Extract<Outcome, { kind: "callback" }>,
  { isAuth0, audience }: Omit<SignInOptions, "signInUrl">,
): Finding[] {
  const registered = ok(REDIRECT_URI, "The callback URL is registered at the provider");
  const said = description === "" ? error : `${error}: ${description.slice(0, 200)}`;
  if (IS_WAITING.has(error)) return [registered];
  if (/service not found/i.test(description) || error === "invalid_target")
    return [
      registered,
      failure(
        AUDIENCE,
        `The provider knows no API ${audience ?? ""} (${error})`,
        isAuth0
          ? "Auth0: copy the Identifier of Applications → APIs → your API into AUTH0_AUDIENCE, letter by letter."
          : "Set OIDC_AUDIENCE to the identifier of the API at the provider, letter by letter.",
      ),
    ];
  if (error === "invalid_scope")
    return [
      registered,
      failure(
        "provider.sign_in",
        `The provider refuses the scopes of a sign-in (${said})`,
        "Add the scopes at the provider, or name in OIDC_SCOPES what it knows; SCOPES_FROM says where the tools' scopes come from.",
      ),
    ];
  if (error === "server_error" || error === "temporarily_unavailable" || error === "")
    return [
      registered,
      unknown(
        "provider.sign_in",
        `Could not tell whether sign-ins work: the provider answers ${said || "without an error"}`,
        "Run the doctor again in a minute, and look at the provider's log.",
      ),
    ];
  return [
    registered,
    failure(
      "provider.sign_in",
      `The provider refuses this server's sign-ins (${said})`,
      error === "unauthorized_client" || error === "unsupported_response_type"
        ? "Allow the application the authorization code grant at the provider (it has to be a web application, not a service)."
        : "The provider's own log says more about this refusal; correct what it names.",
    ),
  ];
}

/** Pure. What a browser would be shown, where the provider's answer without a user said nothing. */
export function judgePage(outcome: Outcome, options: Omit<SignInOptions, "signInUrl">): Finding[] {
  const findings = judgeSignIn(outcome, options);
  if (findings.length > 0 || outcome.kind !== "page") return findings;
  const title = /<title[^>]*>([^<]{1,80})/i.exec(outcome.text)?.[1]?.trim();
  const page = `HTTP ${outcome.status}${title === undefined ? "" : `, "${title}"`}`;
  if (outcome.status >= 400 && outcome.status < 500 && outcome.status !== 429)
    return [
      failure(
        "provider.sign_in",
        `The provider answers this server's sign-in with an error page (${page})`,
        `Check that the client id is right and ${options.callbackUrl} is registered there; its own log says what it refused.`,
      ),
    ];
  return [
    unknown(
      REDIRECT_URI,
      `Could not tell whether the callback URL is registered: without a user the provider answers with a page (${page})`,
      `Make sure that exactly this redirect URI is registered there: ${options.callbackUrl}`,
    ),
  ];
}

/** Pure. `madeUp`: how the same request was answered for an API that certainly does not exist. */
export function judgeAudience(madeUp: Outcome, audience: string): Finding {
  if (madeUp.kind === "callback" && !IS_WAITING.has(madeUp.error) && madeUp.error !== "server_error")
    return ok(AUDIENCE, `The provider knows the audience ${audience} (and refuses one that does not exist)`);
  if (madeUp.kind === "page" && madeUp.status >= 400 && madeUp.status < 500 && madeUp.status !== 429)
    return ok(AUDIENCE, `The provider knows the audience ${audience} (and refuses one that does not exist)`);
  return unknown(
    AUDIENCE,
    `Could not tell whether the provider knows the audience ${audience}: before sign-in it answers a made-up one alike`,
    "Compare it with the API's identifier at the provider, letter by letter; a sign-in then shows it.",
  );
}
