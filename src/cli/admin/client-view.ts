/** What the command line shows of a client. Field by field, so that no hash of a secret is among them. */

import type { Client } from "../../oauth/client-metadata.ts";
import { relativeTime } from "../../runtime/time-in-words.ts";
import { isoTime } from "./grant-view.ts";
import { type Column, details, moment, table } from "./words.ts";

/** A stable shape for programs: fields are only added. */
export type ClientView = { client_id: string } & Partial<
  Pick<
    Client,
    | "client_name"
    | "client_uri"
    | "redirect_uris"
    | "grant_types"
    | "token_endpoint_auth_method"
    | "application_type"
    | "scope"
  >
> & {
    /** `gone`: its registration is no more, and its grants are. */
    provenance: Client["provenance"] | "gone";
    registeredAt?: string;
    usedAt?: string;
    /** How many it holds now. */
    grants: number;
  };

export function viewOfClient(client: Client, grants: number): ClientView {
  const { client_id, client_name, client_uri, redirect_uris, grant_types, application_type, scope } = client;
  const registered = client.provenance === "registered";
  return {
    client_id,
    ...(client_name !== undefined && { client_name }),
    ...(client_uri !== undefined && { client_uri }),
    redirect_uris,
    grant_types,
    token_endpoint_auth_method: client.token_endpoint_auth_method,
    ...(application_type !== undefined && { application_type }),
    ...(scope !== undefined && { scope }),
    provenance: client.provenance,
    ...(registered && { registeredAt: isoTime(client.client_id_issued_at) }),
    ...(registered && wasUsed(client) && { usedAt: isoTime(client.usedAt) }),
    grants,
  };
}

/** A client of which only its grants are known here. */
export function viewOfHolder(client_id: string, grants: number): ClientView {
  return { client_id, provenance: client_id.startsWith("https://") ? "document" : "gone", grants };
}

function wasUsed({ usedAt, client_id_issued_at }: Client): boolean {
  return usedAt > client_id_issued_at;
}

/** When a registration was last known to be in use: if it never was, when it was made. */
export function lastUse(client: Client): number {
  return Math.max(client.usedAt, client.client_id_issued_at);
}

const ID_WIDTH = 22;
const COLUMNS: readonly Column[] = [
  { title: "CLIENT", least: ID_WIDTH },
  { title: "NAME", least: 8 },
  { title: "KNOWN BY", least: 10 },
  { title: "GRANTS", least: 6 },
  { title: "LAST USE", least: 8 },
];

const KNOWN_BY = { registered: "register", configured: "CLIENTS", document: "document", gone: "(gone)" };

/** Newest use first. */
export function tableOfClients(views: readonly ClientView[], now: number, width?: number): string {
  const time = ({ usedAt, registeredAt }: ClientView) => Date.parse(usedAt ?? registeredAt ?? "9999-01-01");
  const rows = [...views]
    .sort((one, other) => time(other) - time(one))
    .map((view) => [
      view.client_id,
      view.client_name ?? "",
      KNOWN_BY[view.provenance],
      String(view.grants),
      whenUsed(view, now),
    ]);
  return table(COLUMNS, rows, width);
}

function whenUsed({ usedAt, provenance, registeredAt }: ClientView, now: number): string {
  if (provenance !== "registered" || registeredAt === undefined) return "";
  return usedAt === undefined ? "never" : relativeTime(Date.parse(usedAt) / 1000, now);
}

export function detailsOfClient(view: ClientView, now: number): string {
  const time = (value: string | undefined) => value && moment(Date.parse(value) / 1000, now);
  return details({
    Client: view.client_id,
    Name: view.client_name,
    "Known by": KNOWN_BY[view.provenance],
    "Redirect URIs": view.redirect_uris?.join(" "),
    "Web site": view.client_uri,
    Type: view.application_type,
    Authenticates: view.token_endpoint_auth_method,
    "Grant types": view.grant_types?.join(" "),
    Scope: view.scope,
    Registered: time(view.registeredAt),
    "Last use": view.provenance === "registered" ? (time(view.usedAt) ?? "never") : undefined,
    Grants: String(view.grants),
  });
}
