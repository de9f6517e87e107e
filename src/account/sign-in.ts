/**
 * Signing in at the identity provider to see one's own connections. Tied to the browser as a client's login is; asks for
 * the person alone, and keeps no token.
 */
import type { Audit } from "../audit/audit.ts";
import type { Endings } from "../grants/endings.ts";
import { type Identity, type IdentityProvider, UpstreamRefusal } from "../identity/identity-provider.ts";
import type { BrowserHash } from "../login/browser-binding.ts";
import { begin, meaningOf, orPutBack, saidBy } from "../login/login.ts";
import type { ConnectionsLogin, Logins } from "../login/transaction.ts";
import { SignInFailedError } from "../oauth/errors.ts";
import type { Surroundings } from "../runtime/runtime.ts";

interface Rooms {
  identityProvider: IdentityProvider;
  logins: Logins;
  endings: Pick<Endings, "latest">;
  callbackUrl: string;
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
  rooms: Surroundings & Rooms & { transactionSeconds: number },
): Promise<URL> {
  const { identityProvider, logins, callbackUrl, transactionSeconds } = rooms;
  const { state, bonds } = await begin(browser, rooms);
  const { nonce, codeVerifier } = bonds;
  const request = { redirectUri: callbackUrl, state, nonce, codeVerifier };
  const url = await identityProvider.identificationUrl(request, another);
  await logins.open(state, { step: "connections", ...bonds }, transactionSeconds, from);
  return url;
}

/**
 * Who it is. The operator's policy is not asked: whom it turns away may still see and end what they allowed before.
 * @throws SignInFailedError if the provider refused; UnavailableError on an outage, after which the same callback works
 */
export async function finishSignIn(
  parameters: URLSearchParams,
  state: string,
  login: ConnectionsLogin,
  rooms: Surroundings & Pick<Rooms, "identityProvider" | "logins" | "callbackUrl"> & { audit: Audit },
): Promise<Identity> {
  const { identityProvider, callbackUrl, audit } = rooms;
  const { nonce, codeVerifier } = login;
  const request = { redirectUri: callbackUrl, state, nonce, codeVerifier };
  try {
    return await orPutBack(state, login, rooms, () => identityProvider.identify(parameters, request));
  } catch (cause) {
    if (!(cause instanceof UpstreamRefusal)) throw cause;
    audit({ event: "connections_sign_in", decision: "deny", reason: "upstream_refused" });
    const code = meaningOf(cause);
    throw new SignInFailedError(code, "The identity provider did not sign you in.", {
      reason: "upstream_refused",
      cause,
      said: saidBy(cause),
      ...(code === "server_error" && { status: 400 }), // foreseeable, and not ours to repair
    });
  }
}
