/**
 * The page that an error is shown as: which error it is, what that means to whoever sees it, what they can do now, and what
 * to tell the operator. The error's own message is for programs and for who writes them; it stands among the details.
 */
import { html } from "hono/html";
import {
  CodeSpentError,
  LoginFailedError,
  NotAdmittedError,
  type OAuthError,
  type Said,
  ShownAuthorizationError,
  SignInFailedError,
  UntrustedRedirectError,
} from "../oauth/errors.ts";
import type { ReasonCode } from "../oauth/reason-codes.ts";
import { waitingTime } from "../runtime/time-in-words.ts";
import type { Html } from "./shell.ts";

export interface ErrorPageOptions {
  requestId: string;
  baseUrl: string;
  /** The page about this server; undefined where it is switched off. */
  homeUrl: string | undefined;
  /** True if the browser can ask for the same page again: it sent no form. */
  canReload: boolean;
  back: WayBack | undefined;
  /** Where the same sign-in begins with a choice of the identity provider; undefined where there is none. */
  elsewhere?: string | undefined;
  /** Where the same sign-in begins anew; undefined where there is no such place. */
  anew?: string | undefined;
}

/** The way back to the application, with the answer that it waits for; undefined if there is no safe one. */
export interface WayBack {
  href: string;
  where: string;
  /** After which the page takes it by itself; undefined: only a click does. */
  seconds?: number;
}

interface Explanation {
  title: string;
  /** What happened, and what to do, for people. Undefined where the error's own message is written for them. */
  text?: string;
  /** The button below. The way back to the application, where there is one, takes its place. */
  leadsTo: "home" | "connections" | "the same page";
}

export function errorPage(error: OAuthError, options: ErrorPageOptions): { title: string; body: Html } {
  const { title, text = error.message, leadsTo } = explanationOf(error);
  const { back } = options;
  return {
    title,
    body: html`<p>${text}</p>
${particulars(error, options)}
${options.elsewhere === undefined ? "" : html`<p><a href="${options.elsewhere}">Sign in with another identity provider</a></p>`}
${back?.seconds === undefined ? "" : html`<p class="soft">Your application does not know yet. In ${back.seconds} seconds this page takes you back to it.</p>`}
${wayOn(leadsTo, options, error)}
${details(error, options, text)}`,
  };
}

/** What only this kind of error has to say. */
function particulars(error: OAuthError, { baseUrl, back }: ErrorPageOptions): Html | string {
  if (error instanceof LoginFailedError || error instanceof SignInFailedError)
    return html`<p>${whoRefused(error.said)}</p>
<p class="warn"><code>${error.said.code}</code> ${error.said.description ?? ""}</p>
<p>If this does not help you, ask the operator of this server.</p>`;
  if (error instanceof NotAdmittedError)
    return html`<p>To use another account, <a href="${baseUrl}/logout">sign out</a> first and start again in your application.</p>`;
  if (error instanceof UntrustedRedirectError)
    return html`<p>An application sent you here, and nobody has verified which. If you did not start a sign-in just now, close this page.</p>
<p>If you did, go back: then your application knows what is wrong. The button leads to</p>
<p class="address">${back?.where ?? ""}</p>`;
  return "";
}

function whoRefused({ found }: Said): string {
  return found === undefined
    ? "The identity provider said:"
    : `This server did not accept the identity provider's answer: ${found}. To sign in once more may help.`;
}

/** There is always something to do; where no button can do it, the text says what. */
function wayOn(
  leadsTo: Explanation["leadsTo"],
  { baseUrl, homeUrl, canReload, back, anew }: ErrorPageOptions,
  error: OAuthError,
): Html | string {
  if (back !== undefined) {
    // Nobody knows whether it is theirs: the button names the place.
    const application = error instanceof UntrustedRedirectError ? back.where : "your application";
    const again = error instanceof ShownAuthorizationError ? error.tryAgain : undefined;
    return html`<p class="back">${again === undefined ? "" : html`<a href="${again}">Try again</a>`}<a href="${back.href}">Back to ${application}</a></p>`;
  }
  if (anew !== undefined) return html`<p class="back"><a href="${anew}">Start the sign-in again</a></p>`;
  if (leadsTo === "connections")
    return html`<p class="back"><a href="${baseUrl}/connections">Try again</a></p>`;
  if (leadsTo === "the same page")
    return canReload
      ? html`<p class="back"><a href="">Try again</a></p>`
      : html`<p>To try again, go back one page in your browser and press the button there once more.</p>`;
  return homeUrl === undefined ? "" : html`<p class="back"><a href="${homeUrl}">About this server</a></p>`;
}

function details({ message, code, reason }: OAuthError, { requestId }: ErrorPageOptions, text: string): Html {
  return html`<div class="codes">
<p>If you ask the operator of this server for help, tell them this request id: <code>${requestId}</code></p>
<p>Details: ${message === text ? "" : html`${message} `}<code>${code}</code>, <code>${reason}</code></p>
</div>`;
}

function explanationOf(error: OAuthError): Explanation {
  const explanation = explained(error);
  // The page that it stands on would not be answered otherwise; where a client waits, there is a way to begin anew.
  return error instanceof CodeSpentError ? { ...explanation, leadsTo: "connections" } : explanation;
}

function explained({ reason, code, status, retryAfterSeconds }: OAuthError): Explanation {
  const known = EXPLANATIONS[reason];
  if (known !== undefined) return known;
  if (status === 429) return tooMany(retryAfterSeconds);
  if (status === 503) return UNAVAILABLE;
  // Whatever is wrong with the document by which an application says who it is.
  if (code === "invalid_client") return UNUSABLE_DOCUMENT;
  return status === 500 ? UNEXPECTED : UNREADABLE;
}

/** True if a page of its own explains errors of this reason, and not the one for all of a kind. */
export function isExplained(reason: ReasonCode): boolean {
  return EXPLANATIONS[reason] !== undefined;
}

const START_AGAIN = "Start the sign-in again in your application.";

function tooMany(retryAfterSeconds = 60): Explanation {
  return {
    title: "Too many requests",
    text: `More of this kind came from your network than this server takes at a time. Try again in ${waitingTime(retryAfterSeconds)}.`,
    leadsTo: "the same page",
  };
}

const UNAVAILABLE: Explanation = { title: "Not available right now", leadsTo: "the same page" };

const PROVIDER_UNAVAILABLE: Explanation = {
  title: "Signing in is not possible right now",
  text: "The service at which you sign in cannot be reached, or does not answer as it should. Try again in a moment.",
  leadsTo: "the same page",
};

const UNUSABLE_DOCUMENT: Explanation = {
  title: "This application could not be checked",
  text: "The application says who it is on a web page of its maker, and this server cannot use that page. Try again later; if it stays so, tell the maker of the application, or the operator of this server, what stands below.",
  leadsTo: "the same page",
};

const UNREACHABLE_DOCUMENT: Explanation = {
  ...UNUSABLE_DOCUMENT,
  text: "The application says who it is on a web page of its maker, and this server cannot reach that page. Try again in a moment; if it stays so, tell the operator of this server what stands below.",
};

const UNREADABLE: Explanation = {
  title: "This request was not understood",
  text: `What your browser was sent here with is incomplete or damaged. ${START_AGAIN} If the same happens again, its maker can mend it.`,
  leadsTo: "home",
};

const UNEXPECTED: Explanation = {
  title: "Something went wrong here",
  text: `This is a fault of this server, not yours. ${START_AGAIN} If the same happens again, tell the operator of this server.`,
  leadsTo: "home",
};

const UNKNOWN_PLACE: Explanation = {
  title: "This sign-in would lead to an unknown place",
  text: "The application wants you to be sent to an address that it did not name before, so nothing was sent there. If you did not start a sign-in just now, close this page. If you did, remove this server in your application, add it again, and sign in.",
  leadsTo: "home",
};

const WRONG_REQUEST: Explanation = {
  title: "An application asked for something wrong",
  text: "The application began the sign-in in a way that this server does not take. Its maker can mend that: what is wrong stands below.",
  leadsTo: "home",
};

const NOT_ADMITTED: Explanation = { title: "This server is not open to you", leadsTo: "home" };

/** By the reason code that is in the log as well. */
const EXPLANATIONS: Readonly<Partial<Record<ReasonCode, Explanation>>> = {
  // Whose request it is.
  unknown_client: { title: "Unknown application", leadsTo: "home" },
  upstream_client_id: { title: "Unknown application", leadsTo: "home" },
  no_client_id: {
    title: "Unknown application",
    text: `Your browser was sent here without a word about which application wants to sign you in. ${START_AGAIN}`,
    leadsTo: "home",
  },
  domain_denied: { title: "This application is not accepted here", leadsTo: "home" },
  domain_not_allowed: { title: "This application is not accepted here", leadsTo: "home" },
  unreachable: UNREACHABLE_DOCUMENT,
  timed_out: UNREACHABLE_DOCUMENT,
  unregistered_redirect_uri: UNKNOWN_PLACE,
  no_redirect_uri: {
    ...UNKNOWN_PLACE,
    text: "The application did not say where you are to be sent afterwards, and named several places before. Its maker can mend that: what is wrong stands below.",
  },

  // What it asks for.
  request_object: WRONG_REQUEST,
  missing_response_type: WRONG_REQUEST,
  unsupported_response_type: WRONG_REQUEST,
  unsupported_response_mode: WRONG_REQUEST,
  missing_pkce: WRONG_REQUEST,
  unsupported_pkce: WRONG_REQUEST,
  foreign_resource: {
    ...WRONG_REQUEST,
    text: "The application wants access to another server than this one. Check the address of this server in your application.",
  },
  ambiguous_resource: {
    ...WRONG_REQUEST,
    text: "This server has several resources, and the application does not say which it wants. Connect it by the URL of one of them.",
  },
  malformed_scope: {
    ...WRONG_REQUEST,
    text: "The application names the permissions that it wants in a way that cannot be read.",
  },
  scope_not_allowed: {
    ...WRONG_REQUEST,
    text: "The application asks for more than the operator of this server lets it have. They can change that.",
  },
  prompt_none: {
    title: "You have to be asked first",
    text: "The application wanted to sign you in without showing you anything. You have not allowed that, or not for all of what it asks.",
    leadsTo: "home",
  },
  repeated_parameter: UNREADABLE,
  missing_parameter: UNREADABLE,
  invalid_parameter: UNREADABLE,

  // The sign-in on its way.
  consent_form_expired: { title: "The sign-in took too long", leadsTo: "home" },
  unknown_state: { title: "This sign-in is over", leadsTo: "home" },
  another_browser: { title: "This sign-in belongs to another browser", leadsTo: "home" },
  another_provider: { title: "This sign-in belongs to another identity provider", leadsTo: "home" },
  upstream_refused: {
    title: "Signing in failed",
    text: "The service at which you sign in did not sign you in, or this server could not accept its answer.",
    leadsTo: "connections",
  },
  authentication_too_old: {
    title: "You have to sign in anew",
    text: "The application needs a fresh sign-in, and the service at which you sign in did not ask you again. Sign out there, then start the sign-in again in your application.",
    leadsTo: "home",
  },
  authentication_too_weak: {
    title: "A stronger sign-in is needed",
    text: "The application needs you to sign in in another way, such as with a second factor. Start the sign-in again in your application and use that way; if you are not offered one, ask whoever runs the service at which you sign in.",
    leadsTo: "home",
  },
  ended_meanwhile: { title: "This was ended meanwhile", leadsTo: "home" },
  grant_not_stored: { title: "The sign-in could not be finished", leadsTo: "home" },
  session_not_stored: { title: "The sign-in could not be finished", leadsTo: "connections" },

  // Who may come in.
  wrong_email_domain: NOT_ADMITTED,
  email_not_verified: NOT_ADMITTED,
  wrong_organization: NOT_ADMITTED,
  denied_by_policy: NOT_ADMITTED,

  // The provider and the store are away.
  discovery_failed: PROVIDER_UNAVAILABLE,
  identity_provider_failed: PROVIDER_UNAVAILABLE,
  userinfo_failed: PROVIDER_UNAVAILABLE,
  provider_keys_failed: PROVIDER_UNAVAILABLE,
  provider_keys_asked_lately: PROVIDER_UNAVAILABLE,
  client_credentials_rejected: { title: "Signing in is not set up correctly", leadsTo: "the same page" },
  ending_unfinished: {
    title: "Not everything has ended yet",
    text: "Some of it has ended, and some is left. Open your connected applications and end the others.",
    leadsTo: "connections",
  },

  // How the browser came here.
  unknown_provider: { title: "Page not found", leadsTo: "home" },
  unknown_path: {
    title: "Page not found",
    text: "There is nothing at this address. Check it for a mistake.",
    leadsTo: "home",
  },
  cross_site_form: { title: "This was sent by another site", leadsTo: "home" },
  wrong_method: {
    title: "This page cannot be opened by itself",
    text: "It is a step on the way of something else, such as a sign-in. Start that again where you began it.",
    leadsTo: "home",
  },
  unexpected_error: UNEXPECTED,
};
