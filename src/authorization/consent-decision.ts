/** Whether the user has to be asked for consent. Pure: everything that it depends on is an argument. */
import { isSameUser, type UserId } from "../access/principal.ts";
import type { Consented } from "../login/transaction.ts";
import type { ConsentMode } from "./consent-mode.ts";
import type { ConsentRecord } from "./remembered-consent.ts";

export interface AuthorizationSituation {
  mode: ConsentMode;
  /** What the client asks for. */
  scopes: string[];
  /** OpenID Connect Core §3.1.2.1. */
  prompt: string | undefined;
  /** The header `Sec-Fetch-Site`. */
  fetchSite: string | undefined;
  /** The consent that this browser remembers for the same request. */
  remembered: Pick<ConsentRecord, "user" | "granted"> | undefined;
}

export type ConsentDecision =
  | { consent: "needed" }
  /** It is needed, and the client wants no page to be shown. */
  | { consent: "out of reach" }
  /** What may be granted, and what that rests on: {@link isConsentOf} has the last word. */
  | { consent: "given"; scopes: string[]; by: Consented };

/** Before the sign-in, when nobody knows who the user is. */
export function decideConsent(situation: AuthorizationSituation): ConsentDecision {
  const { mode, scopes, remembered } = situation;
  const prompt = situation.prompt?.split(" ") ?? [];
  if (mode === "never") return { consent: "given", scopes, by: {} };
  const mayBeSilent =
    mode === "remember" && isOwnNavigation(situation.fetchSite) && !prompt.includes("consent");
  if (mayBeSilent && remembered !== undefined)
    return {
      consent: "given",
      scopes: remembered.granted,
      by: { approvedBy: remembered.user, asked: scopes },
    };
  return { consent: prompt.includes("none") ? "out of reach" : "needed" };
}

/**
 * True if the user, and not some other site, sent the browser here: typed, opened by an application, or from our own
 * site (Fetch Metadata). A browser that does not say is asked.
 */
export function isOwnNavigation(fetchSite: string | undefined): boolean {
  return ["none", "same-origin", "same-site"].includes(fetchSite ?? "");
}

/** After the sign-in: another user of the same browser is asked. */
export function isConsentOf(user: UserId, { approvedBy }: Pick<Consented, "approvedBy">): boolean {
  return approvedBy === undefined || isSameUser(approvedBy, user);
}
