/**
 * The consent page, and what happens when it is answered. Every client can register itself here, and the identity
 * provider knows only us: without this page a stranger's client could use the user's login (confused deputy).
 */
import { html } from "hono/html";
import type { IdentityProviders } from "../identity/identity-providers.ts";
import { type StartOptions, startLogin } from "../login/login.ts";
import type { AwaitingConsent, Consented, Logins } from "../login/transaction.ts";
import type { Client } from "../oauth/client-metadata.ts";
import { AuthorizationError, OAuthError } from "../oauth/errors.ts";
import { destination, isThisComputer } from "../oauth/redirect-uri.ts";
import { missingScopes } from "../oauth/scope.ts";
import type { DeclaredScope, ScopeCatalogue } from "../oauth/scope-catalogue.ts";
import type { Html } from "../pages/shell.ts";

export interface ConsentPage {
  client: Client;
  transaction: AwaitingConsent;
  /** The transaction, sealed. */
  form: string;
  action: string;
  serverName: string;
  identityProviderName: string;
  /** Where another one can be chosen, if there is one. */
  anotherProvider: string | undefined;
  scopes: readonly DeclaredScope[];
  /** Offers not to be asked again. */
  canRemember: boolean;
}

export function consentPage(page: ConsentPage): Html {
  const { client, transaction, form, action, serverName, scopes, canRemember } = page;
  const { identityProviderName, anotherProvider } = page;
  const { redirectUri } = transaction.request;
  return html`
<p><strong>${client.client_name ?? "An application without a name"}</strong> wants to use <strong>${serverName}</strong> in your name.</p>
<p class="soft">${provenance(client)}</p>
<h2>Afterwards you are sent to</h2>
<p class="address">${destination(redirectUri)}</p>
${
  isThisComputer(redirectUri)
    ? html`<p class="warn">This address is on your own computer. Go on only if you started the sign-in yourself just now.</p>`
    : ""
}
<form method="post" action="${action}">
<input type="hidden" name="request" value="${form}">
<fieldset>
<legend>It may</legend>
<label class="scope"><input type="checkbox" checked disabled> <span>Know who you are</span></label>
${scopes.map(scopeChoice)}
</fieldset>
${canRemember ? html`<label class="scope remember"><input type="checkbox" name="remember" value="yes"> <span>Do not ask again on this browser</span></label>` : ""}
<p class="soft">You sign in at <strong>${identityProviderName}</strong>. It learns that you use ${serverName}, not what you do with it.${
    anotherProvider === undefined
      ? ""
      : html` <a href="${anotherProvider}">Sign in with another identity provider</a>`
  }</p>
<div class="buttons">
<button name="decision" value="deny">Deny</button>
<button class="main" name="decision" value="approve">Approve</button>
</div>
</form>`;
}

function provenance(client: Client): Html | string {
  switch (client.provenance) {
    case "configured":
      return "The operator of this server registered it.";
    case "document":
      return html`The web site <strong>${new URL(client.client_id).host}</strong> vouches for this name.`;
    case "registered":
      return "It registered itself under this name; nobody verified it.";
  }
}

/** A disabled box is not sent by browsers; what is required is added when the answer comes. */
function scopeChoice({ name, description, required, includes }: DeclaredScope): Html {
  return html`<label class="scope"><input type="checkbox" name="scope" value="${name}" checked ${
    required ? "disabled" : ""
  }> <span>${description} <code class="soft">${name}</code>${
    includes.length > 0 ? html` <span class="soft">with ${includes.join(", ")}</span>` : ""
  }</span></label>`;
}

/** What the user left ticked, and what cannot be unticked. Unticking an implied scope also removes the scope that implies it. */
export function withConsentedScopes(
  transaction: AwaitingConsent,
  ticked: readonly string[],
  catalogue: ScopeCatalogue,
): AwaitingConsent {
  const { request } = transaction;
  const required = catalogue.pick(request.scopes).filter((scope) => scope.required);
  const allowed = [...ticked, ...catalogue.expand(required.map(({ name }) => name))];
  const unticked = missingScopes(request.scopes, allowed);
  // With a whole go its parts, except those that something ticked has as well.
  const refused = [...unticked, ...missingScopes(catalogue.expand(unticked), catalogue.expand(allowed))];
  return { ...transaction, request: { ...request, scopes: catalogue.exclude(request.scopes, refused) } };
}

/** The user denied: the client gets `access_denied` (RFC 6749 §4.1.2.1). */
export function denied({ request }: AwaitingConsent): AuthorizationError {
  return new AuthorizationError("access_denied", "The user did not approve the request.", request, {
    reason: "user_denied",
  });
}

interface Dependencies extends StartOptions {
  identityProviders: Pick<IdentityProviders, "get">;
  logins: Logins;
}

/**
 * The user consented: from here on the flow is a stored login, bound to this browser, and the browser goes to the provider.
 * @param from the address that asks
 * @throws UnavailableError if the provider cannot be reached; TooManyRequestsError. The form can be sent again
 * @throws OAuthError if the provider that the page named is not configured any more
 */
export async function approve(
  { request, browser, provider: named }: AwaitingConsent,
  approval: Consented,
  from: string,
  dependencies: Dependencies,
): Promise<URL> {
  const { identityProviders, logins, transactionSeconds } = dependencies;
  const provider = identityProviders.get(named);
  if (provider === undefined) throw tooOld();
  const { state, binding } = startLogin(browser, provider, dependencies);
  const { nonce, codeVerifier } = binding;
  // Before the provider is asked: what is pushed to it (RFC 9126) is a request that anybody can cause, and is counted here.
  await logins.open(state, { step: "login", request, ...approval, ...binding }, transactionSeconds, from);
  return await provider.authorizationUrl({
    redirectUri: provider.callbackUrl,
    state,
    nonce,
    codeVerifier,
    scopes: request.scopes,
    authentication: request.authentication,
  });
}

/** The answer to a consent page that cannot be used any more. */
export function tooOld(): OAuthError {
  return new OAuthError(
    "invalid_request",
    "This page is too old. Start the sign-in again in your application.",
    { reason: "consent_form_expired" },
  );
}
