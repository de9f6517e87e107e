/** Authorization requests that go to the provider directly, and are only named in the browser (RFC 9126). */
import type { ServerMetadata } from "openid-client";
import { UnavailableError } from "../../oauth/errors.ts";
import { UpstreamRefusal } from "../identity-provider.ts";
import type { IdentityProviderSettings } from "../settings.ts";
import { answer, NOT_SET_UP } from "./answers.ts";

export function isPushed(
  { pushedAuthorizationRequests }: Pick<IdentityProviderSettings, "pushedAuthorizationRequests">,
  metadata: Readonly<ServerMetadata>,
): boolean {
  return pushedAuthorizationRequests === "always" || metadata.require_pushed_authorization_requests === true;
}

/**
 * The URL for the browser. No user is there yet whom a refusal could be about: it is about what this server asks for.
 * @throws UnavailableError
 */
export async function pushedRequest(url: Promise<URL>): Promise<URL> {
  try {
    return await answer(url);
  } catch (cause) {
    if (!(cause instanceof UpstreamRefusal)) throw cause;
    throw new UnavailableError("identity provider", {
      reason: "pushed_request_refused",
      cause,
      description: NOT_SET_UP,
      untilRepaired: true,
    });
  }
}
