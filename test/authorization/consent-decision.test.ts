/** Whether the user has to be asked for consent: every case of mode, remembered consent, navigation, prompt and user. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  type AuthorizationSituation,
  type ConsentDecision,
  decideConsent,
  isConsentOf,
} from "../../src/authorization/consent-decision.ts";

const ALICE = { issuer: "https://idp.example", subject: "alice" };
const REMEMBERED = { user: ALICE, granted: ["read"] };

/** In which nobody has to be asked. */
const SITUATION: AuthorizationSituation = {
  mode: "remember",
  scopes: ["read", "write"],
  prompt: undefined,
  fetchSite: "none",
  remembered: REMEMBERED,
};
const BY_ALICE: ConsentDecision = {
  consent: "given",
  scopes: ["read"],
  by: { approvedBy: ALICE, asked: ["read", "write"] },
};
const UNASKED: ConsentDecision = { consent: "given", scopes: ["read", "write"], by: {} };
const NEEDED: ConsentDecision = { consent: "needed" };
const OUT_OF_REACH: ConsentDecision = { consent: "out of reach" };

const CASES: Record<string, [Partial<AuthorizationSituation>, ConsentDecision]> = {
  "a remembered consent, and the user came by themselves": [{}, BY_ALICE],
  "… from this server's own page": [{ fetchSite: "same-origin" }, BY_ALICE],
  "… from a page of the same site": [{ fetchSite: "same-site" }, BY_ALICE],
  "… sent by another site": [{ fetchSite: "cross-site" }, NEEDED],
  "… by a browser that does not say": [{ fetchSite: undefined }, NEEDED],
  "… where the client asks for consent": [{ prompt: "consent" }, NEEDED],
  "… where the client asks for a sign-in and consent": [{ prompt: "login consent" }, NEEDED],
  "… where the client asks for a sign-in": [{ prompt: "login" }, BY_ALICE],
  "… where no page may be shown": [{ prompt: "none" }, BY_ALICE],
  "… where no page may be shown, sent by another site": [
    { prompt: "none", fetchSite: "cross-site" },
    OUT_OF_REACH,
  ],
  "nothing is remembered": [{ remembered: undefined }, NEEDED],
  "nothing is remembered, and no page may be shown": [
    { remembered: undefined, prompt: "none" },
    OUT_OF_REACH,
  ],
  "users are always asked, whatever is remembered": [{ mode: "always" }, NEEDED],
  "users are always asked, and no page may be shown": [{ mode: "always", prompt: "none" }, OUT_OF_REACH],
  "users are never asked": [{ mode: "never", remembered: undefined }, UNASKED],
  "users are never asked, also where another site sends them": [
    { mode: "never", remembered: undefined, fetchSite: "cross-site" },
    UNASKED,
  ],
  "users are never asked, also where the client wants it": [
    { mode: "never", remembered: undefined, prompt: "consent" },
    UNASKED,
  ],
};

describe("whether consent is needed before the sign-in", () => {
  for (const [title, [different, expected]] of Object.entries(CASES))
    test(title, () => assert.deepEqual(decideConsent({ ...SITUATION, ...different }), expected));
});

describe("whether the consent is that of whoever signed in", () => {
  test("the same user", () => assert.equal(isConsentOf(ALICE, { approvedBy: ALICE }), true));
  test("another user", () =>
    assert.equal(isConsentOf({ ...ALICE, subject: "bob" }, { approvedBy: ALICE }), false));
  test("a user of the same name at another identity provider", () =>
    assert.equal(isConsentOf({ ...ALICE, issuer: "https://other.example" }, { approvedBy: ALICE }), false));
  test("consent was given on the page, or nobody is asked", () => assert.equal(isConsentOf(ALICE, {}), true));
});
