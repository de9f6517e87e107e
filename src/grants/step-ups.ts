/**
 * Who was challenged a moment ago to sign in again (RFC 9470), for clients that do not know that challenge. Most begin a sign-in
 * without its parameters: then the user is asked for them here. Some refresh, and call again: then they are told in words.
 */
import { z } from "zod";
import type { Principal, UserId } from "../access/principal.ts";
import type { StoredUsers } from "../access/stored-users.ts";
import { UnavailableError } from "../oauth/errors.ts";
import { parseJson } from "../oauth/json.ts";
import { RequiredAuthentication } from "../oauth/required-authentication.ts";
import { sha256 } from "../oauth/sha256.ts";
import type { KeyValueStore } from "../storage/store.ts";

/** Whose call lacked a sign-in. */
export interface Challenged {
  principal: Principal;
  client: { readonly id: string };
  resource: string;
  grantId?: string;
  /** Tells the access token from one that a refresh gave. */
  tokenId?: string;
}

export interface StepUps {
  /** Notes the challenge. @returns false if this client answered one with a refresh, and would do so again */
  mayChallenge(challenged: Challenged, required: RequiredAuthentication): Promise<boolean>;
  /** What the user is to be asked for at their next sign-in by this client; it is asked for once. */
  take(user: UserId, clientId: string, resource: string): Promise<RequiredAuthentication | undefined>;
}

/** As long as somebody needs to see the error and to sign in: later it would be a surprise. */
const SECONDS = 900;

const Noted = z.object({ required: RequiredAuthentication, grantId: z.string(), tokenId: z.string() });

interface Dependencies {
  records: Pick<KeyValueStore, "get" | "put" | "delete">;
  users: StoredUsers;
}

export function createStepUps({ records, users }: Dependencies): StepUps {
  const keyOf = ({ issuer, subject }: UserId, clientId: string, resource: string) =>
    `step-up:${sha256(JSON.stringify([users.unique(issuer, subject), clientId, resource]))}`;

  async function noted(key: string) {
    const text = await records.get(key);
    return text === undefined ? undefined : Noted.safeParse(parseJson(text)).data;
  }

  return {
    async mayChallenge({ principal, client, resource, grantId, tokenId }, required) {
      // Another issuer's user does not sign in here.
      if (principal.kind !== "user" || grantId === undefined || tokenId === undefined) return true;
      const key = keyOf(principal, client.id, resource);
      try {
        const before = await noted(key);
        if (before?.grantId === grantId && before.tokenId !== tokenId) return false;
        await records.put(key, JSON.stringify({ required, grantId, tokenId }), SECONDS);
      } catch (error) {
        // The challenge itself needs no store.
        if (!(error instanceof UnavailableError)) throw error;
      }
      return true;
    },
    async take(user, clientId, resource) {
      const key = keyOf(user, clientId, resource);
      const found = await noted(key);
      if (found !== undefined) await records.delete(key);
      return found?.required;
    },
  };
}
