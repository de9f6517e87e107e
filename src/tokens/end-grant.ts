/** Ends several grants for good. */
import type { Grant } from "./grant.ts";
import type { GrantEnd, Grants } from "./grants.ts";

/**
 * When this resolves none of them is good any more, on any replica; nobody waits for the provider.
 * @returns those that were ended by this call
 * @throws UnavailableError if some could not be ended; the others are
 */
export async function endGrants(
  ids: readonly string[],
  reason: GrantEnd,
  grants: Pick<Grants, "end">,
): Promise<Grant[]> {
  const endings = await Promise.allSettled(ids.map((id) => grants.end(id, reason)));
  const failed = endings.find((ending) => ending.status === "rejected");
  if (failed !== undefined) throw failed.reason;
  return endings.flatMap((ending) => (ending.status === "fulfilled" ? (ending.value?.grant ?? []) : []));
}
