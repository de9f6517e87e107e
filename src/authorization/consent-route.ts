/** POST /consent: the answer to the consent page. */

import { Router } from "express";
import type { Audit } from "../audit/audit.ts";
import { type Bodies, formBody } from "../http/body.ts";
import { refuseOtherMethods } from "../http/methods.ts";
import { countAddress, type Limit } from "../http/rate-limit.ts";
import type { BrowserCookies } from "../login/browser-binding.ts";
import { openConsent } from "../login/transaction.ts";
import { OAuthError } from "../oauth/errors.ts";
import { ConsentForm, parse } from "../oauth/requests.ts";
import { offerAnew, offerElsewhere } from "../pages/error-handler.ts";
import { type ProtectedResources, resourceOf } from "../resource/protected-resource.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { Sealer } from "../storage/sealer.ts";
import type { KeyValueStore } from "../storage/store.ts";
import type { ProviderStep } from "./choose-provider.ts";
import { denied, tooOld, withConsentedScopes } from "./consent.ts";
import type { ConsentMode } from "./consent-mode.ts";
import { stopped } from "./stopped.ts";
import { consentedTo, type WayUpstream } from "./way-upstream.ts";

/** It carries a whole authorization request, sealed. */
const MAX_CONSENT_BYTES = 98_304;

interface Dependencies extends Pick<Runtime, "now" | "log"> {
  baseUrl: string;
  consentMode: ConsentMode;
  /** Of sign-ins that one address may begin. */
  perAddress: Limit;
  providerOf: ProviderStep;
  upstream: WayUpstream;
  browsers: BrowserCookies;
  records: KeyValueStore;
  resources: ProtectedResources;
  sealer: Sealer;
  bodies: Bodies;
  audit: Audit;
}

export function consentRoute({
  baseUrl,
  consentMode,
  perAddress,
  providerOf,
  upstream,
  browsers,
  records,
  resources,
  sealer,
  bodies,
  audit,
  now,
  log,
}: Dependencies): Router {
  const router = Router();
  const consentForm = formBody({ ...bodies.ofStrangers, maxBytes: MAX_CONSENT_BYTES });
  router.post("/consent", consentForm, async (req, res) => {
    const { request, decision, scope, remember } = parse(ConsentForm, req.body, ["scope"]);
    const asked = openConsent(request, sealer, baseUrl, now());
    if (asked === undefined) throw tooOld();
    const tryAgain = providerOf.again(asked.request, asked.provider);
    // A forged form lacks the cookie, which proves that this browser was shown this page.
    if (!browsers.isSame(req, asked.browser)) {
      // So does one of two pages that a browser without a cookie opened at once. A forger gains no more by it than by a link.
      offerAnew(res, tryAgain);
      throw new OAuthError(
        "access_denied",
        "This page was opened in another browser, or this browser refuses cookies. Start the sign-in again here.",
        { reason: "another_browser" },
      );
    }
    offerElsewhere(res, providerOf.elsewhere(asked.request));
    const stop = (error: unknown) => {
      throw stopped(error, asked.request, { tryAgain, mayReturn: true, log });
    };
    if (decision === "deny") {
      // It leads to no grant, and is audited like a sign-in that does.
      await countAddress(records.rateLimits, perAddress, req.ip).catch(stop);
      audit({ event: "consent", decision: "deny", reason: "user_denied", ...consentedTo(asked) });
      throw denied(asked);
    }
    const approved = withConsentedScopes(asked, scope, resourceOf(asked.request.resource, resources).scopes);
    const remembering = remember !== undefined && consentMode === "remember";
    // The login has as much time again, and its cookie must last as long.
    browsers.identify(req, res);
    const approval = remembering ? { remember: asked.request.scopes } : {};
    await upstream.afterConsent(approved, approval, req, res).catch(stop);
  });
  router.all("/consent", refuseOtherMethods("POST"));
  return router;
}
