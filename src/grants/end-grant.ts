/** Ends several grants for good, a few at a time: there may be very many, and others wait for the store as well. */
import { UnavailableError } from "../oauth/errors.ts";
import type { Grant } from "./grant.ts";
import type { GrantEnd, Grants } from "./grants.ts";

const AT_ONCE = 16;
// Proxies give up after half a minute.
const ONE_REQUEST_MS = 20_000;

/**
 * When this resolves, all of them have ended on every replica; the revocations at the provider go on in the background.
 * @returns those that were ended by this call
 * @throws UnavailableError if some could not be ended; the others are
 */
export async function endGrants(
  ids: readonly string[],
  reason: GrantEnd,
  grants: Pick<Grants, "end">,
): Promise<Grant[]> {
  const ended: Grant[] = [];
  const failures: unknown[] = [];
  const queue = ids.values();
  async function endSome(): Promise<void> {
    for (const id of queue)
      try {
        const ending = await grants.end(id, reason);
        if (ending !== undefined) ended.push(ending.grant);
      } catch (failure) {
        failures.push(failure);
      }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, endSome));
  if (failures.length > 0) throw failures[0];
  return ended;
}

/**
 * Ends all that `portions` has, and looks again until there is none: some may have been opened meanwhile.
 * @param portions is called for every look
 * @returns how many that were
 * @throws UnavailableError if some could not be ended, or it takes longer than a client waits for an answer; the next call
 * continues from there
 */
export async function endAll(
  portions: () => AsyncIterable<readonly Grant[]>,
  reason: GrantEnd,
  grants: Pick<Grants, "end">,
): Promise<number> {
  const timeIsUp = AbortSignal.timeout(ONE_REQUEST_MS);
  for (let ended = 0; ; ) {
    const before = ended;
    for await (const portion of portions()) {
      const ids = portion.map(({ id }) => id);
      ended += (await endGrants(ids, reason, grants)).length;
      if (timeIsUp.aborted)
        throw new UnavailableError("storage", {
          reason: "ending_unfinished",
          description: `${ended} sign-ins have ended, and there are more. Send the same request again for the others.`,
        });
    }
    if (ended === before) return ended;
  }
}
