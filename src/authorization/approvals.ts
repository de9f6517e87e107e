/**
 * What a user approved for good, on one browser: this client, this redirect URI, these scopes. Kept on the server;
 * the browser holds nothing but its one cookie.
 */
import { createHash } from "node:crypto";
import type { Request } from "express";
import { z } from "zod";
import type { Store } from "../storage/store.ts";
import type { BrowserHash } from "./browser.ts";
import type { AuthorizationRequest } from "./transaction.ts";

export const Approval = z.object({ asked: z.array(z.string()), granted: z.array(z.string()) });
export type Approval = z.infer<typeof Approval>;

export interface Approvals {
  remember(browser: BrowserHash, request: AuthorizationRequest, granted: readonly string[]): Promise<void>;
  /** The scopes that were granted to an unchanged request before; undefined if the user must be asked. */
  find(browser: BrowserHash, request: AuthorizationRequest): Promise<string[] | undefined>;
}

export function createApprovals(store: Store<Approval>, seconds: number): Approvals {
  const keyOf = (browser: BrowserHash, { clientId, redirectUri }: AuthorizationRequest) =>
    createHash("sha256")
      .update(JSON.stringify([browser, clientId, redirectUri]))
      .digest("base64url");
  return {
    remember: (browser, request, granted) =>
      store.put(keyOf(browser, request), { asked: request.scopes, granted: [...granted] }, seconds),
    async find(browser, request) {
      const approval = await store.get(keyOf(browser, request));
      return approval !== undefined && sameScopes(approval.asked, request.scopes)
        ? approval.granted
        : undefined;
    },
  };
}

function sameScopes(some: readonly string[], others: readonly string[]): boolean {
  return some.length === others.length && some.every((scope) => others.includes(scope));
}

/**
 * True if the user, and not some other site, sent the browser here: typed, opened by an application, or from our own
 * site (Fetch Metadata). A browser that does not say is asked.
 */
export function isOwnNavigation(req: Request): boolean {
  return ["none", "same-origin", "same-site"].includes(req.get("sec-fetch-site") ?? "");
}
