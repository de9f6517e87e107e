/** The ways in which people can sign in at the embedded identity provider, and when it asks them to sign in again. */
import { interactionPolicy } from "oidc-provider";

/** How people can sign in here, as `acr` names it: with a name alone, or as if with a second factor. */
export const ACR_VALUES = ["urn:demo:name", "urn:demo:second-factor"] as const;

/** Whoever is asked for the second factor has it. */
export function acrFor(asked: unknown): string {
  const values = String(asked ?? "").split(" ");
  return values.find((value) => ACR_VALUES.some((known) => known === value)) ?? ACR_VALUES[0];
}

/** oidc-provider's own rules, and one more: who signed in otherwise than is asked for now signs in again. */
export function interactionRules(): interactionPolicy.DefaultPolicy {
  const { Check, base } = interactionPolicy;
  const policy = base();
  policy.get("login")?.checks.add(
    new Check("acr_values", "another way to sign in is asked for", ({ oidc }) => {
      const asked = String(oidc.params?.acr_values ?? "").split(" ");
      const canBeMet = ACR_VALUES.some((known) => asked.includes(known));
      const isMet = oidc.result?.login !== undefined || asked.includes(oidc.session?.acr ?? "");
      return canBeMet && !isMet ? Check.REQUEST_PROMPT : Check.NO_NEED_TO_PROMPT;
    }),
  );
  return policy;
}
