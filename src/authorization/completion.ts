/** Completes a client's login: the user is authenticated, a grant is made, a code is issued. */

import { principalFields, type Requester, type User } from "../access/principal.ts";
import type { Audit } from "../audit/audit.ts";
import type { Endings } from "../grants/endings.ts";
import { notGiven } from "../grants/grant.ts";
import type { GrantEnd, Grants } from "../grants/grants.ts";
import type { StepUps } from "../grants/step-ups.ts";
import { type UpstreamLogin, UpstreamRefusal } from "../identity/identity-provider.ts";
import type { ConfiguredProvider } from "../identity/identity-providers.ts";
import { refusesAudience } from "../identity/profiles/auth0.ts";
import { endedSince, meaningOf, orRestore, saidBy } from "../login/login.ts";
import type { ClientLogin, Logins } from "../login/transaction.ts";
import {
  AuthorizationError,
  causes,
  type ErrorDetail,
  LoginFailedError,
  NotAdmittedError,
  OAuthError,
  SignInStoppedError,
  UnavailableError,
} from "../oauth/errors.ts";
import { type RequiredAuthentication, shortfallOf } from "../oauth/required-authentication.ts";
import { missingScopes } from "../oauth/scope.ts";
import { type ProtectedResources, resourceOf } from "../resource/protected-resource.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { isConsentOf } from "./consent-decision.ts";
import type { RememberedConsent } from "./remembered-consent.ts";

export interface CompletionDependencies extends Pick<Runtime, "now" | "log"> {
  /** With whom the login was begun. */
  provider: ConfiguredProvider;
  logins: Logins;
  grants: Grants;
  endings: Endings;
  stepUps: StepUps;
  rememberedConsent: RememberedConsent;
  resources: ProtectedResources;
  audit: Audit;
  transactionSeconds: number;
}

/**
 * Where to send the browser: to the client with a code; back to the consent page because another user had consented; or to the
 * provider once more, for a sign-in that this client was challenged for and did not ask for.
 */
export type Completed = { code: string } | { askAgain: true } | { signInAgain: RequiredAuthentication };

/**
 * Finishes a client's login, which this callback has consumed.
 * @throws AuthorizationError if the provider refused; UnavailableError on an outage; unless it says otherwise, the same
 * callback may be tried again after it
 */
export async function finishAuthorization(
  parameters: URLSearchParams,
  state: string,
  login: ClientLogin,
  dependencies: CompletionDependencies,
): Promise<Completed> {
  const user = await signIn(parameters, state, login, dependencies);
  if (!isConsentOf(user, login)) {
    dependencies.log.info(
      { reason: "approved_by_another_user", subject: user.subject },
      "The user is asked for consent after all",
    );
    return { askAgain: true };
  }
  const requester = requesterOf(user, login);
  admit(requester, login, dependencies);
  checkAuthentication(user, requester, login, dependencies);
  return await openGrant(user, requester, login, dependencies);
}

async function signIn(
  parameters: URLSearchParams,
  state: string,
  login: ClientLogin,
  dependencies: CompletionDependencies,
): Promise<UpstreamLogin> {
  const { provider, resources, audit } = dependencies;
  const { nonce, codeVerifier, request } = login;
  const { clientId, scopes, resource: protectedResource } = request;
  const deciding = resourceOf(request.resource, resources).permissions.claimsAsked();
  const sent = { redirectUri: provider.callbackUrl, state, nonce, codeVerifier, scopes, deciding };
  try {
    return await orRestore(state, login, dependencies, () => provider.finishLogin(parameters, sent));
  } catch (error) {
    if (!(error instanceof UpstreamRefusal)) throw error;
    const { issuer } = provider.settings;
    const about = { issuer, clientId, protectedResource };
    audit({ event: "sign_in", decision: "deny", reason: "upstream_refused", ...about });
    throw refused(error, login);
  }
}

type SignedIn = Requester & { principal: User };

function requesterOf({ issuer, subject, claims }: UpstreamLogin, { request }: ClientLogin): SignedIn {
  const { clientId: id, clientName: name, redirectUri } = request;
  return {
    principal: { kind: "user", issuer, subject, claims },
    client: { id, ...(name !== undefined && { name }), redirectUri },
  };
}

/** For the log and the audit log. */
function whoSignsIn({ principal, client }: SignedIn, { request }: ClientLogin) {
  return { ...principalFields(principal), clientId: client.id, protectedResource: request.resource };
}

/** @throws NotAdmittedError */
function admit(requester: SignedIn, login: ClientLogin, dependencies: CompletionDependencies): void {
  const { permissions } = resourceOf(login.request.resource, dependencies.resources);
  const notAdmitted = permissions.checkAdmission(requester);
  if (notAdmitted === undefined) return;
  const { message, reason, rule } = notAdmitted;
  const who = whoSignsIn(requester, login);
  dependencies.audit({ event: "sign_in", decision: "deny", reason, ...who, rule: rule?.name });
  throw new NotAdmittedError("access_denied", message, login.request, { reason });
}

/**
 * Providers may ignore what they are asked for (OpenID Connect Core §3.1.2.1 makes `acr_values` voluntary). It counts from
 * when this sign-in began: a user who takes a while at the provider did sign in for it.
 * @throws LoginFailedError
 */
function checkAuthentication(
  user: UpstreamLogin,
  requester: SignedIn,
  login: ClientLogin,
  dependencies: CompletionDependencies,
): void {
  const { now, transactionSeconds, audit } = dependencies;
  const { authentication } = login.request;
  if (authentication === undefined) return;
  const at = login.expiresAt - transactionSeconds;
  const shortfall = shortfallOf(user, authentication, { now: now(), at });
  if (shortfall === undefined) return;
  const { reason, description, found } = SHORTFALLS[shortfall];
  audit({ event: "sign_in", decision: "deny", reason, ...whoSignsIn(requester, login) });
  const code = "unmet_authentication_requirements";
  throw new LoginFailedError(code, description, login.request, { reason, said: { code, found } });
}

/** Once: the next login asks for it, and {@link checkAuthentication} has the last word on that. */
async function unmetChallenge(
  user: UpstreamLogin,
  { request, expiresAt }: ClientLogin,
  { stepUps, now, transactionSeconds, log }: CompletionDependencies,
): Promise<RequiredAuthentication | undefined> {
  const { clientId, resource, authentication } = request;
  const noted = await stepUps.take(user, clientId, resource).catch((cause) => {
    // Then the tool asks once more: no reason to fail the sign-in.
    if (!(cause instanceof UnavailableError)) throw cause;
    log.warn({ reason: "step_up_not_read", cause: causes(cause) }, "Going on without");
  });
  if (!noted || authentication !== undefined) return undefined;
  const at = expiresAt - transactionSeconds;
  return shortfallOf(user, noted, { now: now(), at }) === undefined ? undefined : noted;
}

const SHORTFALLS = {
  too_old: {
    reason: "authentication_too_old",
    description: "The identity provider did not have the user sign in again, as was asked.",
    found: "the application asked for a fresh sign-in, and the answer does not show one",
  },
  too_weak: {
    reason: "authentication_too_weak",
    description: "The identity provider did not have the user sign in in the way that was asked.",
    found: "the application asked for a stronger way to sign in, and the answer does not show it",
  },
} as const;

/** With a code; or, if a tool wants another sign-in than this one, without a grant. */
async function openGrant(
  user: UpstreamLogin,
  requester: SignedIn,
  login: ClientLogin,
  dependencies: CompletionDependencies,
): Promise<Exclude<Completed, { askAgain: true }>> {
  const { grants, rememberedConsent, audit, log } = dependencies;
  const { request } = login;
  const { permissions, scopes: catalogue } = resourceOf(request.resource, dependencies.resources);
  const { issuer, subject } = user;
  // What was consented to and what the provider gives. The policy is applied at use, so that a withdrawn rule gives scopes back.
  const scopes = catalogue.limitTo(request.scopes, user.scopes);
  const { codeChallenge, resource } = request;
  const approved = { ...requester, codeChallenge, resource, scopes, allowed: request.scopes };
  const { clientId } = request;
  const who = whoSignsIn(requester, login);
  let challenged: RequiredAuthentication | undefined;
  // With the look for what was ended, and not before: nobody has the code yet, and hardly anybody was challenged.
  const unwanted = async () => {
    const [ended, unmet] = await Promise.all([
      endedSince(login, { ...user, clientId }, dependencies),
      unmetChallenge(user, login, dependencies),
    ]);
    challenged = unmet;
    return ended ?? (unmet && "signs_in_again");
  };
  const opened = await grants
    .open(approved, user, unwanted)
    .catch((cause) => spentButNotStored(cause, request));
  if ("ended" in opened) {
    if (opened.ended === "signs_in_again" && challenged !== undefined) return { signInAgain: challenged };
    audit({ event: "sign_in", decision: "deny", reason: "ended_meanwhile", ...who });
    throw accessEnded(opened.ended, request);
  }
  const { code, earlier } = opened;
  if (login.remember !== undefined) {
    const approvedAt = login.expiresAt - dependencies.transactionSeconds;
    const consented = { user: { issuer, subject }, granted: request.scopes, approvedAt };
    await rememberedConsent
      .remember(login.browser, { ...request, scopes: login.remember }, consented)
      // Without the record the user is only asked again next time: no reason to fail the sign-in.
      .catch((cause) => log.warn({ reason: "consent_not_stored", cause: causes(cause) }, "Not remembered"));
  }
  const lacking = notGiven(approved, catalogue);
  if (lacking.length > 0)
    log.info(
      { reason: "scopes_not_given", ...who, scopes: lacking },
      "The user approved these scopes, and the identity provider did not give them: the token's scope leaves them out",
    );
  const permitted = permissions.permitted(requester, scopes);
  audit({ event: "sign_in", decision: "allow", ...who, asked: request.scopes, scopes: permitted });
  const added = missingScopes(permitted, catalogue.expand(earlier.flatMap((grant) => grant.scopes)));
  if (earlier.length > 0 && added.length > 0)
    audit({ event: "elevation", decision: "allow", ...who, scopes: added });
  return { code };
}

/** The access was ended while the sign-in was under way. Nobody has the code. */
function accessEnded(reason: GrantEnd, request: ClientLogin["request"]): OAuthError {
  const again = "while this sign-in was under way. Start it again in your application.";
  const detail = { reason: "ended_meanwhile" } as const;
  // No browser is sent to the address of a client that is not registered any more.
  if (reason === "client_removed")
    return new OAuthError("invalid_client", `This application was removed here ${again}`, {
      ...detail,
      status: 400,
    });
  const what =
    reason === "backchannel_logout" ? "You signed out at the identity provider" : "Access was ended";
  return new AuthorizationError("access_denied", `${what} ${again}`, request, detail);
}

/** The provider's code is used up by now, so that loading the page again would not help. */
function spentButNotStored(cause: unknown, request: ClientLogin["request"]): never {
  if (!(cause instanceof UnavailableError)) throw cause;
  const { retryAfterSeconds, untilRepaired } = cause;
  const message = untilRepaired
    ? `The sign-in could not be stored. ${cause.message}`
    : "The sign-in could not be stored just now. Start it again in your application in a moment.";
  const detail: ErrorDetail = {
    reason: "grant_not_stored",
    cause,
    retryAfterSeconds,
    status: cause.status,
  };
  const code = untilRepaired ? "server_error" : cause.code;
  throw new SignInStoppedError(code, message, request, detail);
}

/**
 * A plain `access_denied` of the provider, because the user denied, is redirected to the client immediately. Anything else is
 * shown first to the person it happened to: "Please verify your email" is meant for them, and for nobody else.
 */
function refused(refusal: UpstreamRefusal, { request }: ClientLogin): AuthorizationError {
  const code = meaningOf(refusal);
  const detail: ErrorDetail = { reason: "upstream_refused", cause: refusal };
  const isUsers = code === "access_denied" && !refusesAudience(refusal.description);
  const description = isUsers
    ? "The identity provider did not sign the user in."
    : "Signing in at the identity provider failed. This server's log says why.";
  if (isUsers && refusal.description === undefined)
    return new AuthorizationError(code, description, request, detail);
  return new LoginFailedError(code, description, request, {
    ...detail,
    said: saidBy(refusal),
    ...(code === "server_error" && { status: 400 }), // foreseeable, and not ours to repair
  });
}
