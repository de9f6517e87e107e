/** From here the browser goes to the identity provider: with the user's consent, or once more for another sign-in. */
import type { Request, Response } from "express";
import type { Audit } from "../audit/audit.ts";
import type { IdentityProviders } from "../identity/identity-providers.ts";
import type { AwaitingConsent, ClientLogin, Consented, Logins } from "../login/transaction.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { approve } from "./consent.ts";

export interface WayUpstream {
  /** @throws as {@link approve} does */
  afterConsent(approved: AwaitingConsent, approval: Consented, req: Request, res: Response): Promise<void>;
  /** What was consented to stays, unless it is ended meanwhile: only the sign-in is to be another. */
  again(login: ClientLogin, req: Request, res: Response): Promise<void>;
}

interface Dependencies extends Pick<Runtime, "now" | "randomBytes"> {
  identityProviders: IdentityProviders;
  logins: Logins;
  transactionSeconds: number;
  audit: Audit;
}

export function wayUpstream({ audit, ...starting }: Dependencies): WayUpstream {
  return {
    async afterConsent(approved, approval, req, res) {
      const url = await approve(approved, approval, req.ip ?? "", starting);
      audit({ event: "consent", decision: "allow", ...consentedTo(approved) });
      res.set("Cache-Control", "no-store").redirect(303, url.href);
    },
    async again({ request, browser, provider, expiresAt, ...consented }, req, res) {
      const { remember, approvedBy, asked, begun } = consented;
      const approved = { step: "consent", request, browser, provider, expiresAt } as const;
      const approval = { remember, approvedBy, asked, begun };
      const url = await approve(approved, approval, req.ip ?? "", starting);
      res.redirect(303, url.href);
    },
  };
}

/** For the audit log: nobody is signed in yet. */
export function consentedTo({ request: { clientId, resource, scopes } }: AwaitingConsent) {
  return { clientId, protectedResource: resource, scopes };
}
