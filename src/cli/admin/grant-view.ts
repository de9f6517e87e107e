/** What the command line shows of a grant. Field by field: what is not named here is not shown. */

import { claimsOf, type Principal, subjectOf } from "../../access/principal.ts";
import { codeOf, type Grant } from "../../grants/grant.ts";
import { relativeTime } from "../../runtime/time-in-words.ts";
import { type Column, details, moment, table } from "./words.ts";

/** A stable shape for programs: fields are only added. */
export interface GrantView {
  id: string;
  /** Who acts: a person, a client for itself, or a program that its platform vouches for. */
  kind: Principal["kind"];
  /** Who names the subject; absent: a client of this server. */
  issuer?: string;
  subject: string;
  /** How it came about. */
  origin: "authorization_code" | "client_credentials" | "id-jag" | "workload";
  email?: string;
  emailVerified?: boolean;
  name?: string;
  clientId: string;
  clientName?: string;
  /** Where the client received its code, if that is how it got this. */
  redirectUri?: string;
  /** The URI of the protected resource that it is for … */
  resource: string;
  /** … and its name; absent: this server does not have it any more. */
  resourceName?: string;
  scopes: readonly string[];
  createdAt: string;
  expiresAt: string;
  /** False while the client has not fetched its tokens. */
  redeemed: boolean;
  /** Whether the provider gave a refresh token. */
  renewable: boolean;
  claims?: Record<string, unknown>;
}

/** What people call the clients and resources of grants. */
export interface Names {
  ofClient(clientId: string): Promise<string | undefined>;
  ofResource(uri: string): string | undefined;
}

export async function viewOfGrant(grant: Grant, names: Names): Promise<GrantView> {
  const { id, principal, client, resource, scopes, origin } = grant;
  const { email, email_verified, name } = claimsOf(principal);
  const clientName = await names.ofClient(client.id);
  const resourceName = names.ofResource(resource);
  return {
    id,
    kind: principal.kind,
    ...(principal.issuer !== undefined && { issuer: principal.issuer }),
    subject: subjectOf(principal),
    origin: origin.kind === "jwt_bearer" ? origin.profile : origin.kind,
    ...(typeof email === "string" && { email, emailVerified: email_verified === true }),
    ...(typeof name === "string" && { name }),
    clientId: client.id,
    ...(clientName !== undefined && { clientName }),
    ...(client.redirectUri !== undefined && { redirectUri: client.redirectUri }),
    resource,
    ...(resourceName !== undefined && { resourceName }),
    scopes,
    createdAt: isoTime(grant.createdAt),
    expiresAt: isoTime(grant.expiresAt),
    redeemed: codeOf(grant)?.redeemed ?? true,
    renewable: grant.upstream?.refreshToken !== undefined,
  };
}

export function isoTime(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}

function secondsOf(time: string): number {
  return Date.parse(time) / 1000;
}

const ID_WIDTH = 22;
const COLUMNS: readonly Column[] = [
  { title: "GRANT", least: ID_WIDTH },
  { title: "USER", least: 8 },
  { title: "KIND", least: 8 },
  { title: "CLIENT", least: 8 },
  { title: "SINCE", least: 8 },
  { title: "ENDS", least: 8 },
];
const ISSUER: Column = { title: "ISSUER", least: 8 };
const RESOURCE: Column = { title: "RESOURCE", least: 8 };

/** Newest first. Of what is the same for all of them there is no column. */
export function tableOfGrants(views: readonly GrantView[], now: number, width?: number): string {
  const isFromSeveral = new Set(views.map(({ issuer }) => issuer)).size > 1;
  const isForSeveral = new Set(views.map(({ resource }) => resource)).size > 1;
  const rows = [...views]
    .sort((one, other) => secondsOf(other.createdAt) - secondsOf(one.createdAt))
    .map(
      ({
        id,
        email,
        subject,
        kind,
        issuer = "",
        clientName,
        clientId,
        createdAt,
        expiresAt,
        resource,
        resourceName,
      }) => [
        id,
        email ?? subject,
        kind,
        clientName ?? clientId,
        relativeTime(secondsOf(createdAt), now),
        relativeTime(secondsOf(expiresAt), now),
        ...(isForSeveral ? [resourceName ?? resource] : []),
        ...(isFromSeveral ? [issuer] : []),
      ],
    );
  const further = [...(isForSeveral ? [RESOURCE] : []), ...(isFromSeveral ? [ISSUER] : [])];
  return table([...COLUMNS, ...further], rows, width);
}

const ORIGINS: Readonly<Record<GrantView["origin"], string>> = {
  authorization_code: "a sign-in",
  client_credentials: "client credentials",
  "id-jag": "an identity assertion (ID-JAG)",
  workload: "the assertion of a workload",
};

export function detailsOfGrant(view: GrantView, now: number): string {
  const {
    id,
    kind,
    issuer,
    subject,
    origin,
    email,
    emailVerified,
    name,
    clientId,
    clientName,
    resource,
    scopes,
    claims,
  } = view;
  return details({
    Grant: id,
    [kind === "user" ? "User" : kind === "client" ? "Acts for itself" : "Workload"]: subject,
    Issuer: issuer,
    "By way of": ORIGINS[origin],
    "E-mail": email && `${email}${emailVerified ? "" : " (not verified)"}`,
    Name: name,
    Client: clientId,
    "Client's name": clientName,
    "Redirect URI": view.redirectUri,
    Resource:
      view.resourceName === undefined
        ? `${resource} (not here any more)`
        : `${view.resourceName} (${resource})`,
    Scopes: scopes.join(" ") || "none",
    Since: moment(secondsOf(view.createdAt), now),
    "Ends at the latest": moment(secondsOf(view.expiresAt), now),
    Tokens: view.redeemed ? undefined : "not fetched yet by the client",
    "At the provider":
      origin !== "authorization_code"
        ? undefined
        : view.renewable
          ? "can be renewed"
          : "cannot be renewed: the provider gave no refresh token",
    Claims: claims && JSON.stringify(claims),
  });
}
