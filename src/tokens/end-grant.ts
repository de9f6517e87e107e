/** Ends several grants for good: here, on every replica, and at the provider. */
import type { Grant } from "./grant.ts";
import type { GrantEnd, Grants } from "./grants.ts";

/**
 * When this resolves none of them is good any more, on any replica; `atProvider` resolves when the provider, too, was
 * told to forget its refresh tokens, and never rejects.
 * @returns those that were ended by this call
 * @throws UnavailableError if some could not be ended; the others are
 */
export async function endGrants(
  ids: readonly string[],
  reason: GrantEnd,
  grants: Pick<Grants, "end">,
): Promise<{ ended: Grant[]; atProvider: Promise<void> }> {
  const endings = await Promise.allSettled(ids.map((id) => grants.end(id, reason)));
  const failed = endings.find((ending) => ending.status === "rejected");
  if (failed !== undefined) throw failed.reason;
  const ended = endings.flatMap((ending) => (ending.status === "fulfilled" ? (ending.value ?? []) : []));
  return {
    ended: ended.map(({ grant }) => grant),
    atProvider: Promise.all(ended.map(({ atProvider }) => atProvider)).then(() => {}),
  };
}
