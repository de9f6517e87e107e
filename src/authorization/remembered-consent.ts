/**
 * Remembered consent ("do not ask again"): of one user, on one browser, for this client, this redirect URI, this resource,
 * these scopes. Kept on the server; the browser holds only its one cookie. A user who ends a client's access withdraws their remembered
 * consent for it on every browser.
 */
import { z } from "zod";
import type { UserId } from "../access/principal.ts";
import type { StoredUsers } from "../access/stored-users.ts";
import type { BrowserHash } from "../login/browser-binding.ts";
import type { AuthorizationRequest } from "../login/transaction.ts";
import { sha256 } from "../oauth/sha256.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { RecordFormat } from "../storage/encrypted.ts";
import type { KeyValueStore, Store } from "../storage/store.ts";

export interface ConsentRecord {
  /** Who consented. Another user of the same browser is asked. */
  user: UserId;
  asked: string[];
  granted: string[];
  /** When they consented, seconds since the epoch: a withdrawal after that wins, whenever the record was written. */
  approvedAt: number;
}

export function consentFormat(users: StoredUsers): RecordFormat<ConsentRecord> {
  const stored = z.object({
    ...users.fields,
    asked: z.array(z.string()),
    granted: z.array(z.string()),
    approvedAt: z.number().default(0),
  });
  return {
    schema: stored.transform(({ subject, issuer, ...rest }) => ({
      user: users.read({ subject, issuer }),
      ...rest,
    })),
    write: ({ user, ...rest }) => ({ ...users.write(user), ...rest }),
  };
}

/** What the consent is for: this client, this redirect URI, this resource, these scopes. */
export type Approvable = Pick<AuthorizationRequest, "clientId" | "redirectUri" | "resource" | "scopes">;

export interface RememberedConsent {
  remember(browser: BrowserHash, asked: Approvable, approved: Omit<ConsentRecord, "asked">): Promise<void>;
  /** The remembered consent for the same request; undefined if the user must be asked. */
  find(browser: BrowserHash, request: Approvable): Promise<ConsentRecord | undefined>;
  /** Withdraws this user's remembered consent for this client on every browser. */
  withdraw(user: UserId, clientId: string): Promise<void>;
}

interface Dependencies extends Pick<Runtime, "now"> {
  store: Store<ConsentRecord>;
  /** Remembers what was withdrawn for as long as a consent record may live. */
  records: Pick<KeyValueStore, "get" | "put">;
  users: StoredUsers;
  seconds: number;
  /** The only one of version 0.1.0, whose replicas look for consent to it where no resource is named. */
  unnamedResource: string;
}

export function createRememberedConsent({
  store,
  records,
  users,
  seconds,
  unnamedResource,
  now,
}: Dependencies): RememberedConsent {
  const keyOf = (browser: BrowserHash, { clientId, redirectUri, resource }: Approvable) =>
    sha256(
      JSON.stringify([browser, clientId, redirectUri, ...(resource === unnamedResource ? [] : [resource])]),
    );
  const withdrawal = ({ issuer, subject }: UserId, clientId: string) =>
    `withdrawn:${sha256(JSON.stringify([users.unique(issuer, subject), clientId]))}`;
  return {
    remember: (browser, asked, approved) =>
      store.put(keyOf(browser, asked), { ...approved, asked: asked.scopes }, seconds),
    async find(browser, request) {
      const approval = await store.get(keyOf(browser, request));
      if (approval === undefined || !sameScopes(approval.asked, request.scopes)) return undefined;
      const withdrawnAt = await records.get(withdrawal(approval.user, request.clientId));
      return withdrawnAt === undefined || approval.approvedAt > Number(withdrawnAt) ? approval : undefined;
    },
    withdraw: (user, clientId) => records.put(withdrawal(user, clientId), String(now()), seconds),
  };
}

function sameScopes(some: readonly string[], others: readonly string[]): boolean {
  return some.length === others.length && some.every((scope) => others.includes(scope));
}
