/** What a person sees at /connections. Names of clients are text of strangers; the template escapes. */

import { html } from "hono/html";
import { missingScopes } from "../oauth/scope.ts";
import type { ScopeCatalogue } from "../oauth/scope-catalogue.ts";
import type { Html } from "../pages/shell.ts";
import { relativeTime } from "../runtime/time-in-words.ts";
import { type Entry, NAMELESS, shared, sharedResource } from "./entries.ts";
import type { ConnectedApplication } from "./list.ts";
import type { OpenSession } from "./session.ts";

export interface PageSurroundings {
  /** Where the forms go: the URL of /connections. */
  url: string;
  serverName: string;
  /** Where whoever is signed in here signed in. */
  identityProviderName: string;
  /** Its name, where there are others. */
  own: string | undefined;
  /** Where somebody can sign in: the likeliest first. */
  offers: readonly SignInOffer[];
  /** Whether this server has several protected resources, so that it has to be said which one something is for. */
  hasSeveralResources: boolean;
  /** The scopes of a protected resource. */
  catalogueOf(resource: string): Words;
  now: number;
}

/** What scopes are called. */
type Words = Pick<ScopeCatalogue, "pick">;

/** An identity provider. */
export interface SignInOffer {
  name: string;
  /** With its host. */
  shownAs: string;
  isAnswering: boolean;
}

/** For somebody who is not signed in here. */
export function signInPage(around: PageSurroundings): Html {
  const { serverName, identityProviderName, offers } = around;
  const where =
    offers.length > 1 ? "where your account is" : html`at <strong>${identityProviderName}</strong>`;
  return html`
<p>See which applications may use <strong>${serverName}</strong> in your name, and end their access.</p>
<p class="soft">You sign in ${where}, and stay signed in on this page for 15 minutes.</p>
${signInForm(around, "Sign in", "main")}`;
}

/** One button, or one for each identity provider. */
function signInForm({ url, offers }: PageSurroundings, words: string, kind?: "main"): Html {
  const main = kind === undefined ? "" : html` class="main"`;
  if (offers.length === 1)
    return html`<form method="post" action="${url}/sign-in"><div class="buttons"><button${main}>${words}</button></div></form>`;
  return html`<form method="post" action="${url}/sign-in"><ul class="choices">${offers.map(
    ({ name, shownAs, isAnswering }, index) =>
      html`<li><button name="identity_provider" value="${name}"${index === 0 ? main : ""}>${words} at ${shownAs}${
        isAnswering ? "" : ", which does not answer just now"
      }</button></li>`,
  )}</ul></form>`;
}

/** After "Sign out". */
export function signedOutPage(around: PageSurroundings, logoutUrl: string): Html {
  const { identityProviderName } = around;
  return html`
<p>This browser shows your applications to nobody any more. They stay connected.</p>
<p>You may still be signed in at <strong>${identityProviderName}</strong>. On a computer that is not yours, <a href="${logoutUrl}">sign out there as well</a>.</p>
${signInForm(around, "Sign in again")}`;
}

/** For a button that was pressed too late. */
export function sessionOverPage(around: PageSurroundings): Html {
  return html`
<p class="warn" role="alert">You are not signed in on this page any more. Nothing was changed.</p>
${signInForm(around, "Sign in", "main")}`;
}

/** For a button on a page that was opened before the present sign-in, or that is not ours at all. */
export function outdatedPage({ url }: PageSurroundings): Html {
  return html`
<p class="warn" role="alert">This browser has signed in anew since that page was opened. Nothing was changed.</p>
<p><a href="${url}">Show the applications of whoever is signed in now</a></p>`;
}

/** @param ended what was ended a moment ago, in words */
export function connectionsPage(
  session: OpenSession,
  entries: readonly Entry[],
  ended: readonly string[],
  around: PageSurroundings,
): Html {
  const { url, serverName, offers, own } = around;
  // What one resource calls a scope can be something else at another.
  const resource = sharedResource(entries);
  const ofAll: Said =
    resource === undefined
      ? { scopes: [], notGiven: [] }
      : { scopes: shared(entries, "scopes"), notGiven: shared(entries, "notGiven") };
  return html`
<div class="account">
<p>Signed in as <strong><bdi>${session.name ?? session.email ?? session.user.subject}</bdi></strong>${
    session.name !== undefined && session.email !== undefined
      ? html` <span class="soft">${session.email}</span>`
      : ""
  }</p>
<form method="post" action="${url}/sign-in">${own === undefined ? "" : html`<input type="hidden" name="identity_provider" value="${own}">`}<input type="hidden" name="another" value="yes"><button class="link">Not you? Sign in as somebody else</button></form>
<form method="post" action="${url}/sign-out">${token(session)}<button class="link">Sign out</button></form>
${offers.length > 1 ? html`<details><summary>Sign in with another identity provider</summary>${signInForm(around, "Sign in")}</details>` : ""}
</div>
${ended.length > 0 ? notice(ended) : ""}
${
  entries.length === 0
    ? html`<p class="none">No application may use <strong>${serverName}</strong> in your name.</p>`
    : html`${aboutAll(entries, ofAll, around.catalogueOf(resource ?? ""), around)}
<ul class="entries">${entries.map((entry) => entryItem(entry, ofAll, session, around))}</ul>
${entries.length > 1 ? endAll(session, url) : ""}`
}`;
}

/** What all entries have in common, shown once. */
type Said = Pick<Entry, "scopes" | "notGiven">;

/** What is true of all of them, and what ending means. */
function aboutAll(
  entries: readonly Entry[],
  { scopes, notGiven }: Said,
  words: Words,
  around: PageSurroundings,
): Html {
  const { serverName } = around;
  const unverified = entries.filter(({ vouchedBy }) => vouchedBy === "nobody").length;
  const [subject, they, names] =
    entries.length === 1
      ? ["This application", "It knows who you are", "its name"]
      : ["These applications", "They all know who you are", "their names"];
  return html`<p>${subject} may use <strong>${serverName}</strong> in your name. ${they}${
    scopes.length > 0 ? html` and may: ${inALine(scopes, words)}` : ""
  }.${unverified > 0 ? ` Nobody has checked ${names}${unverified < entries.length ? ", unless it says so" : ""}.` : ""}</p>
${lacking(notGiven, words, around)}
<p>If you end the access of an application, it is signed out here at once. To come back, it has to ask you again.</p>`;
}

const MOST_TOLD = 5;

function notice(ended: readonly string[]): Html {
  const told = ended
    .slice(0, MOST_TOLD)
    .map((each, i) => html`${i > 0 ? ", " : ""}<strong><bdi>${each}</bdi></strong>`);
  const rest = ended.length - MOST_TOLD;
  return html`<p class="done" role="status">Access ended: ${told}${rest > 0 ? ` and ${rest} more` : ""}</p>`;
}

function entryItem(entry: Entry, ofAll: Said, session: OpenSession, around: PageSurroundings): Html {
  const { name = NAMELESS, place, connections } = entry;
  const own = missingScopes(entry.scopes, ofAll.scopes);
  const vouched = vouching(entry);
  const words = around.catalogueOf(entry.resource);
  const unseen = around.hasSeveralResources
    ? html` of ${name}, for ${entry.resourceName ?? entry.resource}`
    : html` of ${name}`;
  return html`<li class="entry">
<div><h2><bdi>${name}</bdi></h2>
<p class="soft">${place}${vouched === "" ? "" : html` · ${vouched}`}</p>${forResource(entry, around)}</div>
${times(entry, around.now)}
${endStep(connections, session, around.url, { summary: html`End access<span class="unseen">${unseen}</span>`, button: "Yes, end access" })}
${own.length > 0 ? html`<p class="more">May also: ${inALine(own, words)}</p>` : ""}
${lacking(missingScopes(entry.notGiven, ofAll.notGiven), words, around, "more")}
${
  entry.letInByCompany
    ? html`<p class="more">Your company lets it in without asking you: if you end its access here, it can come back. Your company's administrator can end that.</p>`
    : ""
}
${
  connections.length > 1
    ? html`<details class="more"><summary>${connections.length} sign-ins</summary><ul class="sign-ins">${connections.map(
        (connection) => signIn(connection, entry, session, around),
      )}</ul></details>`
    : ""
}
</li>`;
}

/** Said where there is more than one, or the one that it is for is not there any more. */
function forResource(
  { resource, resourceName }: Entry,
  { hasSeveralResources }: PageSurroundings,
): Html | string {
  if (resourceName === undefined)
    return html`<p class="soft">For <code>${resource}</code>, which this server does not have any more</p>`;
  return hasSeveralResources
    ? html`<p class="soft">For <strong>${resourceName}</strong> · <code>${resource}</code></p>`
    : "";
}

function signIn(
  connection: ConnectedApplication,
  entry: Entry,
  session: OpenSession,
  around: PageSurroundings,
): Html {
  const { createdAt, scopes, notGiven } = connection;
  const isLess = entry.scopes.some((scope) => !scopes.includes(scope));
  const words = around.catalogueOf(entry.resource);
  const summary = html`End<span class="unseen"> the sign-in of ${date(createdAt)}</span>`;
  return html`<li>${times(connection, around.now)}
${endStep([connection], session, around.url, { summary, button: "Yes, end this one" })}
${isLess ? html`<p class="more">May: ${inALine(scopes, words)}</p>` : ""}
${lacking(missingScopes(notGiven, entry.notGiven), words, around, "more")}</li>`;
}

/** Empty where nobody vouches: that is said of all. */
function vouching({ name, vouchedBy, clientId }: Entry): Html | string {
  if (name === undefined) return html`<code>${clientId}</code>`;
  switch (vouchedBy) {
    case "operator":
      return "registered by the operator of this server";
    case "document":
      return html`${new URL(clientId).host} vouches for its name`;
    case "nobody":
      return "";
  }
}

/** Consented to, and without effect until the identity provider gives it. */
function lacking(
  scopes: readonly string[],
  words: Words,
  { identityProviderName }: PageSurroundings,
  kind?: "more",
): Html | string {
  if (scopes.length === 0) return "";
  return html`<p${kind === undefined ? "" : html` class="more"`}>You approved this, but <strong>${identityProviderName}</strong> did not give it to you: ${inALine(scopes, words)}. Ask the administrator there for it, then sign in again in the application.</p>`;
}

/** Scopes that are not declared any more have no words. */
function inALine(scopes: readonly string[], words: Words): Html {
  const declared = words.pick(scopes);
  const unknown = scopes.filter((scope) => !declared.some(({ name }) => name === scope));
  const said = [
    ...declared.map(({ description }) => html`<span>${description}</span>`),
    ...unknown.map((scope) => html`<code>${scope}</code>`),
  ];
  return html`${said.map((each, i) => html`${i > 0 ? "; " : ""}${each}`)}`;
}

/** Without a script, this is how a page asks first: what ends something is shown when somebody wants to end it. */
function endStep(
  connections: readonly ConnectedApplication[],
  session: OpenSession,
  url: string,
  { summary, button }: { summary: Html; button: string },
): Html {
  return html`<details class="end"><summary>${summary}</summary>
<form method="post" action="${url}/end">${token(session)}${connections.map(
    ({ grantId }) => html`<input type="hidden" name="grant" value="${grantId}">`,
  )}<button class="main">${button}</button></form></details>`;
}

function endAll(session: OpenSession, url: string): Html {
  return html`<details class="all"><summary>End the access of all of them</summary>
<form method="post" action="${url}/end">${token(session)}<input type="hidden" name="all" value="yes">
<p>Every application on this list is signed out here at once, and has to ask you again.</p>
<button class="main">End all access</button></form></details>`;
}

function token({ formToken }: OpenSession): Html {
  return html`<input type="hidden" name="form_token" value="${formToken}">`;
}

function times(
  { createdAt, lastUsedAt }: Pick<ConnectedApplication, "createdAt" | "lastUsedAt">,
  now: number,
): Html {
  const used =
    lastUsedAt === undefined
      ? "No use noted yet"
      : html`Last used ${moment(lastUsedAt, ago(lastUsedAt, now))}`;
  return html`<p class="when">${used}<br><span class="soft">Allowed on ${moment(createdAt, date(createdAt))}</span></p>`;
}

function moment(seconds: number, words: string): Html {
  return html`<time datetime="${new Date(seconds * 1000).toISOString()}">${words}</time>`;
}

const DATE = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeZone: "UTC" });

function date(seconds: number): string {
  return DATE.format(seconds * 1000);
}

const SHORT_SECONDS = 120;
const LONG_SECONDS = 60 * 86_400;

/** The server does not know the time zone of its reader, so dates are for what is long ago. */
export function ago(seconds: number, now: number): string {
  const since = now - seconds;
  if (since < SHORT_SECONDS) return "just now";
  return since < LONG_SECONDS ? relativeTime(seconds, now) : `on ${date(seconds)}`;
}
