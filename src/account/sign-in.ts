/**
 * Signing in at the identity provider for /connections. Bound to the browser as a client's login is; asks only who the
 * person is, and keeps no token.
 */
import type { Audit } from "../audit/audit.ts";
import { type Identity, UpstreamRefusal } from "../identity/identity-provider.ts";
import type { ConfiguredProvider } from "../identity/identity-providers.ts";
import type { BrowserHash } from "../login/browser-binding.ts";
import { meaningOf, orRestore, type StartOptions, saidBy, startLogin } from "../login/login.ts";
import type { ConnectionsLogin, Logins } from "../login/transaction.ts";
import { SignInFailedError } from "../oauth/errors.ts";
import type { Runtime } from "../runtime/runtime.ts";

interface Dependencies {
  /** With whom they sign in. */
  provider: ConfiguredProvider;
  logins: Logins;
}

/**
 * @param another whoever is signed in at the provider is asked who they want to be
 * @param from the address that asks
 * @returns where to send the browser
 * @throws UnavailableError if the provider cannot be reached; TooManyRequestsError
 */
export async function beginSignIn(
  browser: BrowserHash,
  another: boolean,
  from: string,
  dependencies: StartOptions & Dependencies,
): Promise<URL> {
  const { provider, logins, transactionSeconds } = dependencies;
  const { state, binding } = startLogin(browser, provider, dependencies);
  const { nonce, codeVerifier } = binding;
  const request = { redirectUri: provider.callbackUrl, state, nonce, codeVerifier };
  // Before the provider is asked, as in authorization/consent.ts.
  await logins.open(state, { step: "connections", ...binding }, transactionSeconds, from);
  return await provider.identificationUrl(request, another);
}

/**
 * Who it is. The operator's policy is not asked: whom it turns away may still see and end what they allowed before.
 * @throws SignInFailedError if the provider refused; UnavailableError on an outage, after which the same callback works
 */
export async function finishSignIn(
  parameters: URLSearchParams,
  state: string,
  login: ConnectionsLogin,
  dependencies: Pick<Runtime, "now"> & Dependencies & { audit: Audit },
): Promise<Identity> {
  const { provider, audit } = dependencies;
  const { nonce, codeVerifier } = login;
  const request = { redirectUri: provider.callbackUrl, state, nonce, codeVerifier };
  try {
    return await orRestore(state, login, dependencies, () => provider.identify(parameters, request));
  } catch (cause) {
    if (!(cause instanceof UpstreamRefusal)) throw cause;
    const { issuer } = provider.settings;
    audit({ event: "connections_sign_in", decision: "deny", reason: "upstream_refused", issuer });
    const code = meaningOf(cause);
    throw new SignInFailedError(code, "The identity provider did not sign you in.", {
      reason: "upstream_refused",
      cause,
      said: saidBy(cause),
      ...(code === "server_error" && { status: 400 }), // foreseeable, and not ours to repair
    });
  }
}
