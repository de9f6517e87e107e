/** What several servers behind one resource offer, each asked by itself: one that is down says nothing of the others. */
import { withValue } from "../../runtime/json-text.ts";
import type { Backend } from "./backend.ts";
import { prefixed } from "./merged-names.ts";
import { type AskOptions, type OfferedEntry, offeredBy } from "./offered.ts";

/** One of them, with its tools under the names that they have behind the resource. */
export interface AskedServer {
  /** In the log, metrics and traces. */
  readonly name: string;
  /** What is before its names; absent where it is the only one. */
  readonly server?: string;
  /** @throws what {@link offeredBy} throws */
  tools(options: AskOptions): Promise<OfferedEntry[]>;
}

export function askedServers(backend: Backend): AskedServer[] {
  if (backend.servers === undefined)
    return [
      { name: backend.name, tools: async (options) => (await offeredBy(backend, ["tools"], options)).tools },
    ];
  return [...backend.servers].map(([server, one]) => ({
    name: one.name,
    server,
    tools: async (options) =>
      (await offeredBy(one, ["tools"], options)).tools.flatMap((entry) => renamedTool(entry, server)),
  }));
}

/** As lists of the resource have it. One without a name is in none of them. */
function renamedTool({ value, text }: OfferedEntry, server: string): OfferedEntry[] {
  const { name } = (value ?? {}) as { name?: unknown };
  if (typeof name !== "string") return [];
  const here = withValue(text, ["name"], JSON.stringify(prefixed("name", server, name)));
  return [{ value: JSON.parse(here), text: here }];
}
