/**
 * A login at an identity provider, whatever it is for: its binding to one browser and that provider, and how the provider's
 * redirect URI, GET /auth/callback or /auth/callback/<provider>, consumes it.
 */

import type { Endings, SignIn } from "../grants/endings.ts";
import type { GrantEnd } from "../grants/grants.ts";
import { UnacceptableAnswer, type UpstreamRefusal } from "../identity/identity-provider.ts";
import type { ConfiguredProvider, IdentityProviders } from "../identity/identity-providers.ts";
import {
  CodeSpentError,
  OAuthError,
  type OAuthErrorCode,
  type Said,
  UnavailableError,
} from "../oauth/errors.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { BrowserHash } from "./browser-binding.ts";
import type { AwaitingLogin, LoginBinding, Logins } from "./transaction.ts";

/** What a login sends to the provider and what it keeps, all of it new. */
/** What a new login needs. */
export interface StartOptions extends Pick<Runtime, "now" | "randomBytes"> {
  transactionSeconds: number;
}

export function startLogin(
  browser: BrowserHash,
  { settings: { id: provider } }: ConfiguredProvider,
  { transactionSeconds, now, randomBytes }: StartOptions,
): { state: string; binding: LoginBinding } {
  return {
    state: randomBytes(32).toString("base64url"),
    binding: {
      browser,
      provider,
      nonce: randomBytes(32).toString("base64url"),
      codeVerifier: randomBytes(32).toString("base64url"),
      expiresAt: now() + transactionSeconds,
    },
  };
}

/** Why the login must not create a grant: the access was ended after the login began. */
export function endedSince(
  { begun, expiresAt }: AwaitingLogin,
  signIn: SignIn,
  { endings, transactionSeconds }: { endings: Pick<Endings, "since">; transactionSeconds: number },
): Promise<GrantEnd | undefined> {
  return endings.since(begun ?? (expiresAt - transactionSeconds) * 1000, signIn);
}

interface Dependencies {
  logins: Logins;
  identityProviders: Pick<IdentityProviders, "get">;
  /** The provider whose redirect URI was requested. */
  answering: ConfiguredProvider;
  /** Whether the request comes from the browser that a hash was made for. */
  isSameBrowser: (hash: BrowserHash) => boolean;
}

/**
 * Consumes the login that `state` names.
 * @throws OAuthError if it is unknown, another browser's, or was begun with another identity provider
 */
export async function consumeLogin(
  state: string,
  { logins, identityProviders, answering, isSameBrowser, now }: Pick<Runtime, "now"> & Dependencies,
): Promise<AwaitingLogin> {
  // Checked before it is consumed: neither somebody else's browser nor another provider must be able to use it up.
  const accept = (found: AwaitingLogin) => {
    if (found.expiresAt <= now()) throw expired();
    if (!isSameBrowser(found.browser))
      throw new OAuthError(
        "access_denied",
        "This sign-in was started in another browser, or this browser refuses cookies. Start it again here.",
        { reason: "another_browser" },
      );
    // RFC 9700 §4.4.2: the answer of one provider must not be taken for another's (mix-up).
    if (identityProviders.get(found.provider) !== answering)
      throw new OAuthError(
        "access_denied",
        "This sign-in was started with another identity provider. Start it again in your application, or on the page where you began it.",
        { reason: "another_provider" },
      );
  };
  // Restored: a person who got a 503 because the store was out of reach can load the page again.
  const late = (taken: AwaitingLogin) => restore(state, taken, logins, now());
  const login = await logins.take(state, { accept, late });
  if (login === undefined) throw expired();
  return login;
}

/** After an outage of the provider the login is restored, and the page can be loaded again, unless the code is used up. */
export async function orRestore<T>(
  state: string,
  login: AwaitingLogin,
  { logins, now }: Pick<Runtime, "now"> & Pick<Dependencies, "logins">,
  finish: () => Promise<T>,
): Promise<T> {
  try {
    return await finish();
  } catch (error) {
    if (error instanceof UnavailableError && !(error instanceof CodeSpentError))
      await restore(state, login, logins, now());
    throw error;
  }
}

async function restore(state: string, login: AwaitingLogin, logins: Logins, now: number): Promise<void> {
  await logins.restore(state, login, Math.max(1, login.expiresAt - now));
}

/** What a provider's error means to whoever waits for the login; anything else is not theirs to act on. */
const MEANING = new Map<string, OAuthErrorCode>([
  ["access_denied", "access_denied"],
  ["account_selection_required", "access_denied"],
  ["consent_required", "access_denied"],
  ["interaction_required", "access_denied"],
  ["login_required", "access_denied"],
  ["temporarily_unavailable", "temporarily_unavailable"],
  // OpenID Connect Unmet Authentication Requirements, RFC 9470 §5.
  ["unmet_authentication_requirements", "unmet_authentication_requirements"],
]);

export function meaningOf({ code }: UpstreamRefusal): OAuthErrorCode {
  return MEANING.get(code) ?? "server_error";
}

/** What our own checks find wrong with the provider's answer, so that nobody takes it for the provider's words. */
const FOUND = new Map([
  ["invalid_response", "it does not belong to this sign-in, or is not what OpenID Connect asks for"],
  ["no_id_token", "it has no ID token"],
  ["foreign_tenant", "your account is of an organization that may not sign in here"],
  ["invalid_id_token", "its ID token is not valid for this sign-in"],
  ["invalid_access_token", "its access token is not valid for this server"],
]);

export function saidBy(refusal: UpstreamRefusal): Said {
  const { code, description } = refusal;
  // A provider may use the same code for something of its own.
  const found = refusal instanceof UnacceptableAnswer ? FOUND.get(code) : undefined;
  return { code: code.slice(0, MAX_CODE), description, found };
}

/** Real ones have some thirty characters. */
const MAX_CODE = 64;

function expired(): OAuthError {
  return new OAuthError(
    "invalid_request",
    "This sign-in is not under way any more: it was finished, or it took too long. Start it again in your application, or on the page where you began it.",
    { reason: "unknown_state" },
  );
}
