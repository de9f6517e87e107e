/** What a sign-in needs on its way: the browser it belongs to, consent that is remembered, logins under way, and what was ended meanwhile. */
import { consentFormat, createRememberedConsent } from "../../authorization/remembered-consent.ts";
import { createEndings } from "../../grants/endings.ts";
import { browserCookies } from "../../login/browser-binding.ts";
import { loginAdmission } from "../../login/login-admission.ts";
import { createLogins, loginFormat } from "../../login/transaction.ts";
import { encryptedStore } from "../../storage/encrypted.ts";
import type { Foundation } from "./foundation.ts";

export function signInServices({ config, runtime, records, storing, users }: Foundation) {
  const { baseUrl, lifetimes, consent } = config;
  const { now, randomBytes, log } = runtime;
  const rememberedConsent = createRememberedConsent({
    store: encryptedStore({ ...storing, kind: "approval", ...consentFormat(users) }),
    records,
    users,
    seconds: consent.rememberSeconds,
    // Whichever is the first now: consent to one must never be taken for consent to another.
    unnamedResource: `${baseUrl}/mcp`,
    now,
  });
  const browsers = browserCookies(
    baseUrl,
    // Longer where consent is remembered, and never shorter than a sign-in may take.
    Math.max(consent.mode === "remember" ? consent.rememberSeconds : 0, lifetimes.transactionSeconds),
    randomBytes,
  );
  const endings = createEndings({
    records,
    users,
    signInSeconds: lifetimes.transactionSeconds,
    now,
    log,
  });
  const logins = createLogins(
    encryptedStore({ ...storing, kind: "login", ...loginFormat(users) }),
    loginAdmission(config, records),
    endings,
  );
  return { rememberedConsent, browsers, endings, logins };
}
